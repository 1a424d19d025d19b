"""Intervals around scores: Wilson for shares and averages of shares, DeLong for AUC, the bootstrap for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.float32]], Array]
_NORMAL = NormalDist()
_BLOCK = 4_000_000  # weights held at a time
_JACKKNIFE = 200  # groups left out in turn


def critical(level: float) -> float:
    """Half-width of a two-sided normal interval of that level (in (0, 1)): 1.96 for 0.95."""
    return _NORMAL.inv_cdf(0.5 + level / 2)


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Score interval of a share (Wilson 1927, JASA 22:209): (low, high), float64 in [0, 1], of the broadcast shape.

    Args:
        successes: 0 … n; whole or not.
        n: trials; where 0 the interval is (NaN, NaN).
    """
    k, n = np.asarray(successes, np.float64), np.asarray(n, np.float64)
    z = critical(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = k / n
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low = np.where(k == 0, 0.0, np.maximum(middle - half, 0.0))
        high = np.where(k == n, 1.0, np.minimum(middle + half, 1.0))
    known = n > 0
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def f1_interval(true: ArrayLike, wrong: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Interval of F1 = 2 TP / (2 TP + FP + FN); ``wrong`` is FP + FN. Shapes and NaN as in ``wilson``.

    Among the TP + FP + FN images that are or are called the class, TP is binomial with the Jaccard index J, and
    F1 = 2 J / (1 + J) rises with J: Wilson's interval of J is carried over (the "Wilson direct" method of Lam et al.
    2024, arXiv:2309.14621).
    """
    true = np.asarray(true, np.float64)
    low, high = wilson(true, true + np.asarray(wrong, np.float64), level)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def effective_size(weights: Array, n: Array) -> float:
    """Images that a weighted average of equal shares rests on, 1 / sum(weights^2 / n) (Kish 1965); 0 without images.

    Args:
        weights: float64 ``[K]`` >= 0, summing to 1.
        n: images of each share, float64 ``[K]``; shares without images are left out.
    """
    known = (n > 0) & (weights > 0)
    return 1 / float((weights[known] ** 2 / n[known]).sum()) if known.any() else 0.0


def effective_wilson(value: float, variance: float, size: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a value in [0, 1] that is not a plain share, with the effective number of images
    value (1 - value) / variance of the survey literature (Franco, Little, Louis & Slud 2019, J. Surv. Stat. Methodol.
    7:334).

    Args:
        value: in [0, 1].
        variance: of ``value``; 0 where it is not known, as at 0 and 1.
        size: the effective number of images to take then; (NaN, NaN) where that is 0.
    """
    binomial = value * (1 - value)
    if variance > 0 and binomial > 0:
        size = binomial / variance
    low, high = wilson(value * size, size, level)
    return float(low), float(high)


def newcombe(auc: float, positives: int, negatives: int, level: float = 0.95) -> tuple[float, float]:
    """Score-type interval of an AUC that keeps its width at 0 and 1 (method 5 of Newcombe 2006, Stat. Med. 25:559)."""
    half = (positives + negatives) / 2 - 1
    z = critical(level)

    def excess(t: float) -> float:
        inner = 1 + half * ((1 - t) / (2 - t) + t / (1 + t))
        return abs(t - auc) - z * math.sqrt(max(t * (1 - t) * inner / (positives * negatives), 0.0))

    def root(inside: float, outside: float) -> float:
        if excess(outside) <= 0:
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
        return inside

    return root(auc, 0.0), root(auc, 1.0)


def delong(
    placements: list[Array], positives: list[NDArray[np.bool_]], level: float = 0.95
) -> tuple[float, float, str]:
    """Interval of the mean AUC of one or more classes over the same N images: (low, high, method).

    The variance is DeLong's (1988): the sum over images of the squared sum of what each adds to every class's AUC, so
    that images that help several classes at once are counted together. The interval is made on the logit scale, which
    keeps it in [0, 1]. Where DeLong has no variance (a single image of a kind, or AUC 0 or 1 throughout), the mean of
    Newcombe's intervals takes its place, method ``newcombe``.

    Args:
        placements: of each class, float64 ``[N]`` (see ``ranking.placements``).
        positives: of each class, bool ``[N]``.
    """
    k = len(placements)
    added, value, sizes = np.zeros(len(placements[0])), 0.0, []
    for place, positive in zip(placements, positives, strict=True):
        auc, sizes_here = float(place[positive].mean()), (int(positive.sum()), int((~positive).sum()))
        m, n = sizes_here
        scale = np.where(positive, 1 / math.sqrt(m * max(m - 1, 1)), 1 / math.sqrt(n * max(n - 1, 1)))
        added += (place - auc) * scale / k
        value += auc / k
        sizes.append((auc, m, n))
    deviation = math.sqrt(float(added @ added))
    if deviation < 1e-12 or value > 1 - 1e-12 or min(min(m, n) for _, m, n in sizes) < 2:
        ends = [newcombe(auc, m, n, level) for auc, m, n in sizes]
        return sum(low for low, _ in ends) / k, sum(high for _, high in ends) / k, "newcombe"
    middle, half = math.log(value / (1 - value)), critical(level) * deviation / (value * (1 - value))
    return _logistic(middle - half), _logistic(middle + half), "delong"


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def resample(statistic: Statistic, n: int, *, resamples: int = 1000, seed: int = 0) -> Array:
    """Values of S statistics over resamples of n images, float64 ``[resamples, S]``.

    Args:
        statistic: image weights float32 ``[B, n]`` (how often each image was drawn) → float64 ``[B]`` or ``[B, S]``; NaN
            where a resample has no value.
        n: images, >= 1.
        resamples: >= 1; drawn in blocks, so that memory does not grow with them.
        seed: the same seed gives the same resamples.
    """
    rng = np.random.default_rng(seed)
    block = max(1, min(resamples, _BLOCK // n))
    values = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float32)
        values.append(statistic(weights).reshape(size, -1))
    return np.concatenate(values)


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "bca",
) -> tuple[Array, Array]:
    """Bootstrap intervals (low, high), float64 ``[S]`` each, of S statistics at once; arguments as in ``resample``.

    ``percentile``, or ``bca`` (Efron 1987, JASA 82:171): percentiles moved by the bias and by the skewness, the latter from
    leaving out up to 200 groups of images in turn. Where fewer than half of the resamples have a value, the interval is
    (NaN, NaN).
    """
    values = resample(statistic, n, resamples=resamples, seed=seed)
    tails = np.array([0.5 - level / 2, 0.5 + level / 2])
    low, high = np.full((2, values.shape[1]), np.nan)
    if method == "bca":
        centre = statistic(np.ones((1, n), np.float32)).reshape(-1)
        skew = _acceleration(statistic, n, seed)
    for s in range(values.shape[1]):
        known = values[np.isfinite(values[:, s]), s]
        if 2 * len(known) >= resamples:
            at = tails if method == "percentile" else _moved(tails, known, float(centre[s]), float(skew[s]))
            low[s], high[s] = np.quantile(known, at)
    return low, high


def share(right: NDArray[np.bool_]) -> dict[str, Any]:
    """How many of some are right, with Wilson's 95 % interval, as scores stand in JSON.

    Args:
        right: bool ``[N]``, N >= 1.

    Returns:
        ``{"value", "low", "high", "n", "method"}``.
    """
    low, high = (float(end) for end in wilson(int(right.sum()), len(right)))
    return {"value": float(right.mean()), "low": low, "high": high, "n": len(right), "method": "wilson"}


def expanded(values: Array, n: int, level: float = 0.95) -> tuple[Array, Array]:
    """Percentile intervals of bootstrap values, as much wider as Student's interval is than the plain one: percentiles alone
    are too narrow with few images (Hesterberg 2015, Am. Stat. 69:371, section 5.3). (low, high), of the shape without the first
    axis.

    Args:
        values: of ``resample``, float64 ``[resamples, …]``, without NaN.
        n: images, >= 2.
    """
    from scipy.stats import t

    tail = _NORMAL.cdf(-math.sqrt(n / (n - 1)) * float(t.ppf(0.5 + level / 2, n - 1)))
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


def _moved(tails: Array, values: Array, centre: float, skew: float) -> Array:
    """BCa's percentiles."""
    edge = 0.5 / len(values)
    below = float((values < centre).mean() + (values == centre).mean() / 2)
    bias = _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    shifted = [bias + _NORMAL.inv_cdf(float(t)) for t in tails]
    return np.array([_NORMAL.cdf(bias + s / max(1 - skew * s, 0.1)) for s in shifted])


def _acceleration(statistic: Statistic, n: int, seed: int) -> Array:
    """Efron's acceleration ``[S]`` from a jackknife over groups of images; 0 where it has no value."""
    groups = min(n, _JACKKNIFE)
    member = np.random.default_rng(seed).permutation(n) % groups
    block = max(1, _BLOCK // n)
    left_out = [
        statistic((member != np.arange(start, min(start + block, groups))[:, None]).astype(np.float32))
        for start in range(0, groups, block)
    ]
    values = np.concatenate([part.reshape(len(part), -1) for part in left_out])
    values = np.where(np.isfinite(values).all(0), values, 0.0)
    distance = values.mean(0) - values
    scale = 6 * (distance**2).sum(0) ** 1.5
    return np.asarray(np.divide((distance**3).sum(0), scale, out=np.zeros(len(scale)), where=scale > 0))
