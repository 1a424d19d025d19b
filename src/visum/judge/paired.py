"""Two classifiers on the same images: how much better is one of them, and could it be chance?

``difference`` (an interval for two shares), ``mcnemar`` (exact test of the same), ``swapped`` (exact test of any score that is
made of sums over images, of which McNemar's is the simplest case) and ``holm`` (several tests at once).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.judge.intervals import critical

Array = NDArray[np.float64]


def difference(better: int, worse: int, n: int, level: float = 0.95) -> tuple[float, float, float]:
    """Difference of two shares of the same n images: (value, low, high), in -1 … 1.

    Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions": Wald's interval after half an
    image was added to each of the four cells, so that it has a width even where the two never disagree.

    Args:
        better: images that only the second one gets right.
        worse: images that only the first one gets right.
        n: images, at least 1.
        level: of the interval, in (0, 1).
    """
    b, c, m = better + 0.5, worse + 0.5, n + 2
    centre = (b - c) / m
    half = critical(level) * math.sqrt(max(0.0, b + c - (b - c) ** 2 / m)) / m
    return (better - worse) / n, max(-1.0, centre - half), min(1.0, centre + half)


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947): of images that only one of two gets right, each would be either's with
    probability 1/2 if both were right equally often. In (0, 1]; 1 where they never disagree.

    Args:
        better, worse: images that only the second, only the first gets right.
    """
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(min(better, worse), better + worse, 0.5)))


def swapped(value: Callable[[Array], Array], first: Any, second: Any, *, draws: int = 2000, seed: int = 0) -> float:
    """Two-sided p-value of "it makes no difference which of the two answered": in each draw a coin for each image says
    whether the two swap what they said of it, and the p-value is the share of draws, the real one included, whose difference
    is at least as large (approximate randomisation, Yeh 2000, arXiv:cs/0008005, after Fisher 1935). It is right for any score
    and any number of images: at most the level of equal classifiers are called different. For accuracy and all possible
    draws it is ``mcnemar``.

    Args:
        value: sums over images float64 ``[B, C]`` → scores float64 ``[B]``.
        first, second: what each image adds to these sums, float64 ``[N, C]``, as arrays or sparse.
        draws: >= 19, at random; the p-value is at least 1 / (draws + 1).
        seed: of the coins.
    """
    rng = np.random.default_rng(seed)
    moved, total = second - first, (first.sum(0), second.sum(0))
    block = max(1, 4_000_000 // max(first.shape[0], 1))
    seen = abs(float((value(total[1][None]) - value(total[0][None]))[0]))
    atleast = 0
    for start in range(0, draws, block):
        coins = rng.integers(0, 2, (min(block, draws - start), first.shape[0]), np.int8).astype(np.float64) @ moved
        atleast += int((np.abs(value(total[1] - coins) - value(total[0] + coins)) >= seen - 1e-12).sum())
    return (1 + atleast) / (1 + draws)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """P-values of several tests, each made so large that with probability 1 - a none below a is a mistake, whatever the tests
    have to do with each other (Holm 1979, Scand. J. Stat. 6:65). Same order; in [0, 1]."""
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p, np.float64)[order] * (len(p) - np.arange(len(p)))
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(raised), 1.0) if len(p) else raised
    return tuple(out.tolist())
