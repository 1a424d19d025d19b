"""Does a map tell the truth about the model? Laws and games, all against a baseline of maps that know nothing.

The baseline is the same map put elsewhere: turned, mirrored and rolled. So it is as smooth and as peaked as the judged map,
and only knows nothing of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers, Pixels, Verdict

CELLS, STEPS, BASELINES = 14, 8, 4
CLEAR, SOME = 0.08, 0.02
"""How far a trustworthy and a weak map lie above the mean of the baseline, in areas between two curves of shares of 0 … 1."""


@dataclass(frozen=True)
class Judged:
    """What a map is worth.

    Attributes:
        insertion: mean share of the answer that is back as cells are put in, most important first; higher is better.
        deletion: mean share that is left as cells are taken out, most important first; lower is better.
        gain: insertion - deletion.
        baseline: the mean gain of maps that know nothing.
        best_baseline: the largest of these.
        verdict: trustworthy: above every baseline and clearly above their mean; weak: somewhat above the mean; else meaningless.
    """

    insertion: float
    deletion: float
    gain: float
    baseline: float
    best_baseline: float
    verdict: Verdict


def blurred(square: Pixels) -> Pixels:
    """What stands in for cells that are taken out: the picture without its details, uint8 ``[S, S, 3]``."""
    import cv2

    return np.asarray(cv2.GaussianBlur(square, (0, 0), max(1.0, len(square) / 12)), np.uint8)


def order(heat: Floats, cells: int = CELLS) -> Integers:
    """Rank of the cell that each pixel lies in, most important 0: float ``[S, S]`` → int64 ``[S, S]``."""
    size = len(heat)
    cells = min(cells, size)
    at = np.arange(size) * cells // size
    sums = np.zeros((cells, cells))
    np.add.at(sums, (at[:, None], at[None, :]), heat)
    sums /= np.outer(np.bincount(at), np.bincount(at))
    rank = np.empty(cells * cells, np.int64)
    rank[np.argsort(-sums.ravel(), kind="stable")] = np.arange(cells * cells)
    return np.asarray(rank.reshape(cells, cells)[np.ix_(at, at)])


def stages(square: Pixels, blank: Pixels, rank: Integers, steps: int = STEPS) -> Pixels:
    """Pictures with the first shares of cells put in, then with them taken out: uint8 ``[2 * steps, S, S, 3]``.

    Shares grow as squares, so that the few cells at the top are looked at closely.
    """
    shares = (rank.max() + 1) * (np.arange(1, steps + 1) / (steps + 1)) ** 2
    first = rank[None, :, :, None] < shares[:, None, None, None]
    return np.concatenate([np.where(first, square, blank), np.where(first, blank, square)])


def elsewhere(heat: Floats, number: int = BASELINES, seed: int = 0) -> list[Floats]:
    """Maps that know nothing: the same one turned, mirrored and rolled by at least a quarter."""
    draw, size, out = np.random.default_rng(seed), len(heat), []
    for _ in range(number):
        turned = np.rot90(heat[:, ::-1] if draw.random() < 0.5 else heat, int(draw.integers(4)))
        by = draw.integers(size // 4, max(size // 4 + 1, 3 * size // 4), 2)
        out.append(np.roll(turned, tuple(map(int, by)), (0, 1)))
    return out


def judge(square: Pixels, heat: Floats, share: Callable[[Pixels], Floats], *, seed: int = 0) -> Judged:
    """Insertion and deletion (Petsiuk et al. 2018, section 4) of a map and of its baseline.

    Args:
        square: uint8 ``[S, S, 3]``.
        heat: float32 ``[S, S]``.
        share: squares uint8 ``[N, S, S, 3]`` → probability of the explained class, float ``[N]``.
        seed: of the baseline.
    """
    blank = blurred(square)
    squares = [stages(square, blank, order(each)) for each in (heat, *elsewhere(heat, seed=seed))]
    told = np.asarray(share(np.concatenate([square[None], blank[None], *squares])), np.float64)
    whole = max(told[0] - told[1], 0.05)  # where the blur answers alike nothing can be told apart
    curves = ((told[2:] - told[1]) / whole).clip(0, 1).reshape(len(squares), 2, STEPS).mean(axis=2)
    gains = curves[:, 0] - curves[:, 1]
    return Judged(
        float(curves[0, 0]),
        float(curves[0, 1]),
        float(gains[0]),
        float(gains[1:].mean()),
        float(gains[1:].max()),
        verdict(float(gains[0]), gains[1:]),
    )


def verdict(gain: float, baseline: NDArray[np.float64]) -> Verdict:
    """One word, by ``Judged.verdict``."""
    above = gain - float(baseline.mean())
    if gain > baseline.max() and above >= CLEAR:
        return "trustworthy"
    return "weak" if above >= SOME else "meaningless"


def sensitivity_n(heat: Floats, kept: NDArray[np.bool_], falls: Floats) -> float:
    """Correlation between what subsets of pixels sum to in the map and how far the score falls without them (Ancona et al. 2018).

    Args:
        heat: float ``[S, S]``.
        kept: bool ``[N, S, S]``, False where a subset was taken out.
        falls: float ``[N]``.

    Returns:
        -1 … 1; NaN where one of both is constant.
    """
    sums = (heat[None] * ~kept).sum(axis=(1, 2))
    if np.ptp(sums) == 0 or np.ptp(falls) == 0:
        return float("nan")
    return float(np.corrcoef(sums, falls)[0, 1])


def infidelity(heat: Floats, change: Floats, falls: Floats) -> float:
    """Mean squared error of the map as a prediction of how far the score falls (Yeh et al. 2019, eq. 1), best scaled.

    Args:
        heat: float ``[S, S]``.
        change: float ``[N, S, S]``: the share of each pixel that was taken out, 0 … 1.
        falls: float ``[N]``.

    Returns:
        >= 0, divided by the mean square of the falls: 0 explains all, 1 nothing.
    """
    sums = (heat[None] * change).sum(axis=(1, 2)).astype(np.float64)
    scale = float(sums @ falls) / max(float(sums @ sums), 1e-12)
    return float(np.mean((scale * sums - falls) ** 2) / max(float(np.mean(np.square(falls))), 1e-12))


def likeness(one: Floats, other: Floats) -> float:
    """Rank correlation of two maps, -1 … 1; 0 where one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def points(heat: Floats, cause: NDArray[np.bool_], tolerance: int = 0) -> bool:
    """The pointing game (Zhang et al. 2018): whether the peak lies on the cause, or at most ``tolerance`` pixels beside it."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    top, left = max(0, int(row) - tolerance), max(0, int(column) - tolerance)
    return bool(cause[top : int(row) + tolerance + 1, left : int(column) + tolerance + 1].any())
