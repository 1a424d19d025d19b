"""Labels that a cross-validated model contradicts: confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70).

Probabilities must be out of fold: a model that has seen a wrong label may have learnt it by heart.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Finding, Floats, Integers, Manifest, Severity, targets

LOOK_AT = 20  # how many the message asks to look at first


def suspects(probabilities: NDArray[np.floating[Any]], labels: Integers) -> Integers:
    """Images whose label is probably wrong, worst first: int64 ``[S]`` row numbers.

    Args:
        probabilities: float ``[N, K]``, out of fold; rows sum to 1, or per class on their own when multilabel.
        labels: int64 ``[N]`` class numbers (-1: unlabelled, never suspected), or 0/1 ``[N, K]`` when multilabel.

    Prune by noise rate (section 3.2, method 4): of the images given class i, as many as the confident joint counts for true
    class j are taken, those with the largest ``p[j] - p[i]``; where the model itself prefers the given label it is believed.
    Ranked by the margin of the given label over the best other class. With several labels an image, every class is a
    yes-or-no question of its own, and an image ranks by its worst answer.

    Raises:
        ValueError: shapes do not fit.
    """
    p = np.asarray(probabilities, np.float64)
    if labels.shape != (p.shape if labels.ndim == 2 else p.shape[:1]) or p.ndim != 2:
        raise ValueError(f"labels {labels.shape} do not fit probabilities {p.shape}")
    if labels.ndim == 1:
        flagged, margin = _one_label(p, labels)
    else:
        answers = [_one_label(np.stack([1 - p[:, k], p[:, k]], axis=1), labels[:, k]) for k in range(p.shape[1])]
        flagged = np.any([flag for flag, _ in answers], axis=0)
        margin = np.min([np.where(flag, m, np.inf) for flag, m in answers], axis=0)
    at = np.flatnonzero(flagged)
    return at[np.argsort(margin[at], kind="stable")]


def confident_joint(probabilities: NDArray[np.floating[Any]], labels: Integers) -> Integers:
    """How many images of each given class truly belong to each class: int64 ``[K, K]``, rows given, columns true.

    Class k is believed of an image from the mean self-confidence of class k on (eq. 2); of several believed classes the most
    probable counts (eq. 1). Rows are scaled to the number of images given that label (eq. 3) and rounded to whole images.

    Args:
        probabilities: float ``[N, K]``, out of fold.
        labels: int64 ``[N]``; rows with -1 are passed over.
    """
    p, k = np.asarray(probabilities, np.float64)[labels >= 0], probabilities.shape[1]
    given = labels[labels >= 0]
    counts = np.bincount(given, minlength=k)
    own = np.bincount(given, p[np.arange(len(given)), given], minlength=k)
    threshold = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    believed = np.where(p >= threshold - 1e-6, p, -np.inf)
    sure = np.isfinite(believed).any(axis=1)
    joint = np.zeros((k, k))
    np.add.at(joint, (given[sure], believed[sure].argmax(axis=1)), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return _whole(joint / joint.sum(axis=1, keepdims=True) * counts[:, None])


def findings(table: Manifest, probabilities: Floats, *, where: NDArray[np.bool_] | None = None) -> list[Finding]:
    """One finding with the suspected images, worst first, or none.

    Args:
        table: N rows.
        probabilities: float32 ``[N, K]``, out of fold.
        where: boolean ``[N]``, the rows that have such probabilities (all if omitted); the others are not read.
    """
    labels = targets(table)
    rows = np.ones(len(table), bool) if where is None else where
    if labels.ndim == 1:
        rows = rows & (labels >= 0)
    at = np.flatnonzero(rows)
    p, y = probabilities[at], labels[at]
    if not len(at):
        return []
    found = suspects(p, y)
    if not len(found):
        return []
    share = len(found) / len(at)
    (given, better), often = Counter(_disagreements(table, p[found], y[found])).most_common(1)[0]
    first = "these" if len(found) <= LOOK_AT else f"the first {LOOK_AT}"
    message = (
        f"{len(found):,} of {len(at):,} labels ({100 * share:.1f} %) are suspected to be wrong: a model that never saw the "
        f"image is sure of something else, most often {better} instead of {given} ({often}). "
        f"Look at {first} first, and correct the wrong ones."
    )
    numbers = {"suspects": float(len(found)), "share": share, "noise_rate": noise_rate(p, y)}
    severity: Severity = "warning" if share >= 0.01 else "info"
    return [Finding("suspect_label", severity, message, tuple(table.ids[at[found]]), numbers)]


def noise_rate(probabilities: NDArray[np.floating[Any]], labels: Integers) -> float:
    """Estimated share of wrong labels, 0 … 1: what the confident joint counts off its diagonal (mean over classes when
    labels are 0/1 ``[N, K]``)."""
    if labels.ndim == 2:
        columns = [np.stack([1 - p, p], axis=1) for p in probabilities.T]
        return float(np.mean([noise_rate(p, y) for p, y in zip(columns, labels.T, strict=True)]))
    joint = confident_joint(probabilities, labels)
    return float(1 - joint.trace() / max(joint.sum(), 1))


def _one_label(p: NDArray[np.float64], labels: Integers) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows are suspected, and the margin of every row's given label (infinite where unlabelled)."""
    flagged, margin = np.zeros(len(p), bool), np.full(len(p), np.inf)
    known = np.flatnonzero(labels >= 0)
    if not len(known) or p.shape[1] < 2:
        return flagged, margin
    row, given = np.arange(len(known)), labels[known]
    own = p[known, given]
    others = p[known].copy()
    others[row, given] = -np.inf
    margin[known] = own - others.max(axis=1)
    joint = confident_joint(p, labels)
    for i, j in zip(*np.nonzero(joint - np.diag(joint.diagonal())), strict=True):
        mine = known[given == i]
        flagged[mine[np.argsort(p[mine, i] - p[mine, j], kind="stable")[: joint[i, j]]]] = True
    return flagged & (margin < 0), margin


def _whole(rows: NDArray[np.float64]) -> Integers:
    """Round to whole numbers so that rows keep their sums: the largest remainders are rounded up."""
    down = np.floor(rows + 1e-9)
    missing = np.rint(rows.sum(axis=1) - down.sum(axis=1)).astype(np.int64)
    order = np.argsort(
        (down - rows)[:, ::-1].round(9), axis=1, kind="stable"
    )  # of equal remainders the last class first
    rank = np.argsort(order, axis=1)[:, ::-1]
    return np.asarray(down + (rank < missing[:, None]), np.int64)


def _disagreements(table: Manifest, p: Floats, y: Integers) -> list[tuple[str, str]]:
    """(given, believed) in words, of each suspected row."""
    named = [f"“{name}”" for name in table.classes]
    if y.ndim == 1:
        return [(named[given], named[better]) for given, better in zip(y, p.argmax(axis=1), strict=True)]
    worst = np.abs(y - p).argmax(axis=1)
    return [(named[k], f"no {named[k]}") if y[row, k] else (f"no {named[k]}", named[k]) for row, k in enumerate(worst)]
