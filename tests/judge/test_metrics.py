"""Every metric against scikit-learn or torchmetrics on real predictions."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.judge.metrics import METRICS, among_top, bin_of, confusion, ece
from visum.types import Predictions, Task, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


def case(given: Predictions) -> tuple:
    return probabilities(given), given.labels, decisions(given), given.task


def expected(name: str, p: np.ndarray, y: np.ndarray, a: np.ndarray, task: Task) -> float:
    """The same number from scikit-learn."""
    head, _, kind = name.partition("_")
    wide = p.astype(np.float64)
    if task != "multilabel":
        wide /= wide.sum(1, keepdims=True)
    scores = wide[:, 1] if task == "binary" else wide
    if kind in ("precision", "recall", "f1") and head in ("macro", "weighted", "micro"):
        function = getattr(reference, f"{kind}_score")
        return function(y, a, average=head, zero_division=0)
    if name == "accuracy":
        return reference.accuracy_score(y, a)
    if name == "hamming_loss":
        return reference.hamming_loss(y, a)
    if name == "balanced_accuracy":
        if task == "multilabel":
            return float(np.mean([reference.balanced_accuracy_score(t, b) for t, b in zip(y.T, a.T, strict=True)]))
        return reference.balanced_accuracy_score(y, a)
    if name == "top5_accuracy":
        return reference.top_k_accuracy_score(y, wide, k=5)
    if name == "auc_roc":
        return reference.roc_auc_score(y, scores, multi_class="ovr", average="macro")
    if name == "average_precision":
        return reference.average_precision_score(y, scores, average="macro")
    if name == "log_loss":
        if task == "multilabel":
            return float(np.mean([reference.log_loss(t, q) for t, q in zip(y.T, p.T, strict=True)]))
        return reference.log_loss(y, p)
    if task == "multilabel":
        return float(np.mean([reference.brier_score_loss(t, q) for t, q in zip(y.T, wide.T, strict=True)]))
    return reference.brier_score_loss(y, scores)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", [name for name in METRICS if name != "ece"])
def test_every_metric_is_scikit_learns(name: str, task: Task) -> None:
    given = case(predictions(task))
    value = METRICS[name](*given)
    if name == "top5_accuracy" and task != "multiclass":
        assert np.isnan(value)
        return
    assert value == pytest.approx(expected(name, *given), abs=1e-6)
    assert 0 < value < 1


def test_ece_and_top5_are_torchmetrics() -> None:
    import torch
    from torchmetrics.functional import classification as reference_

    p, y, a, task = case(predictions("multiclass"))
    p_t, y_t = torch.tensor(p), torch.tensor(y)
    theirs = reference_.multiclass_calibration_error(p_t, y_t, 10, n_bins=15, norm="l1")
    assert ece(p, y, a, task) == pytest.approx(float(theirs), abs=1e-6)
    top = reference_.multiclass_accuracy(p_t, y_t, 10, average="micro", top_k=5)
    assert METRICS["top5_accuracy"](p, y, a, task) == pytest.approx(float(top), abs=1e-6)
    p, y, a, task = case(predictions("multilabel"))
    pooled = reference_.binary_calibration_error(torch.tensor(p.ravel()), torch.tensor(y.ravel()), n_bins=15, norm="l1")
    assert ece(p, y, a, task) == pytest.approx(float(pooled), abs=1e-6)


def test_confidence_of_exactly_one_is_in_the_last_bin() -> None:
    """torchmetrics gives 1.0 a bin of its own (its issue 3510), which parts answers that belong together."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    p = np.array([[1.0, 0, 0], [0.95, 0.05, 0], [0, 1.0, 0], [0.02, 0.98, 0]], np.float32)
    y = np.array([1, 0, 1, 1])
    mine = ece(p, y, p.argmax(1), "multiclass")
    theirs = float(multiclass_calibration_error(torch.tensor(p), torch.tensor(y), 3, n_bins=15, norm="l1"))
    assert mine == pytest.approx(abs((1 + 0.95 + 1 + 0.98) / 4 - 3 / 4), abs=1e-6)
    assert theirs == pytest.approx(0.5 * abs(1 - 0.5) + 0.5 * abs(0.965 - 1), abs=1e-6)
    assert bin_of(np.array([0.0, 1 / 15, 0.99, 1.0])).tolist() == [0, 1, 14, 14]


def test_classes_without_images_are_left_out_of_macro_averages() -> None:
    p, y, a, task = case(predictions("multiclass"))
    keep = (y != 3) & (y != 7)
    p, y, a = p[keep], y[keep], a[keep]
    assert ((a == 3) | (a == 7)).any()  # still answered, wrongly
    present = np.unique(y)
    for kind in ("precision", "recall", "f1"):
        theirs = getattr(reference, f"{kind}_score")(y, a, average="macro", labels=present, zero_division=0)
        assert METRICS[f"macro_{kind}"](p, y, a, task) == pytest.approx(theirs, abs=1e-9)
    areas = [reference.roc_auc_score(y == k, p[:, k]) for k in present]
    assert METRICS["auc_roc"](p, y, a, task) == pytest.approx(np.mean(areas), abs=1e-9)


def test_one_class_alone_has_no_auc_and_no_warning() -> None:
    p, y, a, task = case(predictions("multiclass"))
    only = y == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {name: metric(p[only], y[only], a[only], task) for name, metric in METRICS.items()}
    assert np.isnan(values["auc_roc"])
    assert values["macro_recall"] == values["accuracy"] == (a[only] == 4).mean()


def test_ties_count_as_in_scikit_learn() -> None:
    p, y, a, task = case(predictions("binary"))
    coarse = np.round(p, 1)
    for name, function in (
        ("auc_roc", reference.roc_auc_score),
        ("average_precision", reference.average_precision_score),
    ):
        assert METRICS[name](coarse, y, a, task) == pytest.approx(function(y, coarse[:, 1]), abs=1e-9)
    even = np.full((3, 8), 0.125, np.float32)
    assert among_top(even, np.array([0, 4, 5])).tolist() == [True, True, False]


def test_confusion_is_scikit_learns() -> None:
    _, y, a, _ = case(predictions("multiclass"))
    assert (confusion(y, a, 10) == reference.confusion_matrix(y, a)).all()


def test_importing_the_room_loads_no_heavy_library() -> None:
    code = (
        "import sys, visum.judge.evaluate; "
        "print([m for m in ('scipy', 'sklearn', 'torch', 'pyarrow', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert told.stdout.strip() == "[]"


def _env() -> dict[str, str]:
    import os
    from pathlib import Path

    import visum

    return {**os.environ, "PYTHONPATH": str(Path(visum.__file__).parents[1])}
