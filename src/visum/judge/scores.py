"""Metrics with their intervals. Which interval a metric gets, and why:

- ``wilson``: shares of images or answers: accuracy, top-5, recall and precision of a class; F1 of a class, through Jaccard.
- ``mover``: macro and weighted averages over classes, from the classes' Wilson intervals and the correlation of the
  classes' scores. Unlike resampling it keeps its width where a small class happens to have no mistake. In weighted
  averages the class mix of the split is taken as given.
- ``delong``: AUC, of one class or as a mean over classes; ``newcombe`` where that has no width.
- ``bootstrap``: means of losses, ECE, average precision, and multilabel scores over (image, class) pairs: images are
  resampled. Where all resamples are at the end of the scale (nothing wrong), ``wilson`` or ``mover`` gives the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visum.judge import averages, intervals, metrics, ranking
from visum.judge.resampled import STATISTICS, Weights
from visum.types import Floats, Integers, Score, Task

Array = NDArray[np.float64]
Case = tuple[Floats, Integers, Integers, Task]  # probabilities, labels, answers, task: what metrics take
Ends = dict[str, tuple[Array, Array]]  # of a resampled metric: low [S], high [S]
NAN = float("nan")
RESAMPLES = 1000
DRAWS = 10_000_000  # images drawn over all resamples: beyond 10,000 images there are fewer resamples, at least 200
_ALWAYS_RESAMPLED = ("log_loss", "brier", "ece", "average_precision")


def exists(name: str, task: Task, classes: int) -> bool:
    """Whether a task has a metric at all."""
    if name == "top5_accuracy":
        return task != "multilabel" and classes > 5
    return name != "hamming_loss" or task == "multilabel"


def _method(name: str, task: Task) -> str:
    """Which kind of interval a metric gets; see the top of this file."""
    if name == "auc_roc":
        return "delong"
    if name in ("accuracy", "top5_accuracy"):
        return "wilson"
    if name in STATISTICS and (task == "multilabel" or name in _ALWAYS_RESAMPLED):
        return "bootstrap"
    return "wilson" if name in ("hamming_loss", "weighted_recall") or name.startswith("micro") else "mover"


def resample(case: Case, names: Sequence[str], seed: int) -> Ends:
    """Bootstrap ends of those of ``names`` that need it, all from the same resamples."""
    n = len(case[1])
    makers = {name: STATISTICS[name](*case) for name in names if _method(name, case[3]) == "bootstrap"}
    if not makers:
        return {}
    widths = {
        name: statistic(np.ones((1, n), np.float32)).reshape(1, -1).shape[1] for name, statistic in makers.items()
    }

    def together(weights: Weights) -> Array:
        return np.column_stack([statistic(weights) for statistic in makers.values()])

    resamples = int(np.clip(DRAWS // n, 200, RESAMPLES))
    low, high = intervals.bootstrap(together, n, resamples=resamples, seed=seed, method="percentile")
    stops = np.cumsum(list(widths.values()))
    return {name: (low[b - w : b], high[b - w : b]) for (name, w), b in zip(widths.items(), stops, strict=True)}


def score(name: str, case: Case, ends: Ends) -> Score:
    """One metric with its interval; ``ends`` is what ``resample`` gave for it."""
    p, labels, answers, task = case
    value, n, classes = metrics.METRICS[name](*case), len(labels), p.shape[1]
    if value != value:
        return Score(name, NAN, NAN, NAN, 0, "")
    method = _method(name, task)
    if method == "wilson":
        low, high = _wilson(value, n)
    elif method == "mover":
        average, kind = ("macro", "recall") if name == "balanced_accuracy" else name.split("_")
        low, high = averages.average_interval(kind, average, labels, answers, classes)
    elif method == "delong":
        low, high, method = _auc_interval(case, ranking.averaged(task, classes))
    else:
        low, high = float(ends[name][0][0]), float(ends[name][1][0])
        if low == high == value and value in (0.0, 1.0):
            low, high, method = _at_the_end(name, case, value)
    return Score(name, value, low, high, n, method)


def class_scores(case: Case, ends: Ends) -> list[dict[str, Score]]:
    """Precision, recall, F1, AUC and average precision (one against the rest) of each class.

    A class without images has NaN and n = 0 throughout. AUC and average precision have the class's images as n.

    Args:
        ends: of ``resample`` with ``average_precision`` among its names.
    """
    p, labels, answers, _ = case
    true, false, missed = metrics.counts(labels, answers, p.shape[1])
    counted = {kind: averages.parts(kind, true, false, missed) for kind in metrics.COUNTED}
    out = []
    for k, images in enumerate((true + missed).astype(int)):
        if not images:
            names = (*metrics.COUNTED, "auc_roc", "average_precision")
            out.append({name: Score(name, NAN, NAN, NAN, 0, "") for name in names})
            continue
        row = {}
        for kind, columns in counted.items():
            value, low, high, n = (float(column[k]) for column in columns)
            row[kind] = Score(kind, value, low, high, int(n), "wilson" if n else "")
        scores, positive = ranking.one_against_rest(p, labels, k)
        row["auc_roc"] = Score("auc_roc", NAN, NAN, NAN, 0, "")
        if not positive.all():
            low, high, method = _auc_interval(case, [k])
            row["auc_roc"] = Score("auc_roc", ranking.auc(scores, positive), low, high, int(images), method)
        row["average_precision"] = _class_average_precision(case, ends, k)
        out.append(row)
    return out


def _class_average_precision(case: Case, ends: Ends, k: int) -> Score:
    scores, positive = ranking.one_against_rest(case[0], case[1], k)
    value, images = ranking.average_precision(scores, positive), int(positive.sum())
    low, high = (float(end[1 + k]) for end in ends["average_precision"])
    if low == high == value:
        return Score("average_precision", value, *_wilson(value, images), images, "wilson")
    return Score("average_precision", value, low, high, images, "bootstrap")


def _auc_interval(case: Case, classes: Sequence[int]) -> tuple[float, float, str]:
    """Of the mean over those of ``classes`` that are present in some images and absent in others."""
    asked = [ranking.one_against_rest(case[0], case[1], k) for k in classes]
    asked = [(scores, positive) for scores, positive in asked if positive.any() and not positive.all()]
    return intervals.delong([ranking.placements(*pair) for pair in asked], [positive for _, positive in asked])


def _wilson(share: float, n: int) -> tuple[float, float]:
    low, high = intervals.wilson(round(share * n), n)
    return float(low), float(high)


def _at_the_end(name: str, case: Case, value: float) -> tuple[float, float, str]:
    """Of a score of 0 or 1 in every resample: by images, or from the classes' positives for average precision."""
    if name != "average_precision":
        return *_wilson(value, len(case[1])), "wilson"
    p, labels, _, task = case
    images = np.array([ranking.one_against_rest(p, labels, k)[1].sum() for k in ranking.averaged(task, p.shape[1])])
    images = images[images > 0]
    low, high = intervals.wilson(value * images, images)
    weights, values = np.full(len(images), 1 / len(images)), np.full(len(images), value)
    ends = intervals.mover(values, low, high, weights, lambda d: math.sqrt(float(d @ d)))
    return max(ends[0], 0.0), min(ends[1], 1.0), "mover"
