"""Which images were answered wrong, and which classes are taken for each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from visum.types import Predictions, decisions, probabilities

IDS = 24  # images named per confused pair


def wrong(predictions: Predictions, limit: int) -> list[dict[str, Any]]:
    """At most ``limit`` images with a wrong answer, worst first: ``{"id", "label", "answer", "p_answer", "p_label"}``.

    One label each: ordered by how much more probable the answer was than the label. Multilabel: an image with any class
    wrong, ordered by its log loss; label and answer are class names joined by ``|`` ("" when none), and ``p_answer`` and
    ``p_label`` are the probabilities of exactly these sets, classes taken as independent. Unlabelled images (-1) are
    left out; equals keep their order.
    """
    p, answers, labels = probabilities(predictions).astype(np.float64), decisions(predictions), predictions.labels
    names = predictions.classes
    if predictions.task == "multilabel":
        rows = np.flatnonzero((labels != answers).any(1) & (labels >= 0).all(1))
        p_answer, p_label = (np.where(s[rows] == 1, p[rows], 1 - p[rows]).prod(1) for s in (answers, labels))
        worst = np.argsort(p_label, kind="stable")[:limit]
        told = {key: ["|".join(names[k] for k in np.flatnonzero(s[r])) for r in rows[worst]]
                for key, s in (("label", labels), ("answer", answers))}  # fmt: skip
    else:
        rows = np.flatnonzero((labels != answers) & (labels >= 0))
        p_answer, p_label = p[rows, answers[rows]], p[rows, labels[rows]]
        worst = np.argsort(p_label - p_answer, kind="stable")[:limit]
        told = {key: [names[k] for k in s[rows[worst]]] for key, s in (("label", labels), ("answer", answers))}
    return [
        {
            "id": str(predictions.ids[rows[at]]),
            "label": label,
            "answer": answer,
            "p_answer": float(p_answer[at]),
            "p_label": float(p_label[at]),
        }
        for at, label, answer in zip(worst, told["label"], told["answer"], strict=True)
    ]


def confused(predictions: Predictions, limit: int) -> list[dict[str, Any]]:
    """At most ``limit`` confused pairs of classes, most images first: ``{"truth", "answer", "count", "ids"}``.

    One label each: images of ``truth`` answered ``answer``. Multilabel: images in which ``truth`` was missed and
    ``answer`` was given wrongly. ``ids`` names up to 24 of them, the most probable mistakes (of ``answer``) first;
    ``count`` counts all.
    """
    p, answers, labels = probabilities(predictions), decisions(predictions), predictions.labels
    k = len(predictions.classes)
    if predictions.task == "multilabel":
        known = (labels >= 0).all(axis=1, keepdims=True)
        missed = np.asarray((labels == 1) & (answers == 0) & known)
        false = np.asarray((labels == 0) & (answers == 1) & known)
        table = (missed.T.astype(np.float32) @ false.astype(np.float32)).astype(np.int64)
    else:
        rows = np.flatnonzero((labels != answers) & (labels >= 0))
        table = np.bincount(labels[rows] * k + answers[rows], minlength=k * k).reshape(k, k)
    out = []
    for cell in np.argsort(-table, axis=None, kind="stable")[:limit]:
        i, j = divmod(int(cell), k)
        if not table[i, j]:
            break
        if predictions.task == "multilabel":
            here = np.flatnonzero(missed[:, i] & false[:, j])
        else:
            here = rows[(labels[rows] == i) & (answers[rows] == j)]
        first = here[np.argsort(-p[here, j], kind="stable")[:IDS]]
        names = predictions.classes
        ids = [str(predictions.ids[row]) for row in first]
        out.append({"truth": names[i], "answer": names[j], "count": int(table[i, j]), "ids": ids})
    return out
