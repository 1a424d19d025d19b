"""The step about corruptions: how much is left when noise, blur, weather and files get at the pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from visum.data import corrupt
from visum.data.load import in_order
from visum.errors import UsageError
from visum.judge import corruption
from visum.judge.intervals import effective_wilson
from visum.judge.metrics import right
from visum.models.compiled import BATCH
from visum.types import Integers, decisions
from visum.workflow.trust.context import Context, example

SEVERITIES = (1, 3, 5)
PORTION, LEAST = 8, 24
"""Images that are corrupted together, and below which nothing is said."""
SHOWN = ("gaussian_noise", "motion_blur", "fog", "brightness", "elastic", "jpeg")
"""Kinds of which the page shows an example."""


def corruptions_step(context: Context) -> dict[str, Any]:
    """Accuracy after each of the 15 kinds at three severities, on as many images as there is time for.

    ``judge.corruption.block`` with ``of`` (how many images there are), ``mean``: of each severity ``value``, ``low``, ``high``
    over all kinds (its interval takes images as drawn and kinds as given), and ``pictures``.
    """
    if not context.one_way:
        raise UsageError("the members of this ensemble see pictures in different ways")
    clock = context.clock("corruptions", PORTION, LEAST)
    cells = [(kind, severity) for kind in corrupt.CORRUPTIONS for severity in SEVERITIES]
    order = context.turns(LEAST, "to corrupt")
    hits: list[np.ndarray] = []
    for start in range(0, len(order), PORTION):
        hits.append(_hits(context, order[start : start + PORTION], cells))
        if not clock.another():
            break
    held = np.concatenate(hits, axis=1).reshape(len(corrupt.CORRUPTIONS), len(SEVERITIES), -1)
    where = order[: held.shape[2]]
    wrong, clean = (~held).astype(np.float64), (~context.right[where]).astype(np.float64)
    errors = dict(zip(corrupt.CORRUPTIONS, wrong, strict=True))
    block = corruption.block(errors, clean, SEVERITIES, corrupt.FAMILIES, seed=context.seed)
    squares = context.squares(where[:1])
    keys = [context.table.sha256[where[0]]]
    return {
        **block,
        "of": len(context.table),
        "mean": [_mean(held[:, at].mean(0)) for at in range(len(SEVERITIES))],
        "pictures": [
            example(corrupt.corrupted(squares, kind, 3, seed=context.seed, keys=keys)[0], kind.replace("_", " "))
            for kind in SHOWN
        ],
    }


def _hits(context: Context, where: Integers, cells: list[tuple[str, int]]) -> np.ndarray:
    """Whether each image is answered right after each corruption, bool ``[cells, M]``."""
    plain = context.squares(where)
    keys = context.table.sha256[where].tolist()

    def told(cell: tuple[str, int]) -> np.ndarray:
        seen = corrupt.corrupted(plain, *cell, seed=context.seed, keys=keys)
        logits = np.concatenate([context.model.logits(seen[at : at + BATCH]) for at in range(0, len(seen), BATCH)])
        said = context.said(logits, where)
        return right(said.labels, decisions(said))

    return np.stack(list(in_order(told, cells)))


def _mean(each: np.ndarray) -> dict[str, float]:
    """Mean over images of what is a mean over kinds for each, float64 ``[N]`` in 0 … 1."""
    value = float(each.mean())
    variance = float(each.var(ddof=1)) / len(each) if len(each) > 1 else 0.0
    low, high = effective_wilson(value, variance, float(len(each)))
    return {"value": value, "low": low, "high": high}
