"""Two classifiers on the same images: how much better or worse is one of them?"""

from __future__ import annotations

import math

from visum.judge.intervals import critical


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
