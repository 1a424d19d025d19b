"""How well scores put positives above negatives: area under the ROC curve and average precision, of one class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def averaged(task: Task, classes: int) -> Sequence[int]:
    """The classes whose AUC and average precision are averaged: class 1 alone when binary, else all."""
    return (1,) if task == "binary" else range(classes)


def one_against_rest(probabilities: Floats, labels: Integers, k: int) -> tuple[Floats, Mask]:
    """The yes-or-no question "is it class k": scores float ``[N]`` and positives bool ``[N]``."""
    return probabilities[:, k], (labels[:, k] == 1) if labels.ndim == 2 else labels == k


def placements(scores: Floats, positive: Mask) -> Array:
    """DeLong's structural components, float64 ``[N]``: for a positive the share of negatives scored below it, for a
    negative the share of positives scored above it; ties count half. Both kinds average to the AUC. NaN where the other
    kind is missing (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837, eq. 3)."""
    out = np.full(len(scores), np.nan)
    up, down = np.sort(scores[positive]), np.sort(scores[~positive])
    if len(up) and len(down):
        for chosen, others in ((positive, down), (~positive, up)):
            own = scores[chosen]
            below = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
            out[chosen] = below / (2 * len(others))
        out[~positive] = 1 - out[~positive]
    return out


def auc(scores: Floats, positive: Mask) -> float:
    """Area under the ROC curve (Mann-Whitney), NaN unless there are positives and negatives."""
    return float(placements(scores, positive)[positive].mean()) if positive.any() else float("nan")


def average_precision(scores: Floats, positive: Mask) -> float:
    """Sum over thresholds of (R_n - R_n-1) P_n, without interpolation; NaN without positives."""
    return float(weighted_average_precision(scores, positive)(np.ones((1, len(scores)), np.float32))[0])


def weighted_average_precision(scores: Floats, positive: Mask) -> Callable[[NDArray[np.floating]], Array]:
    """Average precision as a function of image weights ``[B, N]`` → float64 ``[B]`` (NaN where no positive has weight).

    Ranks are made once. Only score groups that hold a positive add to the sum, so the images between them are summed in
    one stroke.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of a group of equal scores
    group = np.append(0, np.cumsum(last)[:-1])
    full = np.unique(group[hit])  # groups that hold a positive
    if not len(full):
        return lambda weights: np.full(len(weights), np.nan)
    ends = np.flatnonzero(last)[full]
    starts = np.append(0, ends[:-1] + 1)
    hits, reach = order[hit], order[: ends[-1] + 1]
    hit_starts = np.searchsorted(group[hit], full, "left")

    def value(weights: NDArray[np.floating]) -> Array:
        by_image = weights.T  # rows are gathered whole
        found = np.add.reduceat(by_image[hits], hit_starts, axis=0, dtype=np.float64)
        seen = np.add.reduceat(by_image[reach], starts, axis=0, dtype=np.float64)
        gained, total = np.cumsum(found, 0), np.cumsum(seen, 0)
        precision = np.divide(gained, total, out=np.zeros_like(gained), where=total > 0)
        every = gained[-1]
        mean = np.full(len(every), np.nan)
        np.divide((found * precision).sum(0), every, out=mean, where=every > 0)
        return mean

    return value
