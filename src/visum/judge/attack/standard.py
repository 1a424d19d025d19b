"""Several attacks on the same pictures: what each leaves standing, and the worst case over all of them, picture by picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visum.errors import ModelError, NotEnoughData
from visum.judge.attack import STANDARD, named
from visum.judge.attack.ball import Ball, Classifier, answers, batches, holds
from visum.runtime import Stage, no_step

Flags = NDArray[np.bool_]
LEAST = 20
"""Pictures below which a share says too little: its interval is then wider than 40 points."""
BATCH = 16
"""Pictures at a time: on a CPU larger batches are no faster, and progress is told after each."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What one attack did.

    Attributes:
        name: e.g. pgd10.
        held: bool ``[N]``: still answered rightly after this attack; False as well where the answer was wrong to begin with.
        worst: bool ``[N]``: still answered rightly after this attack and all before it.
        alone: whether it tried all rightly answered pictures, or only those that held before.
        tried: pictures that it was handed.
        seconds: what it took.
    """

    name: str
    held: Flags
    worst: Flags
    alone: bool
    tried: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Assessment:
    """What all attacks did.

    Attributes:
        ball: what they were allowed.
        right: bool ``[N]``: answered rightly without any attack.
        attacks: in the order in which they ran.
        found: float32 ``[N, 3, S, S]``, 0 … 255: the first picture found that is answered wrongly; else the picture itself.
        by: ``[N]``, which attack found it; "" where none did.
        answers: int64 ``[N]``, what the classifier says of ``found``.
        first: int64 ``[N]``, what it says of the pictures themselves.
    """

    ball: Ball
    right: Flags
    attacks: tuple[Attacked, ...]
    found: Tensor
    by: tuple[str, ...]
    answers: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def robust(self) -> Flags:
        """Answered rightly whatever was tried, bool ``[N]``."""
        return self.attacks[-1].worst if self.attacks else self.right


def assess(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    ball: Ball,
    names: Sequence[str],
    *,
    batch: int = BATCH,
    seed: int = 0,
    stage: Callable[[str, int], AbstractContextManager[Stage]] | None = None,
    known: Mapping[str, Flags] | None = None,
) -> Assessment:
    """Run attacks one after the other.

    Attacks of ``STANDARD`` are handed what held so far, as in AutoAttack; others all rightly answered pictures, so that they can
    be compared. Every success is asked for again: it counts only where the classifier itself answers wrongly inside the ball.

    Args:
        classifier: see ``ball.Classifier``.
        x: float32 ``[N, 3, S, S]``, whole pixel values 0 … 255.
        y: int64 ``[N]``.
        ball: what is allowed.
        names: of attacks, e.g. fgsm, pgd10, square500.
        batch: pictures at a time.
        seed: of everything that draws.
        stage: as ``runtime.Stages.stage``: told the attack and the pictures ahead of it, then of those that are finished.
        known: attack → bool ``[N]``: pictures that it fooled in a smaller ball, which are not tried again (nor in ``found``).

    Raises:
        ModelError: logits that are not numbers.
        NotEnoughData: no picture, or only one class among the answers of a classifier with one class.
    """
    runs = [(name, *named(name)) for name in names]
    if not len(x):
        raise NotEnoughData("no picture to attack", allowed=f"{LEAST} or more", next="more pictures")
    logits = torch.cat([answers(classifier, part) for part in batches(x, batch)])
    if logits.shape[1] < 2:
        raise NotEnoughData("one class, of which every answer is right", allowed="two or more classes")
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits).all(1)).sum())
        raise ModelError(f"logits of {bad} of {len(x)} pictures are not numbers", next="visum verify BUNDLE")
    right = holds(logits, y)
    found, said, by = x.clone(), logits.argmax(1), [""] * len(x)
    worst, told = right.clone(), []
    for order, (name, attack, steps) in enumerate(runs):
        alone = name not in STANDARD
        todo = torch.nonzero(right if alone else worst)[:, 0]
        held, begin = (right if alone else worst).clone(), time.monotonic()
        if known and name in known:
            before = torch.from_numpy(known[name])
            held, todo = held & ~before, todo[~before[todo]]
        with stage(name, len(todo)) if stage is not None else nullcontext(Stage(no_step)) as under_way:
            for part in batches(todo, batch):
                own = seed + 7919 * order + int(part[0])
                moved = ball.inside(x[part], attack.run(classifier, x[part], y[part], ball, steps=steps, seed=own))
                after = answers(classifier, moved).argmax(1)
                wrong = after != y[part]
                held[part[wrong]] = False
                for row, at in enumerate(part.tolist()):
                    if wrong[row] and not by[at]:
                        found[at], said[at], by[at] = moved[row], after[row], name
                under_way.step(len(part))
            under_way.detail = f"{int((worst & held).sum())} of {len(x)} hold"
        worst = worst & held
        tried = len(todo)
        told.append(Attacked(name, held.numpy(), worst.numpy(), alone, tried, time.monotonic() - begin))
    return Assessment(ball, right.numpy(), tuple(told), found, tuple(by), said.numpy(), logits.argmax(1).numpy())
