"""Making probabilities and decisions fit what happens, on validation data only: temperature, thresholds, reliability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError, NotEnoughData
from visum.judge.intervals import wilson
from visum.judge.metrics import BINS, bin_of, confidences, equal_bin_of
from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
TEMPERATURES = (0.05, 20.0)
FEW = 10  # positives from which on a multilabel threshold is taken as found


def labelled(labels: Integers) -> NDArray[np.bool_]:
    """Rows with a label, bool ``[N]``: no -1 in them."""
    return np.asarray((labels >= 0).all(1) if labels.ndim == 2 else labels >= 0)


def temperature(logits: Floats, labels: Integers, task: Task) -> float:
    """The T that minimises the mean log loss of ``logits / T``, in [0.05, 20] (Guo et al. 2017, section 4.2).

    Data that the logits separate perfectly have no minimum: T goes to its lower bound. Answers do not change, since the
    order of the probabilities of an image does not. Multilabel: one T for all classes.

    Args:
        logits: float ``[N, K]`` of validation images.
        labels: int64 ``[N]`` (-1: left out) or 0/1 ``[N, K]``.

    Raises:
        NotEnoughData: no labelled image.
        DataError: logits that are NaN or infinite.
    """
    from scipy.optimize import minimize_scalar

    keep = labelled(labels)
    if not keep.any():
        raise NotEnoughData("no labelled image to fit a temperature on", allowed="one or more validation images")
    z, y = logits[keep].astype(np.float64), labels[keep]
    if not np.isfinite(z).all():
        raise DataError(f"logits of {int((~np.isfinite(z)).any(1).sum())} images are NaN or infinite")
    if task == "multilabel":
        margin = np.where(y == 1, z, -z)  # its log loss is log(1 + exp(-margin))
        others = -margin.reshape(-1, 1)
    else:
        others = z - z[np.arange(len(y)), y][:, None]

    def loss(log_t: float) -> float:
        scaled = others * np.exp(-log_t)
        top = np.maximum(scaled.max(1), 0.0)
        total = np.exp(scaled - top[:, None]).sum(1)
        if task == "multilabel":
            total += np.exp(-top)
        return float((top + np.log(total)).mean())

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    best = min((0.0, float(found.x), float(low), float(high)), key=loss)  # T = 1 first: stays where nothing is gained
    return float(np.clip(np.exp(best), *TEMPERATURES))


def thresholds(probabilities: Floats, labels: Integers, task: Task) -> tuple[float, ...]:
    """Decision thresholds on probabilities, each in (0, 1): answer yes from the threshold on.

    Binary: one, of class 1. 0.5, unless another threshold has a higher balanced accuracy and the gain is more than twice
    its standard error (that of the images whose answer changes); then the best, nearest to 0.5 among equals. So balanced
    data keep the 0.5 that people expect, and a rare class is not overlooked.
    Multilabel: one per class, of the highest F1, nearest to 0.5 among equals; with fewer than 10 positives it is drawn
    towards 0.5 in proportion, and a class without positives or without negatives has 0.5.
    Multiclass: none; the most probable class is the answer.

    Args:
        probabilities: calibrated, float ``[N, K]`` of validation images.
        labels: int64 ``[N]`` (-1: left out) or 0/1 ``[N, K]``.
    """
    keep = labelled(labels)
    p, y = probabilities[keep], labels[keep]
    if task == "multilabel":
        return tuple(_best_f1(p[:, k], y[:, k] == 1) for k in range(p.shape[1]))
    return (_best_balance(p[:, 1], y == 1),) if task == "binary" else ()


def _cuts(p: Floats, positive: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Every way to split by score: thresholds ``[C]``, positives and negatives ``[C]`` at or above each.

    Any threshold in (next lower score, score] splits alike: 0.5 where it is among them, else the middle."""
    order = np.argsort(-p, kind="stable")
    ranked, hit = p[order].astype(np.float32), positive[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    above = ranked[last]
    below = np.append(above[1:], np.float32(0))
    middle = below + (above - below) / 2
    at = np.where(middle > below, middle, above)
    at = np.where((below < 0.5) & (above >= 0.5), np.float32(0.5), at)
    found = np.cumsum(hit)[last].astype(np.float64)
    return at.astype(np.float64), found, last + 1 - found


def _nearest_best(at: Array, value: Array) -> int:
    best = np.flatnonzero(value >= value.max() - 1e-12)
    return int(best[np.abs(at[best] - 0.5).argmin()])


def _best_balance(p: Floats, positive: NDArray[np.bool_]) -> float:
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return 0.5
    at, found, false = _cuts(p, positive)
    best = _nearest_best(at, found / m - false / n)
    moved_up = abs(found[best] - (p[positive] >= 0.5).sum())
    moved_down = abs(false[best] - (p[~positive] >= 0.5).sum())
    gain = (found[best] - (p[positive] >= 0.5).sum()) / m - (false[best] - (p[~positive] >= 0.5).sum()) / n
    error = np.sqrt(moved_up / m**2 + moved_down / n**2)
    return float(at[best]) if gain > 2 * error and 0 < at[best] < 1 else 0.5


def _best_f1(p: Floats, positive: NDArray[np.bool_]) -> float:
    m = int(positive.sum())
    if not m or m == len(p):
        return 0.5
    at, found, false = _cuts(p, positive)
    best = float(at[_nearest_best(at, 2 * found / (m + found + false))])
    drawn = 0.5 + (best - 0.5) * min(1.0, m / FEW)
    return float(np.clip(drawn, 1e-6, 1 - 1e-6))


def reliability(
    probabilities: Floats, labels: Integers, task: Task, bins: int = BINS, *, equal_mass: bool = False
) -> list[dict[str, float]]:
    """The reliability diagram: one dict per bin, in order.

    Keys: ``low``, ``high`` (the bin, closed below; the last is closed above too; the lowest and highest confidence in it
    where bins have equal mass), ``confidence`` (mean in the bin),
    ``accuracy`` (share right, with Wilson's 95 % ``accuracy_low`` and ``accuracy_high``) and ``n``; NaN where n is 0.
    Confidence and outcome are those of ``metrics.confidences``, so that the mean of |accuracy - confidence| weighted by
    n is the ECE. Multilabel bins hold (image, class) pairs; their intervals take pairs of one image as independent.

    Args:
        probabilities: float ``[N, K]``.
        labels: int64 ``[N]`` (-1: left out) or 0/1 ``[N, K]``.
        bins: >= 1.
        equal_mass: bins of equally many answers instead of equally wide ones, so that each is known equally well.
    """
    keep = labelled(labels)
    confidence, outcome = confidences(probabilities[keep], labels[keep], task)
    where = equal_bin_of(confidence, bins) if equal_mass else bin_of(confidence, bins)
    n = np.bincount(where, minlength=bins)
    right = np.bincount(where, outcome, minlength=bins)
    total = np.bincount(where, confidence, minlength=bins)
    low, high = wilson(right, n)
    with np.errstate(invalid="ignore"):
        mean, share = total / n, right / n
    edges = [(i / bins, (i + 1) / bins) for i in range(bins)]
    if equal_mass:
        inside = [confidence[where == i] for i in range(bins)]
        edges = [(float(c.min()), float(c.max())) if len(c) else (float("nan"),) * 2 for c in inside]
    return [
        {
            "low": edges[i][0],
            "high": edges[i][1],
            "confidence": float(mean[i]),
            "accuracy": float(share[i]),
            "accuracy_low": float(low[i]),
            "accuracy_high": float(high[i]),
            "n": int(n[i]),
        }
        for i in range(bins)
    ]
