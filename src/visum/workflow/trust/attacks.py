"""The step about attacks: how many answers survive changes that are made to deceive it, and that a person does not see."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import UsageError
from visum.judge.intervals import share
from visum.models import differentiable
from visum.workflow.attack import white_box
from visum.workflow.trust.context import Context

if TYPE_CHECKING:
    from torch import Tensor

    from visum.judge.attack.ball import Classifier

RADII = (2.0, 8.0)
NAMES = ("fgsm", "pgd10")
PORTION = 8
"""Images that are attacked together; after each portion it is asked whether there is time for another."""
LEAST = 16


def attacks_step(context: Context) -> dict[str, Any]:
    """FGSM and PGD with ten steps in L-infinity balls of 2 and 8 of 255, on as many images as there is time for.

    Keys: ``n``, ``of``, ``clean`` (``value``, ``low``, ``high``), ``rows``: for each radius and attack ``attack``, ``epsilon``,
    ``value``, ``low``, ``high`` of the share that is still answered right after this attack alone, ``worst`` (the same after
    it and the weaker ones at this radius).

    Raises:
        ModelError: a bundle whose gradients are not to be had.
    """
    if not context.one_label:
        raise UsageError("images with several labels have no one answer to attack")
    differentiable.check(context.bundle, next="the bundle of a network")
    clock = context.clock("attacks", PORTION, LEAST)
    import torch

    classifier = white_box(context.bundle)
    order, parts = context.turns(LEAST, "to attack"), []
    for start in range(0, len(order), PORTION):
        where = order[start : start + PORTION]
        x, y = differentiable.pixels(context.squares(where)), torch.from_numpy(context.predictions.labels[where])
        parts.append(_held(classifier, x, y, context.seed + start))
        if not clock.another():
            break
    held = np.concatenate(parts, axis=1)
    rows = []
    for at, (radius, name) in enumerate(product(RADII, NAMES), 1):
        weaker = np.asarray(held[1 + (at - 1) // len(NAMES) * len(NAMES) : at + 1].all(0))
        rows.append({"attack": name, "epsilon": radius, **share(held[at]), "worst": share(weaker)})
    return {"n": held.shape[1], "of": len(context.table), "clean": share(held[0]), "rows": rows}


def _held(classifier: Classifier, x: Tensor, y: Tensor, seed: int) -> NDArray[np.bool_]:
    """Whether each picture is answered right, bool ``[1 + radii x attacks, M]``: plain, then after each attack alone.

    What PGD found in a smaller ball lies in the larger one as well, and is not looked for again.
    """
    from visum.judge.attack import named
    from visum.judge.attack.ball import Ball
    from visum.judge.attack.standard import assess

    told: list[NDArray[np.bool_]] = []
    fooled: dict[str, NDArray[np.bool_]] = {}
    for radius in RADII:
        made = assess(classifier, x, y, Ball("linf", radius), NAMES, batch=len(x), seed=seed, known=fooled)
        told += (
            [made.right, *(each.held for each in made.attacks)] if not told else [each.held for each in made.attacks]
        )
        fooled = {each.name: ~each.held for each in made.attacks if named(each.name)[1] > 1}
    return np.stack(told)
