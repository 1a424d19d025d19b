"""Precision, recall and F1 of each class with their intervals, and intervals of their macro and weighted averages."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from visum.judge.intervals import f1_interval, mover, wilson
from visum.judge.metrics import COUNTED, class_weights, confusion, counts
from visum.types import Integers

Array = NDArray[np.float64]


def parts(kind: str, true: Array, false: Array, missed: Array) -> tuple[Array, Array, Array, Array]:
    """(value, low, high, n) of each class, float64 ``[K]``, from its true positives, false positives and false negatives.

    n is what the share rests on: images of the class (recall), answers (precision), or both together (F1). A class
    without them has value 0 and interval (NaN, NaN).

    Args:
        kind: precision, recall or f1.
    """
    value = COUNTED[kind](true, false, missed)
    if kind == "f1":
        low, high = f1_interval(true, false + missed)
        return value, low, high, true + false + missed
    n = true + (false if kind == "precision" else missed)
    return value, *wilson(true, n), n


def effects(kind: str, true: Array, false: Array, missed: Array) -> tuple[Array, Array, Array]:
    """How one more image moves the score of a class (its influence): as a true positive, a false positive or a false
    negative, float64 ``[K]`` each. Summed over all images they are 0."""
    value = COUNTED[kind](true, false, missed)
    if kind == "f1":
        n = np.maximum(2 * true + false + missed, 1)
        return 2 * (1 - value) / n, -value / n, -value / n
    n = np.maximum(true + (false if kind == "precision" else missed), 1)
    zero = np.zeros_like(n)
    up, down = (1 - value) / n, -value / n
    return (up, down, zero) if kind == "precision" else (up, zero, down)


def average_interval(kind: str, average: str, labels: Integers, answers: Integers, classes: int) -> tuple[float, float]:
    """Interval of a macro or weighted average over classes, by MOVER from the classes' Wilson intervals.

    Scores of different classes are correlated, since a confused image is a miss of one and a false answer of the other;
    their correlation is that of their influences (delta method). A class whose score has no variance here (no mistake,
    or nothing right) counts as independent, with its Wilson width. A class never answered keeps precision 0.

    Args:
        kind: precision, recall or f1.
        average: macro or weighted; weights are taken as fixed.
    """
    true, false, missed = counts(labels, answers, classes)
    value, low, high, _ = parts(kind, true, false, missed)
    low, high = np.where(np.isnan(low), value, low), np.where(np.isnan(high), value, high)
    hit, wrong, miss = effects(kind, true, false, missed)
    deviation = np.sqrt(true * hit**2 + false * wrong**2 + missed * miss**2)
    varies = deviation > 0
    if labels.ndim == 2:
        right = (labels & answers).astype(np.float64)

        def together(u: Array) -> float:
            each = right @ ((hit - wrong - miss) * u) + answers @ (wrong * u) + labels @ (miss * u)
            return float(each @ each)

    else:
        table = confusion(labels, answers, classes).astype(np.float64)
        own = np.diag(table)
        np.fill_diagonal(mistakes := table.copy(), 0.0)

        def together(u: Array) -> float:
            pairs = mistakes * ((miss * u)[:, None] + (wrong * u)[None, :]) ** 2
            return float(own @ (hit * u) ** 2 + pairs.sum())

    def spread(d: Array) -> float:
        scaled = np.divide(d, deviation, out=np.zeros_like(d), where=varies)
        alone = d[~varies]
        return math.sqrt(together(scaled) + float(alone @ alone))

    ends = mover(value, low, high, class_weights(average, true + missed), spread)
    return max(ends[0], 0.0), min(ends[1], 1.0)
