"""Temperature against a brute-force grid, thresholds against scikit-learn's curves, and the laws of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.errors import DataError, NotEnoughData
from visum.judge import metrics
from visum.judge.calibrate import reliability, temperature, thresholds
from visum.types import Predictions, Task, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


def log_loss(given: Predictions, t: float) -> float:
    """From scikit-learn, of logits / t."""
    p = probabilities(replace(given, temperature=t)).astype(np.float64)
    if given.task == "multilabel":
        return float(np.mean([reference.log_loss(y, q) for y, q in zip(given.labels.T, p.T, strict=True)]))
    return float(reference.log_loss(given.labels, p / p.sum(1, keepdims=True)))


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("task", TASKS)
def test_temperature_is_the_best_of_a_grid(task: Task, scale: float) -> None:
    given = replace(predictions(task), logits=predictions(task).logits * np.float32(scale))
    best = temperature(given.logits, given.labels, task)
    grid = np.geomspace(0.05, 20, 101)
    losses = [log_loss(given, t) for t in grid]
    assert log_loss(given, best) <= min(losses) + 1e-6
    assert best == pytest.approx(grid[int(np.argmin(losses))], rel=0.065)


def test_temperature_undoes_a_scale_and_changes_no_answer() -> None:
    given = predictions("multiclass")
    one = temperature(given.logits, given.labels, "multiclass")
    assert temperature(given.logits * 5, given.labels, "multiclass") == pytest.approx(5 * one, rel=1e-3)
    for t in (0.1, one, 15.0):
        assert (decisions(replace(given, temperature=t)) == given.logits.argmax(1)).all()


def test_temperature_at_its_bounds() -> None:
    y = np.arange(12) % 3
    sure = np.eye(3, dtype=np.float32)[y]
    assert temperature(sure, y, "multiclass") == pytest.approx(0.05, rel=1e-3)
    assert temperature(-sure, y, "multiclass") == pytest.approx(20, rel=1e-3)
    assert temperature(np.zeros((12, 3), np.float32), y, "multiclass") == 1
    huge = temperature(sure * np.float32(1e30), y, "multiclass")
    assert 0.05 <= huge <= 20
    one = temperature(sure[:1], y[:1], "multiclass")
    assert 0.05 <= one <= 20


def test_temperature_leaves_unlabelled_out_and_refuses_what_it_cannot_use() -> None:
    given = predictions("multiclass")
    labels = given.labels.copy()
    labels[::3] = -1
    keep = labels >= 0
    some = temperature(given.logits[keep], labels[keep], "multiclass")
    assert temperature(given.logits, labels, "multiclass") == pytest.approx(some)
    with pytest.raises(NotEnoughData, match="no labelled image"):
        temperature(given.logits, np.full(len(labels), -1), "multiclass")
    broken = given.logits.copy()
    broken[4, 2] = np.nan
    with pytest.raises(DataError, match="1 image"):
        temperature(broken, labels, "multiclass")


def test_rare_class_gets_a_lower_threshold() -> None:
    given = predictions("binary")
    p, y = probabilities(given), given.labels
    (t,) = thresholds(p, y, "binary")
    false, true, _ = reference.roc_curve(y, p[:, 1], drop_intermediate=False)
    best = ((true + 1 - false) / 2).max()
    found = reference.balanced_accuracy_score(y, p[:, 1] >= np.float32(t))
    assert 0 < t < 0.3
    assert found == pytest.approx(best)
    assert found > reference.balanced_accuracy_score(y, p[:, 1] >= 0.5) + 0.05


def test_balanced_data_keep_one_half() -> None:
    """200 fresh balanced samples of a calibrated model: chance alone moves the threshold in few of them."""
    rng, kept = np.random.default_rng(1), 0
    for _ in range(200):
        p1 = rng.beta(0.7, 0.7, 200).astype(np.float32)
        y = (rng.random(200) < p1).astype(np.int64)
        kept += thresholds(np.stack([1 - p1, p1], 1), y, "binary") == (0.5,)
    assert kept >= 180


def test_binary_thresholds_of_odd_data() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert thresholds(p, np.array([0, 0]), "binary") == (0.5,)
    assert thresholds(p, np.array([0, 1]), "binary") == (0.5,)
    assert thresholds(p, np.array([-1, -1]), "binary") == (0.5,)
    assert thresholds(p, np.array([0, 1]), "multiclass") == ()


def test_multilabel_thresholds_have_the_best_f1() -> None:
    given = predictions("multilabel")
    p, y = probabilities(given), given.labels
    found = thresholds(p, y, "multilabel")
    assert len(found) == 4
    for k, t in enumerate(found):
        precision, recall, _ = reference.precision_recall_curve(y[:, k], p[:, k])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert reference.f1_score(y[:, k], p[:, k] >= np.float32(t)) == pytest.approx(f1.max())
        assert 0 < t < 1


def test_few_positives_draw_a_threshold_to_one_half() -> None:
    p = np.linspace(0.001, 0.2, 100, dtype=np.float32)[:, None]
    alone = []
    for m in (0, 2, 4, 8, 10, 40, 100):
        y = (np.arange(100) >= 100 - m).astype(np.int64)[:, None]
        alone.append(thresholds(p, y, "multilabel")[0])
    assert alone[0] == alone[-1] == 0.5
    assert alone[1] > 0.4 > alone[2] > alone[3] > alone[4]
    assert alone[4] == pytest.approx(float(p[89:91, 0].mean()), abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_reliability_is_the_ece_drawn(task: Task) -> None:
    given = predictions(task)
    p = probabilities(given)
    bins = reliability(p, given.labels, task)
    full = [b for b in bins if b["n"]]
    total = sum(b["n"] for b in full)
    assert total == (given.labels.size if task == "multilabel" else len(given))
    drawn = sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in full) / total
    assert drawn == pytest.approx(metrics.ece(p, given.labels, decisions(given), task), abs=1e-9)
    for b in full:
        assert b["low"] - 1e-6 <= b["confidence"] <= b["high"] + 1e-6
        assert 0 <= b["accuracy_low"] <= b["accuracy"] <= b["accuracy_high"] <= 1
    assert all(np.isnan(b["accuracy"]) and np.isnan(b["accuracy_low"]) for b in bins if not b["n"])
    assert [b["low"] for b in bins[1:]] == [b["high"] for b in bins[:-1]]


def test_reliability_is_scikit_learns_curve() -> None:
    from sklearn.calibration import calibration_curve

    given = predictions("multilabel")
    p = probabilities(given)
    share, mean = calibration_curve(given.labels.ravel(), p.ravel(), n_bins=10)
    full = [b for b in reliability(p, given.labels, "multilabel", bins=10) if b["n"]]
    assert [b["accuracy"] for b in full] == pytest.approx(share.tolist())
    assert [b["confidence"] for b in full] == pytest.approx(mean.tolist())
