"""Have the pictures changed? Two-sample tests on embeddings, within the answers that they get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift.exchange import Flags, contrasts, smallest
from visum.types import Floats, Integers

Array = NDArray[np.float64]


def squared_distances(a: Floats, b: Floats) -> Floats:
    """float32 ``[N, M]`` between points ``[N, C]`` and ``[M, C]``."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * (a @ b.T)
    return np.asarray(np.maximum(square, 0), np.float32)


def gaussian(points: Floats) -> Floats:
    """Sum of three Gaussian kernels, float32 ``[N, N]``: of the median distance, of half and of twice of it."""
    square = squared_distances(points, points)
    middle = float(np.median(square[square > 0])) if (square > 0).any() else 1.0
    return np.asarray(sum(np.exp(square / np.float32(-middle * scale)) for scale in (0.25, 1.0, 4.0)), np.float32)


def quadratic(weights: Floats, kernel: Floats) -> Array:
    """``w K w`` of each row of weights ``[B, N]``."""
    return np.asarray(np.einsum("bn,bn->b", weights @ kernel, weights), np.float64)


def mmd(points: Floats, strata: Integers, split: Flags) -> Array:
    """Squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13:723) of each split, ``[B]``."""
    return quadratic(contrasts(split, strata), gaussian(points))


def energy(points: Floats, strata: Integers, split: Flags) -> Array:
    """Energy distance (Székely & Rizzo 2013, J. Stat. Plan. Inference 143:1249) of each split, ``[B]``."""
    return quadratic(contrasts(split, strata), -np.sqrt(squared_distances(points, points)))


def told_apart(points: Floats, strata: Integers, split: Flags) -> Floats:
    """What a ridge classifier of old and new says of each picture when it has not seen that one: float32 ``[B, N]``.

    The hat matrix of a ridge regression does not depend on what is asked, so that the classifiers of all splits, each fitted N
    times without one picture, are one matrix product. Each stratum has a constant of its own.
    """
    x = points.astype(np.float64)
    _, at, size = np.unique(strata, return_inverse=True, return_counts=True)
    x = x - (np.stack([np.bincount(at, column) for column in x.T], 1) / size[:, None])[at]
    x /= np.maximum(x.std(0), 1e-6)
    gram = x.T @ x
    hat = x @ np.linalg.solve(gram + 0.1 * len(x) * np.eye(x.shape[1]), x.T)
    fresh = np.bincount(at, split[0], len(size)) / size
    y = split.astype(np.float32) - fresh[at].astype(np.float32)  # the constants, which are the same for all splits
    lever = (np.diag(hat) + 1 / size[at]).astype(np.float32)
    fitted = y @ hat.astype(np.float32)
    # prediction without the picture itself, in units of y: (fitted - lever * y) / (1 - lever)
    return np.asarray((fitted - lever * y) / np.maximum(1 - lever, 1e-3), np.float32)


def classifier(points: Floats, strata: Integers, split: Flags) -> Array:
    """How far apart a classifier puts new and old ones that it has not seen (Lopez-Paz & Oquab 2017), of each split, ``[B]``."""
    apart = told_apart(points, strata, split)
    return np.asarray(np.einsum("bn,bn->b", apart, contrasts(split, strata)), np.float64)


TESTS: dict[str, Callable[[Floats, Integers, Flags], Array]] = {"mmd": mmd, "energy": energy, "classifier": classifier}
"""Name → statistic of each split, the larger the more different."""


@dataclass(frozen=True)
class Shift:
    """What the tests say.

    Attributes:
        p: of all tests together.
        each: p of each test.
        auc: how well a classifier tells new from old, 0.5 not at all, 1 always.
    """

    p: float
    each: dict[str, float]
    auc: float


def shift(points: Floats, strata: Integers, split: Flags) -> Shift:
    """Do the new points of each stratum lie where its old points lie?

    Args:
        points: float32 ``[N, C]``.
        strata: int64 ``[N]``.
        split: bool ``[B, N]`` of ``exchange.splits``.
    """
    p, each = smallest(np.stack([test(points, strata, split) for test in TESTS.values()]))
    said = told_apart(points, strata, split[:1])[0]
    return Shift(p, dict(zip(TESTS, each, strict=True)), auc_within(said, strata, split[0]))


def auc_within(said: Floats, strata: Integers, new: Flags) -> float:
    """Share of (new, old) pairs of one stratum in which the new one has the larger value; NaN without pairs."""
    from scipy.stats import rankdata

    won = pairs = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        fresh = new[here]
        n, m = int(fresh.sum()), int((~fresh).sum())
        if n and m:
            won += float(rankdata(said[here])[fresh].sum()) - n * (n + 1) / 2
            pairs += n * m
    return won / pairs if pairs else float("nan")
