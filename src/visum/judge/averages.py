"""Precision, recall and F1 of each class with their intervals, and intervals of their macro and weighted averages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.judge.intervals import effective_size, effective_wilson, f1_interval, wilson
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


def average_variance(kind: str, average: str, labels: Integers, answers: Integers, classes: int) -> float:
    """Variance of a macro or weighted average over classes (delta method; for F1 see Takahashi et al. 2022, Appl. Intell.
    52:4961): the sum over images of their squared influence, so that a confused image, a miss of one class and a false
    answer of another, counts once and as both. In weighted averages the class mix varies with the images.

    Args:
        kind: precision, recall or f1.
        average: macro or weighted.
        labels, answers: int64 ``[N]``, or 0/1 ``[N, K]``.
    """
    true, false, missed = counts(labels, answers, classes)
    score, images = COUNTED[kind](true, false, missed), true + missed
    weight = class_weights(average, images)
    hit, wrong, miss = (effect * weight for effect in effects(kind, true, false, missed))
    if average == "weighted" and images.any():  # one more image of a good class raises the average, too
        mix = (score - weight @ score) / images.sum()
        hit, miss = hit + mix, miss + mix
    if labels.ndim == 2:
        each = (labels & answers) @ (hit - wrong - miss) + answers @ wrong + labels @ miss
        return float(each @ each)
    table = confusion(labels, answers, classes)
    mistakes = (table - np.diag(np.diag(table))) * (miss[:, None] + wrong[None, :]) ** 2
    return float(np.diag(table) @ hit**2 + mistakes.sum())


def average_interval(kind: str, average: str, labels: Integers, answers: Integers, classes: int) -> tuple[float, float]:
    """Interval of a macro or weighted average over classes, (low, high): Wilson's, with an effective number of images.

    The variance is ``average_variance``, but never less than if all classes had the same share right: a rare class that
    happens to have no mistake does not count as certain. Arguments as there.
    """
    true, false, missed = counts(labels, answers, classes)
    weight = class_weights(average, true + missed)
    value = float(weight @ COUNTED[kind](true, false, missed))
    size = effective_size(weight, true + (false if kind == "precision" else missed))
    variance = average_variance(kind, average, labels, answers, classes)
    if variance > 0:
        variance = max(variance, value * (1 - value) / size)
    return effective_wilson(value, variance, size)
