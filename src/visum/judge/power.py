"""How large a difference in accuracy a set of images can show, and how many images would show a given one.

All of it is the power of the exact test of McNemar (``paired.mcnemar``): the number of images on which two classifiers disagree
is binomial, and so is, among these, the number that the better one gets right. Nothing is approximated up to ``EXACT`` images.
"""

from __future__ import annotations

import math

import numpy as np

from visum.judge.intervals import critical

POWER, ALPHA = 0.8, 0.05
EXACT = 200_000
"""Images from which on the normal approximation is as good."""


def power(n: int, difference: float, discordance: float, alpha: float = ALPHA) -> float:
    """Probability that the exact test calls a true difference one, in either direction; in [0, 1].

    Args:
        n: images, >= 1.
        difference: of the two accuracies, 0 … ``discordance``.
        discordance: share of images on which exactly one of the two is right, in (0, 1].
        alpha: level of the test, in (0, 1).
    """
    from scipy.stats import binom

    spread = 8 * math.sqrt(n * discordance * (1 - discordance)) + 10
    m = np.arange(max(0, int(n * discordance - spread)), min(n, int(n * discordance + spread)) + 1)
    few = binom.ppf(alpha / 2, m, 0.5)
    few -= binom.cdf(few, m, 0.5) > alpha / 2  # the most that the worse one may get right
    share = (discordance - difference) / (2 * discordance)
    called = np.where(few >= 0, binom.cdf(few, m, share) + binom.sf(m - few - 1, m, share), 0.0)
    return float(binom.pmf(m, n, discordance) @ called)


def smallest(n: int, discordance: float, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """The smallest true difference of two accuracies that n images would show with probability ``wanted``, in (0, 1]; 1 where
    they are too few to show any.

    Two classifiers that differ by d disagree on a share of at least d of the images: where that is more than
    ``discordance``, it takes its place, so that there is an answer for two that never disagreed.

    Args:
        n: images, >= 1.
        discordance: as observed, 0 … 1.
        alpha, wanted: level and power, in (0, 1).
    """

    def enough(d: float) -> bool:
        if n > EXACT:
            return d > 0 and _approximate(d, max(discordance, d), alpha, wanted) <= n
        return d > 0 and power(n, d, max(discordance, d), alpha) >= wanted

    low, high = 0.0, 1.0
    if not enough(high):
        return 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def needed(difference: float, discordance: float, alpha: float = ALPHA, wanted: float = POWER) -> int | None:
    """The number of images that would show a true difference with probability ``wanted``; None where there is no
    difference, which no number of images shows.

    Args:
        difference: of the two accuracies, -1 … 1; its sign does not matter.
        discordance: share of images on which exactly one is right; at least ``abs(difference)``.
        alpha, wanted: level and power, in (0, 1).
    """
    d = abs(difference)
    if not d:
        return None
    guess = _approximate(d, discordance, alpha, wanted)
    if guess > EXACT:
        return guess
    low, high = max(1, guess // 2), 2 * guess + 50
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, d, discordance, alpha) >= wanted else (middle + 1, high)
    return low


def _approximate(d: float, discordance: float, alpha: float, wanted: float) -> int:
    """Connor 1987, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43:207."""
    beyond = critical(1 - alpha) * math.sqrt(discordance) + critical(2 * wanted - 1) * math.sqrt(
        max(discordance - d * d, 0.0)
    )
    return math.ceil((beyond / d) ** 2)
