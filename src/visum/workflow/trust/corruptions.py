"""The step about corruptions: how much is left when noise, blur, weather and files get at the pictures."""

from __future__ import annotations

from typing import Any

from visum.data import corrupt
from visum.errors import UsageError
from visum.workflow.robust import corruption_block
from visum.workflow.trust.context import Context, example

PORTION, LEAST = 8, 24
"""Images that are corrupted together, and below which nothing is said."""
SHOWN = ("gaussian_noise", "motion_blur", "fog", "brightness", "elastic", "jpeg")
"""Kinds of which the page shows an example."""


def corruptions_step(context: Context) -> dict[str, Any]:
    """``robust.corruption_block`` on as many images as there is time for, and ``pictures``, one of each of ``SHOWN``."""
    if not context.one_way:
        raise UsageError("the members of this ensemble see pictures in different ways")
    first = context.turns(LEAST, "to corrupt")[:1]
    clock = context.clock("corruptions", PORTION, LEAST)
    block = corruption_block(context.model, context.table, clock=clock, seed=context.seed)
    squares, keys = context.squares(first), context.table.sha256[first].tolist()
    return {
        **block,
        "pictures": [
            example(corrupt.corrupted(squares, kind, 3, seed=context.seed, keys=keys)[0], kind.replace("_", " "))
            for kind in SHOWN
        ],
    }
