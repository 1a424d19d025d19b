"""The step about attacks: how many answers survive changes that are made to deceive it, and that a person does not see."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum import runtime
from visum.errors import ModelError, UsageError
from visum.judge.intervals import wilson
from visum.workflow.trust.context import Context

if TYPE_CHECKING:
    from torch import Tensor

    from visum.judge.attack.ball import Classifier

RADII = (2.0, 8.0)
NAMES = ("fgsm", "pgd10")
PORTION = 8
"""Images that are attacked together; after each portion it is asked whether there is time for another."""
LEAST = 16
Score = dict[str, float]


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
    if context.bundle.architecture.get("kind") != "probe":
        raise ModelError("this bundle has no gradients: it is no single network", next="the bundle of a network")
    clock = context.clock("attacks", PORTION, LEAST)
    import torch

    from visum.models import differentiable
    from visum.workflow.sample import lead

    torch.set_num_threads(runtime.threads())
    network, shift = differentiable.of_bundle(context.bundle), torch.from_numpy(lead(context.bundle))

    def classifier(pixels: Tensor) -> Tensor:
        return network(pixels) + shift

    network.forward.to(memory_format=torch.channels_last)  # half the time on processors
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
        rows.append({"attack": name, "epsilon": radius, **_share(held[at]), "worst": _share(weaker)})
    return {"n": held.shape[1], "of": len(context.table), "clean": _share(held[0]), "rows": rows}


def _held(classifier: Classifier, x: Tensor, y: Tensor, seed: int) -> NDArray[np.bool_]:
    """Whether each picture is answered right, bool ``[1 + radii x attacks, M]``: plain, then after each attack alone.

    What PGD found in a smaller ball lies in the larger one as well, and is not looked for again.
    """
    import torch

    from visum.judge.attack import named
    from visum.judge.attack.ball import Ball, answers, holds

    right = holds(answers(classifier, x), y)
    told, before = [right], dict.fromkeys(NAMES, right)
    for radius, name in product(RADII, NAMES):
        (attack, steps), ball = named(name), Ball("linf", radius)
        stand = (before[name] if steps > 1 else right).clone()
        todo = torch.nonzero(stand)[:, 0]
        if len(todo):
            moved = attack.run(classifier, x[todo], y[todo], ball, steps=steps, seed=seed)
            stand[todo] = holds(answers(classifier, ball.inside(x[todo], moved)), y[todo])
        before[name] = stand
        told.append(stand)
    return np.stack([each.numpy() for each in told])


def _share(held: NDArray[np.bool_]) -> Score:
    low, high = wilson(int(held.sum()), len(held))
    return {"value": float(held.mean()), "low": float(low), "high": float(high)}
