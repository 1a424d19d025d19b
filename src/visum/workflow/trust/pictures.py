"""Steps about kinds of pictures: slices and the worst group, shortcuts in the data, and what the model makes of backgrounds."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from visum.audit import bias
from visum.errors import NotEnoughData, UsageError
from visum.judge import background, slices
from visum.judge.intervals import wilson
from visum.judge.metrics import right
from visum.judge.representation import representation
from visum.learn import probe
from visum.types import Floats, Integers, Manifest, Pixels, Score, column, decisions, targets
from visum.workflow import audit
from visum.workflow.trust import kinds
from visum.workflow.trust.context import Context, example, named

EXAMPLES = 6
FOLDS = 5
STRENGTH = 1e-3
"""L2 penalty of the classifiers that see border or colour alone, as in the audit."""


def slices_step(context: Context) -> dict[str, Any]:
    """``slices.slices`` with, under ``representation``, how the kinds compare with what was trained on (None: not known)."""
    if len(context.table) < 2 * slices.LEAST:
        raise NotEnoughData(
            f"{len(context.table)} labelled images to part into groups", allowed=f"{2 * slices.LEAST} or more"
        )
    edges = kinds.all_edges(context.table, context.looks, context.columns)
    by = kinds.kinds(context.table, context.looks, context.columns, edges)
    found = slices.groups({"class": named(context.predictions), **by})
    labels = context.predictions.labels
    if labels.ndim == 2:
        found += [slices.Group("class", name, labels[:, k] == 1) for k, name in enumerate(context.predictions.classes)]
    block = slices.slices(
        context.right,
        found,
        labels if labels.ndim == 1 else None,
        confidence=context.p.max(1).astype(np.float64) if context.one_label else None,
        seed=context.seed,
    )
    worst = [] if block["worst"] is None else _mistakes(context, block["groups"][block["worst"]], found)
    return {**block, "representation": _representation(context, by, edges), "pictures": worst}


def _mistakes(context: Context, worst: dict[str, Any], found: list[slices.Group]) -> list[dict[str, str]]:
    """The surest mistakes in the worst group."""
    mask = next(group.mask for group in found if (group.by, group.name) == (worst["by"], worst["name"]))
    wrong = np.flatnonzero(mask & ~context.right)
    wrong = wrong[np.argsort(-context.p[wrong].max(1), kind="stable")][:EXAMPLES]
    said, classes = decisions(context.predictions), context.predictions.classes
    captions = [
        f"said {classes[said[row]]}, is {classes[context.predictions.labels[row]]}" if context.one_label else "wrong"
        for row in wrong
    ]
    return [example(square, told) for square, told in zip(context.squares(wrong), captions, strict=True)]


def _representation(context: Context, by: dict[str, Any], edges: dict[str, Any]) -> dict[str, Any] | None:
    """Only kinds that do not depend on which split a file lies in."""
    if context.taught is None or not context.one_label:
        return None
    table, looks = context.taught
    theirs = kinds.kinds(table, looks, {}, edges)
    theirs["class"] = column([table.classes[k] if k >= 0 else "" for k in targets(table)])
    ours = {"class": named(context.predictions), **by}
    wanted = ("class", "size", *kinds.MEASURED, "format")
    return representation({name: theirs[name] for name in wanted}, ours)


def shortcut_step(context: Context) -> dict[str, Any]:
    """What classifiers can tell that see nothing but the border of a picture, or nothing but its mean colour.

    Keys: ``n``, ``trained_on`` (images; 0: cross-validated on the judged ones), ``border``, ``colour``, ``real``, ``majority``
    (scores with ``value``, ``low``, ``high``, ``n``), ``share`` (what each shortcut gains over the majority by what the real one
    gains; None where that gains nothing) and ``alarms``: ``kind``, ``severity``, ``message`` of ``audit.bias.findings``.
    """
    y = context.predictions.labels
    if y.ndim == 2:
        raise UsageError("images with several labels have no accuracy to compare by")
    if len(y) < 30 or len(np.unique(y)) < 2:
        raise NotEnoughData(
            f"{len(y)} images of {len(np.unique(y))} classes to look for shortcuts in", allowed="30 of two classes"
        )
    majority, taught = np.bincount(y).argmax(), context.taught
    if taught is not None:
        labels = targets(taught[0])
        majority = np.bincount(labels[labels >= 0]).argmax()
    scores = {
        name: shortcut(context.table, context.looks[:, columns], y, taught, columns, context.seed)
        for name, columns in (("border", audit.BORDER), ("colour", audit.COLOUR))
    }
    real, most = _accuracy(context.right), _accuracy(y == majority)
    alarms = bias.findings(context.table, scores["border"], scores["colour"], real, most)
    full = real.value - most.value
    return {
        "n": len(y),
        "trained_on": len(taught[0]) if taught is not None else 0,
        **{name: asdict(score) for name, score in (*scores.items(), ("real", real), ("majority", most))},
        "share": {
            name: max(0.0, score.value - most.value) / full if full > 0 else None for name, score in scores.items()
        },
        "alarms": [{"kind": f.kind, "severity": f.severity, "message": f.message} for f in alarms],
    }


def shortcut(
    table: Manifest, x: Floats, y: Integers, taught: tuple[Manifest, Floats] | None, columns: slice, seed: int
) -> Score:
    """Accuracy on the judged images of a small classifier on these features: trained on the training images, or out of fold."""
    if taught is None:
        folds = np.random.default_rng(seed).permutation(len(y)) % FOLDS
        answers = probe.out_of_fold(x, y, len(table.classes), folds, strength=STRENGTH).argmax(1)
    else:
        labels = targets(taught[0])
        known = labels >= 0
        head = probe.fit(taught[1][known][:, columns], labels[known], len(table.classes), strength=STRENGTH)
        answers = probe.logits(head, x).argmax(1)
    return _accuracy(answers == y)


def _accuracy(hits: np.ndarray) -> Score:
    low, high = wilson(int(hits.sum()), len(hits))
    return Score("accuracy", float(hits.mean()), float(low), float(high), len(hits), "wilson")


def background_step(context: Context) -> dict[str, Any]:
    """``background.background_block`` of as many images as there is time for; ``of``: how many there are;
    ``pictures``: two of them, in halves."""
    if not context.one_way:
        raise UsageError("the members of this ensemble see pictures in different ways")
    if not context.one_label:
        raise UsageError("images with several labels have no accuracy to compare by")
    seconds = context.seconds("background")
    where = context.sample(seconds * context.rate / 2, background.LEAST, "to hide halves of")
    spec, table = context.bundle.preprocess, context.table

    def seen(half: int, rows: Integers) -> Pixels:
        boxes = [
            background.content(int(table.widths[row]), int(table.heights[row]), spec.size, spec.fit) for row in rows
        ]
        squares = context.squares(rows)
        return np.stack(
            [background.halves(square, box, spec.background)[half] for square, box in zip(squares, boxes, strict=True)]
        )

    hits = []
    for half in range(2):
        said = context.said(context.answers(partial(seen, half), where), where)
        hits.append(right(said.labels, decisions(said)))
    y = context.predictions.labels[where]
    chance = float(np.bincount(y).max() / len(y))
    block = background.background_block(context.right[where], hits[0], hits[1], chance)
    shown = where[:: max(1, len(where) // 2)][:2]
    names = {1: "inner half only", 0: "outer half only"}
    pictures = [
        example(square, told) for row in shown for half, told in names.items() for square in seen(half, row[None])
    ]
    return {**block, "of": len(table), "pictures": pictures}
