"""Scores as functions of sums over images, for what resamples or swaps images of two classifiers: ``COMPARED``.

``resampled.STATISTICS`` is about one classifier and works out what it can before images are weighted; here what each image adds
stays apart, so that the same parts serve the bootstrap and tests that swap answers, each as one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.judge import metrics
from visum.judge.scores import Case
from visum.types import Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """A score as a function of sums over images.

    Attributes:
        parts: what each image adds, float64 ``[N, C]``; an array, or sparse.
        value: sums ``[B, C]`` → scores float64 ``[B]``.
        lower: whether lower is better.
    """

    parts: Callable[[Case], Any]
    value: Callable[[Array], Array]
    lower: bool = False


def _mean(sums: Array) -> Array:
    return np.asarray(sums[:, 0] / sums[:, 1])


def _with_count(values: NDArray[Any]) -> Array:
    return np.stack([values.astype(np.float64), np.ones(len(values))], 1)


def _counts(given: Case) -> Any:
    """Hits, images and answers of each class, sparse ``[N, 3 K]``."""
    from scipy import sparse

    p, labels, answers, _ = given
    if labels.ndim == 2:
        return sparse.csr_array(np.hstack([labels & answers, labels, answers]).astype(np.float64))
    n, k = p.shape
    row, hit = np.arange(n), np.flatnonzero(labels == answers)
    at = (np.concatenate([hit, row, row]), np.concatenate([labels[hit], k + labels, 2 * k + answers]))
    return sparse.csr_array((np.ones(len(at[0])), at), (n, 3 * k))


def _macro_f1(sums: Array) -> Array:
    hits, images, answers = np.split(sums, 3, axis=1)
    there = images > 0
    return np.asarray((metrics.ratio(2 * hits, images + answers) * there).sum(1) / np.maximum(there.sum(1), 1))


def _micro_f1(sums: Array) -> Array:
    hits, images, answers = (part.sum(1) for part in np.split(sums, 3, axis=1))
    return metrics.ratio(2 * hits, images + answers)


COMPARED: dict[str, Sums] = {
    "accuracy": Sums(lambda given: _with_count(metrics.right(given[1], given[2])), _mean),
    "micro_f1": Sums(_counts, _micro_f1),
    "macro_f1": Sums(_counts, _macro_f1),
    "log_loss": Sums(lambda given: _with_count(metrics.log_losses(given[0], given[1], given[3])), _mean, lower=True),
    "brier": Sums(lambda given: _with_count(metrics.brier_losses(given[0], given[1], given[3])), _mean, lower=True),
}


def names(task: Task) -> tuple[str, ...]:
    """The scores that are compared; with one label each micro F1 would be accuracy once more."""
    return tuple(name for name in COMPARED if name != "micro_f1" or task == "multilabel")
