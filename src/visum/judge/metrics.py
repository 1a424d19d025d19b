"""Point values of all metrics: ``METRICS`` maps a name to a function of (probabilities, labels, answers, task).

All of them take probabilities float ``[N, K]``, labels int64 ``[N]`` with values in 0 … K-1 (0/1 ``[N, K]`` when multilabel;
no unlabelled rows), answers of the same shape as labels, and the task; they return a Python float, NaN where the metric is
not defined on these rows. All are shares in [0, 1], higher is better, except ``hamming_loss``, ``log_loss`` (nats,
[0, 16]), ``brier`` and ``ece``, where lower is better.

Classes without any image among the rows are left out of macro averages and have no weight in weighted ones. A precision
without answers is 0, as with scikit-learn's ``zero_division=0``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visum.judge import ranking
from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
Metric = Callable[[Floats, Integers, Integers, Task], float]
BINS = 15


def counts(labels: Integers, answers: Integers, classes: int) -> tuple[Array, Array, Array]:
    """True positives, false positives and false negatives of each class, float64 ``[K]`` each."""
    if labels.ndim == 2:
        right = labels & answers
        true = right.sum(0).astype(np.float64)
        return true, answers.sum(0) - true, labels.sum(0) - true
    true = np.bincount(labels[labels == answers], minlength=classes).astype(np.float64)
    return true, np.bincount(answers, minlength=classes) - true, np.bincount(labels, minlength=classes) - true


def confusion(labels: Integers, answers: Integers, classes: int) -> Integers:
    """Images by truth (rows) and answer (columns), int64 ``[K, K]``; one label each."""
    cells = np.bincount(labels * classes + answers, minlength=classes * classes)
    return cells.reshape(classes, classes)


def ratio(above: Array, below: Array) -> Array:
    """Elementwise division, 0 where the denominator is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def precision(true: Array, false: Array, missed: Array) -> Array:
    """TP / (TP + FP)."""
    return ratio(true, true + false)


def recall(true: Array, false: Array, missed: Array) -> Array:
    """TP / (TP + FN)."""
    return ratio(true, true + missed)


def f1(true: Array, false: Array, missed: Array) -> Array:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall."""
    return ratio(2 * true, 2 * true + false + missed)


COUNTED = {"precision": precision, "recall": recall, "f1": f1}


def class_weights(average: str, images: Array) -> Array:
    """Weight of each class, summing to 1, from its number of images: ``macro`` or ``weighted``."""
    weight = (images > 0).astype(np.float64) if average == "macro" else images
    return ratio(weight, weight.sum())


def _averaged(kind: str, average: str) -> Metric:
    def metric(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
        true, false, missed = counts(labels, answers, probabilities.shape[1])
        if average == "micro":
            return float(COUNTED[kind](true.sum(), false.sum(), missed.sum()))
        weight = class_weights(average, true + missed)
        return float(weight @ COUNTED[kind](true, false, missed)) if weight.any() else float("nan")

    metric.__doc__ = f"{kind}, {average} average over classes; with one label each all micro averages equal accuracy."
    return metric


def accuracy(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Share of images whose answer is right; multilabel: share whose whole set of labels is right (subset accuracy)."""
    return float(right(labels, answers).mean())


def right(labels: Integers, answers: Integers) -> NDArray[np.bool_]:
    """Whether each image is answered right in full, bool ``[N]``."""
    same = labels == answers
    return np.asarray(same.all(1) if same.ndim == 2 else same)


def hamming_loss(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Share of wrong decisions: of images, or of (image, class) pairs when multilabel."""
    return float((labels != answers).mean())


def balanced_accuracy(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Mean recall over classes with images; multilabel: mean over classes of (sensitivity + specificity) / 2, over
    the classes that are present in some images and absent in others."""
    true, false, missed = counts(labels, answers, probabilities.shape[1])
    images = true + missed
    if task != "multilabel":
        return float(recall(true, false, missed)[images > 0].mean())
    absent = len(labels) - images
    both = (images > 0) & (absent > 0)
    halves = recall(true, false, missed) + 1 - ratio(false, absent)
    return float(halves[both].mean() / 2) if both.any() else float("nan")


def among_top(probabilities: Floats, labels: Integers, k: int = 5) -> NDArray[np.bool_]:
    """Whether the label is among the ``k`` most probable classes, bool ``[N]``; of equals, the lower index goes first."""
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & earlier)
    return np.asarray(ahead.sum(1) < k)


