"""Objectives: what a model is asked for in one step. Every way of training is one of these; the loop is the same for all.

An objective is a function ``(model, batch) -> (loss [], logits [B, K])`` that can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor, nn

from visum.learn import optim

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits float32 ``[B, K]``, target of the batch) → one number a row, ``[B]``."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of one step.

    Attributes:
        x: what the model sees: pixels or features, first axis B.
        target: float32 ``[B, K]``: one-hot, soft or multi-hot; ``[B, 2K]`` with a teacher's answers (``distill``).
        draw: of everything random in this step, and a function of (seed, epoch, step) alone.
        part: the rows that are learnt from here; others are there to be mixed with (see ``parallel``).
    """

    x: Tensor
    target: Tensor
    draw: np.random.Generator
    part: slice = field(default_factory=lambda: slice(None))


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
Mix = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
"""(x, target, draw) of a batch → x and target of another."""


def supervised(loss: Loss) -> Objective:
    """The mean loss of what the model answers."""

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.x[batch.part]).float()
        return loss(logits, batch.target[batch.part]).mean(), logits

    return objective


def mixed(objective: Objective, mix: Mix) -> Objective:
    """An objective on batches whose rows are mixed first (mixup, cutmix)."""

    def after(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        x, target = mix(batch.x, batch.target, batch.draw)
        return objective(model, replace(batch, x=x, target=target))

    return after


def sparse(objective: Objective, strength: float) -> Objective:
    """``strength`` times the sum of absolute weights (L1) on top of an objective: what is of little use becomes small."""

    def summed(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = objective(model, batch)
        return loss + strength * optim.l1(model), logits

    return summed


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "supervised": supervised,
    "mixed": mixed,
    "sparse": sparse,
}
"""Those of ``learn.harden`` stand beside them, in ``HARDEN``."""
