"""Metrics with their intervals. Which interval a metric gets, and why:

- ``wilson``: shares of images or answers: accuracy, top-5, recall and precision of a class; F1 of a class, through Jaccard.
- ``effective wilson``: macro and weighted averages over classes, with an effective number of images. Unlike resampling
  it keeps its width where a small class happens to have no mistake.
- ``delong``: AUC, of one class or as a mean over classes; ``newcombe`` where that has no width.
- ``bootstrap``: images are resampled. Means of losses and multilabel scores over (image, class) pairs: BCa, or Wilson
  where all resamples are at the end of the scale (nothing wrong). Average precision: the variance of the resamples in
  Wilson's shape. ECE: from below a bound that allows for its bias, so that a well calibrated model reaches 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visum.judge import averages, intervals, metrics, ranking
from visum.judge.resampled import STATISTICS, gap_ends
from visum.types import Floats, Integers, Score, Task

Array = NDArray[np.float64]
Case = tuple[Floats, Integers, Integers, Task]  # probabilities, labels, answers, task: what metrics take
Ends = dict[str, tuple[Array, Array]]  # of a resampled metric: low [S], high [S]
NAN = float("nan")
DRAWS = 10_000_000  # images drawn over all resamples, of which there are fewer with many images; at least 200
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
    return "wilson" if name in ("hamming_loss", "weighted_recall") or name.startswith("micro") else "effective wilson"


def resample(case: Case, names: Sequence[str], seed: int) -> Ends:
    """Bootstrap ends of those of ``names`` that need it. Average precision has 1 + K of them: of the metric, and of each
    class."""
    n = len(case[1])
    wanted = [name for name in names if _method(name, case[3]) == "bootstrap"]
    ends: Ends = {}
    plain = [name for name in wanted if name not in _SHAPED]
    if plain:
        makers = [STATISTICS[name](*case) for name in plain]
        times = int(np.clip(DRAWS // n, 200, 1000))
        low, high = intervals.bootstrap(
            lambda weights: np.stack([maker(weights) for maker in makers], 1), n, resamples=times, seed=seed
        )
        ends = {name: (low[at : at + 1], high[at : at + 1]) for at, name in enumerate(plain)}
    for name in wanted:
        if name in _SHAPED:
            times = int(np.clip(DRAWS // n, 200, 500))
            values = intervals.resample(STATISTICS[name](*case), n, resamples=times, seed=seed)
            ends[name] = _SHAPED[name](case, values)
    return ends


def _ece_ends(case: Case, values: Array) -> tuple[Array, Array]:
    low, high = gap_ends(metrics.ece(*case), values)
    return np.array([low]), np.array([high])


def _average_precision_ends(case: Case, values: Array) -> tuple[Array, Array]:
    """Resamples give the variance; Wilson's shape keeps the interval in [0, 1] and wide enough near 1."""
    p, labels, _, task = case
    classes = p.shape[1]
    images = np.array([ranking.one_against_rest(p, labels, k)[1].sum() for k in range(classes)], np.float64)
    centre = STATISTICS["average_precision"](*case)(np.ones((1, len(p)), np.float32))[0]
    averaged = np.zeros(classes)
    averaged[list(ranking.averaged(task, classes))] = 1
    averaged *= images > 0
    low, high = np.full((2, 1 + classes), np.nan)
    for at, weights in enumerate([averaged / max(averaged.sum(), 1), *np.eye(classes)]):
        known = values[np.isfinite(values[:, at]), at]
        if np.isfinite(centre[at]) and len(known) > 1:
            variance = float(known.var()) if 1e-9 < centre[at] < 1 - 1e-9 else 0.0
            low[at], high[at] = intervals.effective_wilson(
                min(float(centre[at]), 1.0), variance, intervals.effective_size(weights, images)
            )
    return low, high


_SHAPED = {"ece": _ece_ends, "average_precision": _average_precision_ends}


def score(name: str, case: Case, ends: Ends) -> Score:
    """One metric with its interval; ``ends`` is what ``resample`` gave for it."""
    p, labels, answers, task = case
    value, n, classes = metrics.METRICS[name](*case), len(labels), p.shape[1]
    if value != value:
        return Score(name, NAN, NAN, NAN, 0, "")
    method = _method(name, task)
    if method == "wilson":
        low, high = _wilson(value, n)
    elif method == "effective wilson":
        average, kind = ("macro", "recall") if name == "balanced_accuracy" else name.split("_")
        low, high = averages.average_interval(kind, average, labels, answers, classes)
    elif method == "delong":
        low, high, method = _auc_interval(case, ranking.averaged(task, classes))
    else:
        low, high = (float(end[0]) for end in ends[name])
        if not high - low > 1e-6:  # resamples are all alike: one image, or no mistake at all
            low, high, method = NAN, NAN, ""
            if name not in ("log_loss", "brier", "ece") and value in (0.0, 1.0):
                low, high, method = *_wilson(value, n), "wilson"
        else:
            low, high = min(low, value), max(high, value)  # they are made in float32
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
    return Score("average_precision", value, low, high, images, "bootstrap")


def _auc_interval(case: Case, classes: Sequence[int]) -> tuple[float, float, str]:
    """Of the mean over those of ``classes`` that are present in some images and absent in others."""
    asked = [ranking.one_against_rest(case[0], case[1], k) for k in classes]
    asked = [(scores, positive) for scores, positive in asked if positive.any() and not positive.all()]
    return intervals.delong([ranking.placements(*pair) for pair in asked], [positive for _, positive in asked])


def _wilson(share: float, n: int) -> tuple[float, float]:
    low, high = intervals.wilson(round(share * n), n)
    return float(low), float(high)
