"""Metrics as functions of image weights, for the bootstrap: ``STATISTICS`` maps a name to a maker of such a function.

A maker takes (probabilities, labels, answers, task) and returns a function of weights float32 ``[B, N]`` → ``[B]`` or
``[B, S]``, whose first column is the metric of the same name in ``metrics.METRICS``. What does not depend on the weights
(losses, bins, ranks) is worked out once; a resample then costs a matrix product, or a running sum for average precision.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visum.judge import metrics, ranking
from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
Weights = NDArray[np.float32]
Statistic = Callable[[Weights], Array]
Maker = Callable[[Floats, Integers, Integers, Task], Statistic]


def _mean(values: NDArray[np.floating]) -> Statistic:
    per_image = (values / len(values)).astype(np.float32)
    return lambda weights: np.asarray(weights @ per_image, np.float64)


def _log_loss(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    return _mean(metrics.log_losses(p, labels, task))


def _brier(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    return _mean(metrics.brier_losses(p, labels, task))


def _hamming(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    return _mean((labels != answers).reshape(len(labels), -1).mean(1))


def gap_statistic(table: NDArray[np.float32]) -> Statistic:
    """A calibration error, sum over bins of |gap|, then a bound on how far the measured one lies above the true one, ``[B, 2]``.

    A measured error is biased upwards: noise in the bins does not cancel. For a bin with gap g and noise e,
    |g + e| - |g| is at most e times the sign of g + e, and at most |e|; the former where the sign is beyond doubt
    (two standard errors), so that noise cancels there, the latter elsewhere.

    Args:
        table: what each image adds to the gap of each bin, float32 ``[N, C]``.
    """
    gaps = table.sum(0, dtype=np.float64)
    sure = np.abs(gaps) > 2 * np.sqrt(np.maximum((table**2).sum(0) - gaps**2 / len(table), 0))

    def value(weights: Weights) -> Array:
        drawn = (weights @ table).astype(np.float64)
        noise = drawn - gaps
        excess = np.where(sure, noise * np.sign(gaps), np.abs(noise))
        return np.column_stack([np.abs(drawn).sum(1), excess.sum(1)])

    return value


def gap_ends(value: float, values: Array) -> tuple[float, float]:
    """95 % interval of a calibration error from resamples of its ``gap_statistic``: from below a bound that allows for its bias,
    so that a well calibrated model reaches 0."""
    low, high = value - np.quantile(values[:, 1], 0.975), np.quantile(values[:, 0], 0.975)
    return float(np.clip(low, 0.0, value)), float(max(high, value))


def _ece(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    confidence, outcome = metrics.confidences(p, labels, task)
    image = np.arange(len(confidence)) // (len(confidence) // len(p))
    cell = image * metrics.BINS + metrics.bin_of(confidence)
    added = np.bincount(cell, confidence - outcome, minlength=len(p) * metrics.BINS) / len(confidence)
    return gap_statistic(added.reshape(len(p), metrics.BINS).astype(np.float32))


def _micro(kind: str) -> Maker:
    def maker(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
        right = labels == answers
        split = (labels & right, answers & ~right, labels & ~right)  # hits, false answers, misses
        table = np.stack([part.sum(1) for part in split], 1).astype(np.float32)
        return lambda weights: metrics.COUNTED[kind](*(weights @ table).astype(np.float64).T)

    return maker


def _balanced(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    hits, there, said = ((part).astype(np.float32) for part in (labels & answers, labels, answers))

    def value(weights: Weights) -> Array:
        found, images, answered = ((weights @ part).astype(np.float64) for part in (hits, there, said))
        absent = len(labels) - images
        halves = metrics.ratio(found, images) + 1 - metrics.ratio(answered - found, absent)
        return _over_classes(np.where((images > 0) & (absent > 0), halves / 2, np.nan))

    return value


def _average_precision(p: Floats, labels: Integers, answers: Integers, task: Task) -> Statistic:
    """First the metric, then every class, also those that the metric leaves out."""
    classes = p.shape[1]
    each = [ranking.weighted_average_precision(*ranking.one_against_rest(p, labels, k)) for k in range(classes)]
    averaged = list(ranking.averaged(task, classes))

    def value(weights: Weights) -> Array:
        by_image = np.ascontiguousarray(weights.T).T
        values = np.stack([statistic(by_image) for statistic in each], 1)
        return np.column_stack([_over_classes(values[:, averaged]), values])

    return value


def _over_classes(values: Array) -> Array:
    """Mean over the columns that are not NaN."""
    known = np.isfinite(values)
    n = known.sum(1)
    mean = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0).sum(1), n, out=mean, where=n > 0)
    return mean


STATISTICS: dict[str, Maker] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "ece": _ece,
    "average_precision": _average_precision,
    # the rest of them are multilabel: decisions about one image go together
    "hamming_loss": _hamming,
    "balanced_accuracy": _balanced,
    "micro_precision": _micro("precision"),
    "micro_recall": _micro("recall"),
    "micro_f1": _micro("f1"),
    "weighted_recall": _micro("recall"),
}
