"""What all tests of this package stand on: old and new pictures change places within strata.

If nothing has changed, which of the pictures of one stratum are the new ones is a draw like any other. So a statistic of the true
split is compared with the same statistic of many drawn splits, and p = (1 + drawn ones that are at least as large) / (1 + draws)
is exact whatever the statistic, the dimension and the numbers are (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).
Draws are rows of one matrix, so that a linear or quadratic statistic of all of them is a matrix product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers

Flags = NDArray[np.bool_]
DRAWS = 499
"""Splits that are drawn, unless a smaller p is needed: p is then at least 0.002."""


def splits(strata: Integers, new: Flags, draws: int, rng: np.random.Generator) -> Flags:
    """The true split and drawn ones: bool ``[1 + draws, N]``, the true one first.

    Args:
        strata: int64 ``[N]``; each drawn split has as many new pictures in each of them as the true one.
        new: bool ``[N]``, which pictures are new.
    """
    order = np.argsort(strata, kind="stable")
    _, rank = np.unique(strata, return_inverse=True)
    places = np.argsort(rng.random((draws, len(strata)), np.float32) + rank.astype(np.float32), axis=1)
    out = np.empty((draws + 1, len(strata)), bool)
    out[0] = new
    np.put_along_axis(out[1:], places, np.broadcast_to(new[order], places.shape), axis=1)
    return out


def contrasts(split: Flags, strata: Integers) -> Floats:
    """Weights whose sum with any values is (mean of the new) - (mean of the old, weighted to the new one's strata).

    Pictures of a stratum that has only old or only new ones have weight 0: nothing can be said of them.

    Args:
        split: bool ``[B, N]`` of ``splits``: all rows have the same numbers in each stratum.
        strata: int64 ``[N]``.

    Returns:
        float32 ``[B, N]``; all 0 where no stratum has both.
    """
    _, at, size = np.unique(strata, return_inverse=True, return_counts=True)
    fresh = np.bincount(at, split[0], len(size))
    both = (fresh > 0) & (fresh < size)
    total = fresh[both].sum()
    if not total:
        return np.zeros(split.shape, np.float32)
    plus = np.where(both, 1 / total, 0.0)
    minus = np.where(both, fresh / (total * np.maximum(size - fresh, 1)), 0.0)
    return np.where(split, plus[at].astype(np.float32), -minus[at].astype(np.float32))


def p_value(statistics: NDArray[np.floating]) -> float:
    """Share of splits whose statistic is at least that of the true one, itself included: float ``[1 + draws]`` → (0, 1]."""
    true = statistics[0]
    return float((statistics >= true - 1e-6 * abs(true)).mean())


def smallest(families: NDArray[np.floating]) -> tuple[float, list[float]]:
    """One p for several statistics of the same splits, and the p of each.

    The smallest p of the true split is compared with the smallest p of each drawn split (Westfall & Young 1993), so that looking
    several times costs no false alarms.

    Args:
        families: float ``[S, 1 + draws]``.
    """
    draws = families.shape[1]
    order = np.sort(families, axis=1)
    each = np.stack(
        [(draws - np.searchsorted(s, row - 1e-6 * np.abs(row))) / draws for s, row in zip(order, families, strict=True)]
    )
    least = each.min(axis=0)
    return float((least <= least[0] + 1e-12).mean()), [float(p) for p in each[:, 0]]


def rows_at_most(n: int, most: int, rng: np.random.Generator) -> Integers:
    """Which of n rows to look at: all of them, or ``most`` drawn ones in order."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