def top5_accuracy(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Share of images whose label is among the five most probable classes; NaN below six classes and when multilabel."""
    if task == "multilabel" or probabilities.shape[1] < 6:
        return float("nan")
    return float(among_top(probabilities, labels).mean())


def _over_classes(
    value: Callable[[Floats, NDArray[np.bool_]], float], probabilities: Floats, labels: Integers, task: Task
) -> float:
    each = [
        value(*ranking.one_against_rest(probabilities, labels, k))
        for k in ranking.averaged(task, probabilities.shape[1])
    ]
    known = [one for one in each if one == one]
    return sum(known) / len(known) if known else float("nan")


def auc_roc(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Area under the ROC curve: of class 1 when binary, else the mean over classes (one against the rest) that are
    present in some images and absent in others; Mann-Whitney, ties count half."""
    return _over_classes(ranking.auc, probabilities, labels, task)


def average_precision(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Average precision, sum over thresholds of (R_n - R_n-1) P_n: of class 1 when binary, else the mean over the
    classes (one against the rest) that have images."""
    return _over_classes(ranking.average_precision, probabilities, labels, task)


def log_losses(probabilities: Floats, labels: Integers, task: Task) -> Array:
    """-log of the probability of the label, float64 ``[N]`` in nats; multilabel: mean over classes of the binary log loss.
    Probabilities are kept at least float32's epsilon (1.2e-7) away from 0 and 1, as scikit-learn does."""
    edge = float(np.finfo(np.float32).eps)
    if task == "multilabel":
        own = np.where(labels == 1, probabilities, 1 - probabilities.astype(np.float64))
        return np.asarray(-np.log(np.clip(own, edge, 1 - edge)).mean(1))
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(own, edge, 1 - edge)))


def log_loss(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Mean of ``log_losses``."""
    return float(log_losses(probabilities, labels, task).mean())


def brier_losses(probabilities: Floats, labels: Integers, task: Task) -> Array:
    """Squared distance between probabilities and truth, float64 ``[N]``: of class 1 when binary ([0, 1]), summed over
    classes when multiclass ([0, 2], Brier 1950), mean over classes when multilabel ([0, 1])."""
    p = probabilities.astype(np.float64)
    if task == "multilabel":
        return np.asarray(((p - labels) ** 2).mean(1))
    if task == "binary":
        return np.asarray((p[:, 1] - labels) ** 2)
    own = p[np.arange(len(labels)), labels]
    return np.asarray((p**2).sum(1) - 2 * own + 1)


def brier(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Mean of ``brier_losses``."""
    return float(brier_losses(probabilities, labels, task).mean())


def confidences(probabilities: Floats, labels: Integers, task: Task) -> tuple[Array, Array]:
    """What calibration compares: confidence float64 ``[M]`` and outcome 0/1 float64 ``[M]``.

    One label each: the probability of the most probable class, and whether it is the label (Guo et al. 2017), whatever
    thresholds make of it; M = N. Multilabel: the probability of every (image, class) pair, and whether the class is
    there; M = N K.
    """
    if task == "multilabel":
        return probabilities.astype(np.float64).ravel(), labels.astype(np.float64).ravel()
    top = probabilities.argmax(1)
    return probabilities.max(1).astype(np.float64), (top == labels).astype(np.float64)


def bin_of(confidence: Array, bins: int = BINS) -> Integers:
    """Index of the equal-width bin [i/bins, (i+1)/bins) of each confidence; 1.0 falls into the last bin."""
    edges = np.arange(1, bins) / bins
    return np.asarray(np.searchsorted(edges, confidence, "right"), np.int64)


def equal_bin_of(confidence: Array, bins: int = BINS) -> Integers:
    """Index of the bin of each confidence where bins have equally many (one more or less): bin i holds those whose rank is in
    [i n / bins, (i + 1) n / bins). Equal confidences have the mean of their ranks and share a bin, so that the order of images
    makes no difference."""
    from scipy.stats import rankdata

    rank = rankdata(confidence, "average") - 1
    return np.asarray(np.minimum(rank * bins / max(len(confidence), 1), bins - 1), np.int64)


def ece(probabilities: Floats, labels: Integers, answers: Integers, task: Task) -> float:
    """Expected calibration error, Guo et al. 2017 eq. 3, on 15 equal-width bins of ``confidences``."""
    confidence, outcome = confidences(probabilities, labels, task)
    gaps = np.bincount(bin_of(confidence), confidence - outcome, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "hamming_loss": hamming_loss,
    "balanced_accuracy": balanced_accuracy,
    "top5_accuracy": top5_accuracy,
    "macro_precision": _averaged("precision", "macro"),
    "macro_recall": _averaged("recall", "macro"),
    "macro_f1": _averaged("f1", "macro"),
    "weighted_precision": _averaged("precision", "weighted"),
    "weighted_recall": _averaged("recall", "weighted"),
    "weighted_f1": _averaged("f1", "weighted"),
    "micro_precision": _averaged("precision", "micro"),
    "micro_recall": _averaged("recall", "micro"),
    "micro_f1": _averaged("f1", "micro"),
    "auc_roc": auc_roc,
    "average_precision": average_precision,
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
}
