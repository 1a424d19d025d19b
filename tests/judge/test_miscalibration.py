"""Calibration errors beside torchmetrics and naive loops, and their laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import predictions

from visum.judge import metrics
from visum.judge.calibrate import reliability
from visum.judge.miscalibration import ERRORS, each_class, error, score
from visum.types import Task, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@pytest.mark.slow  # its import
def test_torchmetrics_says_the_same() -> None:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    given = predictions("multiclass")
    p, y = probabilities(given), given.labels
    assert p.max() < 1  # where definitions differ
    wide = torch.from_numpy(p.astype(np.float64))
    top = multiclass_calibration_error(wide, torch.from_numpy(y), num_classes=10, n_bins=15, norm="l1")
    assert error("ece", p, y, "multiclass") == pytest.approx(float(top), abs=1e-6)
    each = [
        float(binary_calibration_error(wide[:, k].contiguous(), torch.from_numpy((y == k).astype(int)), n_bins=15))
        for k in range(10)
    ]
    assert each_class(p, y, "multiclass") == pytest.approx(each, abs=1e-6)
    assert error("classwise_ece", p, y, "multiclass") == pytest.approx(np.mean(each), abs=1e-6)


def test_equal_mass_by_a_naive_loop() -> None:
    """765 images are 15 bins of 51: sorted, cut, added up."""
    given = predictions("multiclass")
    p, y = probabilities(given)[:765], given.labels[:765]
    top, right = p.max(1).astype(float), p.argmax(1) == y
    assert len(np.unique(top)) == 765
    naive = sum(abs(top[part].mean() - right[part].mean()) * 51 / 765 for part in np.array_split(np.argsort(top), 15))
    assert error("adaptive_ece", p, y, "multiclass") == pytest.approx(naive, abs=1e-9)


def test_every_class_by_a_naive_loop() -> None:
    given = predictions("multiclass")
    p, y = probabilities(given).astype(float), given.labels
    each = []
    for k in range(10):
        bins = [(p[:, k] >= low / 15) & (p[:, k] < (low + 1) / 15) for low in range(15)]
        each.append(sum(abs(p[b, k].mean() - (y[b] == k).mean()) * b.mean() for b in bins if b.any()))
    assert each_class(p, y, "multiclass") == pytest.approx(each, abs=1e-9)
    assert error("classwise_ece", p, y, "multiclass") == pytest.approx(np.mean(each), abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_laws(task: Task) -> None:
    """Whatever the order of images, errors lie in [0, 1]; ``ece`` is ``metrics.ece``; diagrams add up to the error."""
    given = predictions(task)
    p, y = probabilities(given).round(2), given.labels
    order = np.random.default_rng(0).permutation(len(p))
    for name in ERRORS:
        assert 0 <= error(name, p, y, task) <= 1
        assert error(name, p[order], y[order], task) == pytest.approx(error(name, p, y, task), abs=1e-12)
    assert error("ece", p, y, task) == pytest.approx(metrics.ece(p, y, decisions(given), task), abs=1e-12)
    for name, equal in (("ece", False), ("adaptive_ece", True)):
        full = [b for b in reliability(p, y, task, equal_mass=equal) if b["n"]]
        drawn = sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in full) / sum(b["n"] for b in full)
        assert drawn == pytest.approx(error(name, p, y, task), abs=1e-9)
        assert all(b["low"] - 1e-6 <= b["confidence"] <= b["high"] + 1e-6 for b in full)
        assert all(b["accuracy_low"] <= b["accuracy"] <= b["accuracy_high"] for b in full)


def test_bins_of_equal_mass_are_as_full_as_each_other() -> None:
    given = predictions("multiclass")
    n = [b["n"] for b in reliability(probabilities(given), given.labels, "multiclass", equal_mass=True)]
    assert sum(n) == 797
    assert max(n) - min(n) <= 1


def test_one_confidence_for_all_is_one_bin() -> None:
    p = np.full((40, 2), 0.5, np.float32)
    y = (np.arange(40) < 10).astype(np.int64)
    for name in ("ece", "adaptive_ece"):
        assert error(name, p, y, "multiclass") == pytest.approx(abs(0.5 - 0.75))


def test_intervals_reach_down_to_nothing_for_what_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    p1 = rng.beta(0.8, 0.8, 400).astype(np.float32)
    p, y = np.stack([1 - p1, p1], 1), (rng.random(400) < p1).astype(np.int64)
    for name in ERRORS:
        good, bad = score(name, p, y, "binary"), score(name, p[:, ::-1], y, "binary")
        assert good.low < 0.015
        assert good.low <= good.value <= good.high
        assert bad.low > 0.2
        assert (good.n, good.method) == (400, "bootstrap")


def test_too_large_a_table_has_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visum.judge.miscalibration.MOST", 100)
    given = replace(predictions("multiclass"))
    found = score("classwise_ece", probabilities(given), given.labels, "multiclass")
    assert np.isnan(found.low)
    assert found.method == ""
