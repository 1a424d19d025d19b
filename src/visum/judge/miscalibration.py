"""How far probabilities are from what happens: ``ERRORS`` maps a name to the gaps that a calibration error adds up.

Each takes probabilities float ``[N, K]``, labels int64 ``[N]`` (0/1 ``[N, K]`` when multilabel; no unlabelled rows) and the
task, and returns what every image adds to the gap (mean confidence less share right, weighted) of every bin, float64
``[N, C]``; the error is the sum over bins of |gap|, in [0, 1]. Definitions differ in what is binned, and how:

- ``ece``: the answer's probability, 15 bins of equal width (Guo et al. 2017, eq. 3; ``metrics.ece``). Depends on where the bins
  begin.
- ``adaptive_ece``: the same in 15 bins of equally many answers (Nguyen & O'Connor 2015; Nixon et al. 2019): no bin is left to
  the noise of a few answers.
- ``classwise_ece``: the probability of every class, in 15 bins of equal width each, mean over classes (Kull et al. 2019, eq. 3):
  also sees classes that are promised too often and seldom the answer. With many classes most probabilities are near 0, and
  so is it.

torchmetrics' ``MulticlassCalibrationError`` agrees to 1e-6 with ``ece``, and the mean of its ``BinaryCalibrationError`` over the
classes with ``classwise_ece``, except that there a confidence of exactly 1 has a bin of its own, the sixteenth; here it belongs
to the last one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visum.judge import intervals
from visum.judge.metrics import BINS, bin_of, confidences, equal_bin_of
from visum.judge.resampled import gap_ends, gap_statistic
from visum.types import Floats, Integers, Score, Task

Array = NDArray[np.float64]
Gaps = Callable[[Floats, Integers, Task], Array]
MOST, WORK = 30_000_000, 1_000_000_000
"""Cells of a table of gaps: a larger one is added up without an interval; and of all resamples of it together."""


def _binned(gap: Array, where: Integers, bins: int = BINS) -> Array:
    """Gaps ``[N, C]`` of C answers an image, each in its own bin, as one table ``[N, bins]``."""
    n, many = gap.shape
    cell = np.repeat(np.arange(n), many) * bins + where.ravel()
    return np.asarray(np.bincount(cell, gap.ravel(), minlength=n * bins).reshape(n, bins) / gap.size)


def _top(p: Floats, labels: Integers, task: Task, *, equal: bool) -> Array:
    confidence, outcome = confidences(p, labels, task)
    where = equal_bin_of(confidence) if equal else bin_of(confidence)
    shape = (len(p), len(confidence) // len(p))
    return _binned((confidence - outcome).reshape(shape), where.reshape(shape))


def ece(p: Floats, labels: Integers, task: Task) -> Array:
    """Equal width, the answer's probability."""
    return _top(p, labels, task, equal=False)


def adaptive_ece(p: Floats, labels: Integers, task: Task) -> Array:
    """Equal mass, the answer's probability."""
    return _top(p, labels, task, equal=True)


def classwise_ece(p: Floats, labels: Integers, task: Task) -> Array:
    """Equal width, every class by itself; the columns of class k are ``k * BINS`` … ``k * BINS + 14``."""
    y = labels if task == "multilabel" else labels[:, None] == np.arange(p.shape[1])
    wide = p.astype(np.float64)
    gaps = [_binned((wide[:, [k]] - y[:, [k]]), bin_of(wide[:, k])[:, None]) for k in range(p.shape[1])]
    return np.asarray(np.concatenate(gaps, axis=1) / p.shape[1])


ERRORS: dict[str, Gaps] = {"ece": ece, "adaptive_ece": adaptive_ece, "classwise_ece": classwise_ece}


def error(name: str, p: Floats, labels: Integers, task: Task) -> float:
    """One of ``ERRORS``, in [0, 1]."""
    return float(np.abs(ERRORS[name](p, labels, task).sum(0)).sum())


def each_class(p: Floats, labels: Integers, task: Task) -> Array:
    """Calibration error of each class by itself, float64 ``[K]`` in [0, 1]; ``classwise_ece`` is their mean."""
    classes = p.shape[1]
    return np.asarray(np.abs(classwise_ece(p, labels, task).sum(0)).reshape(classes, BINS).sum(1) * classes)


def score(name: str, p: Floats, labels: Integers, task: Task, *, seed: int = 0) -> Score:
    """One of ``ERRORS`` with its 95 % bootstrap interval, whose lower end allows for the bias that noise in the bins has."""
    table = ERRORS[name](p, labels, task).astype(np.float32)
    value = error(name, p, labels, task)
    if table.size > MOST or len(p) < 2:
        return Score(name, value, float("nan"), float("nan"), len(p), "")
    resamples = int(np.clip(WORK // table.size, 100, 500))
    values = intervals.resample(gap_statistic(table), len(p), resamples=resamples, seed=seed)
    return Score(name, value, *gap_ends(value, values), len(p), "bootstrap")
