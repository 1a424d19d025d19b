"""Hardening: objectives that ask a network to answer the same after its picture was attacked or corrupted.

``HARDEN``: name → how it is built. Those under attack (pgd, fast, free, trades) learn from pictures that somebody moved, within
a ball, to where the network errs most; ``augmix`` learns that three views of a picture show the same thing. The one loop trains
them all. Pixels arrive normalised, so a ball is told in those units, channel by channel (``ball``).

The attack is made by the network in eval mode, as it will be asked in the end: no dropout, and no statistics of batch norms
are spoilt on the way. Every draw comes from torch's generator, which the loop seeds at each step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from visum.learn.objectives import Batch, Loss, Objective
from visum.types import Preprocess, Task

FREE, AUGMIX = "free", "augmix"

Grown = Callable[[], float]
"""How much of the radius the attacks of this step may use, 0 … 1: ``growing``, or all of it."""
RISE = 0.3
"""Share of training during which attacks grow: a network that cannot tell anything yet learns nothing from strong ones
(Cai et al. 2018, "Curriculum Adversarial Training")."""


def fully() -> float:
    """All of the radius."""
    return 1.0


def growing(done: float) -> float:
    """Share of the radius when a share of training is done: evenly from nothing to all in ``RISE``."""
    return min(1.0, done / RISE)


@dataclass(frozen=True, eq=False)
class Ball:
    """Where an attacker may move a picture to: each value by at most ``radius``, and no value out of its range.

    Attributes:
        radius, low, high: float32 ``[1, 3, 1, 1]`` in the units of the network's input; ``high`` is white, ``low`` is black.
    """

    radius: Tensor
    low: Tensor
    high: Tensor

    def nearest(self, x: Tensor, moved: Tensor) -> Tensor:
        """The point within the ball around ``x`` that is nearest to ``moved``."""
        radius, low, high = (side.to(x.device) for side in (self.radius, self.low, self.high))
        return torch.minimum(torch.maximum(moved, torch.maximum(x - radius, low)), torch.minimum(x + radius, high))

    def anywhere(self, x: Tensor) -> Tensor:
        """A move for each value of ``x``, drawn evenly from -radius … radius."""
        return (2 * torch.rand_like(x) - 1) * self.radius.to(x.device)

    def part(self, share: float) -> Ball:
        """The ball of a share of the radius."""
        return replace(self, radius=share * self.radius)


def ball(preprocess: Preprocess, epsilon: float) -> Ball:
    """The L-infinity ball of the field, in the units of normalised pixels.

    Args:
        preprocess: mean and spread of each channel.
        epsilon: in (0, 1], as a share of the way from black to white: 8/255 for photos, 0.3 for digits.
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return Ball(255 * epsilon / std, -mean / std, (255 - mean) / std)


def attacked(
    model: nn.Module,
    wrong: Callable[[Tensor], Tensor],
    x: Tensor,
    move: Tensor,
    within: Ball,
    *,
    step: float,
    steps: int,
) -> Tensor:
    """Projected gradient ascent by signs (Madry et al. 2018, section 2.1): where in the ball ``wrong`` is large.

    Args:
        model: asked in eval mode; left as it was.
        wrong: logits ``[B, K]`` → how wrong each row is, ``[B]``.
        x: ``[B, 3, S, S]``.
        move: where to start, as a move from ``x``.
        within: the ball.
        step: of each of the ``steps``, as a share of the radius.

    Returns:
        Like ``x``, outside the graph.
    """
    moved, far = within.nearest(x, x + move).detach(), step * within.radius.to(x.device)
    with _resting(model), torch.enable_grad():
        for _ in range(steps):
            moved.requires_grad_()
            (slope,) = torch.autograd.grad(wrong(model(moved).float()).sum(), moved)
            moved = within.nearest(x, moved.detach() + far * slope.sign())
    return moved.detach()


def pgd(loss: Loss, *, within: Ball, grown: Grown = fully, steps: int = 7) -> Objective:
    """The loss at the end of an attack of ``steps`` steps of 2.5 radius / steps from a random start (Madry et al. 2018)."""
    return _adversarial(loss, within, grown, steps, 2.5 / steps)


def fast(loss: Loss, *, within: Ball, grown: Grown = fully) -> Objective:
    """One step of 1.25 radius from a random start: a sixth of the cost (Wong, Rice & Kolter 2020, algorithm 3)."""
    return _adversarial(loss, within, grown, 1, 1.25)


def _adversarial(loss: Loss, most: Ball, grown: Grown, steps: int, step: float) -> Objective:
    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        within = most.part(grown())
        move = within.anywhere(batch.x)[batch.part]  # drawn for the whole batch, so that parts of it see the same
        x, target = batch.x[batch.part], batch.target[batch.part]
        x = attacked(model, lambda logits: loss(logits, target), x, move, within, step=step, steps=steps)
        logits = model(x).float()
        return loss(logits, target).mean(), logits

    return objective


class Free:
    """Weights and attack learn from one backward pass (Shafahi et al. 2019, algorithm 1): no step costs more than a plain one.

    Each batch is to come several times in a row (``replayed``); the move goes on from one batch to the next, and starts
    from none at ``begin`` (each epoch, so that a run that goes on ends like one that was not stopped) and where a batch has
    another size.
    """

    def __init__(self, loss: Loss, *, within: Ball, grown: Grown = fully) -> None:
        self.loss, self.within, self.grown = loss, within, grown
        self.move: Tensor | None = None

    def begin(self) -> None:
        """Forget the move."""
        self.move = None

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        x, target = batch.x[batch.part], batch.target[batch.part]
        if self.move is None or self.move.shape != x.shape:
            self.move = torch.zeros_like(x)
        within = self.within.part(self.grown())
        here, radius = self.move, within.radius.to(x.device)
        moved = within.nearest(x, x + here).detach().requires_grad_()

        def learnt(slope: Tensor) -> None:
            self.move = torch.clamp(here + radius * slope.sign(), -radius, radius).detach()

        if torch.is_grad_enabled():
            moved.register_hook(learnt)  # type: ignore[no-untyped-call]
        logits = model(moved).float()
        return self.loss(logits, target).mean(), logits


def trades(
    loss: Loss, *, within: Ball, task: Task, grown: Grown = fully, steps: int = 10, weight: float = 6.0
) -> Objective:
    """The loss of the plain picture, and ``weight`` times how far the attacked answer is from the plain one (Zhang et al. 2019,
    eq. 5): the weight is the trade-off, chosen openly. The attack looks for the largest divergence, not for the largest loss.
    """

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        small = (1e-3 * (within.high - within.low)).to(batch.x.device)
        move = (small * torch.randn_like(batch.x))[batch.part]  # at the picture itself the divergence has no slope
        x, target = batch.x[batch.part], batch.target[batch.part]
        with _resting(model), torch.no_grad():
            said = model(x).float()
        here = within.part(grown())
        x_moved = attacked(
            *(model, lambda logits: divergence(said, logits, task), x, move, here), step=2.5 / steps, steps=steps
        )
        logits, moved = model(x).float(), model(x_moved).float()
        return loss(logits, target).mean() + weight * divergence(logits, moved, task).mean(), logits

    return objective


def augmix(loss: Loss, *, task: Task, weight: float = 12.0) -> Objective:
    """The loss of the first view, and ``weight`` times how much the answers to all views differ (Hendrycks et al. 2020, eq. 1).

    Pictures come as ``[B, V, 3, S, S]``: the plain view, then V - 1 others. Views of a picture are neighbours, so that whatever
    draws for a batch draws for them together.
    """

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        x, target = batch.x[batch.part], batch.target[batch.part]
        views = x.shape[1]
        flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        logits = model(flat).float().unflatten(0, (-1, views))
        plain = logits[:, 0]
        return loss(plain, target).mean() + weight * disagreement(logits, task).mean(), plain

    return objective


def divergence(p: Tensor, q: Tensor, task: Task) -> Tensor:
    """Kullback-Leibler divergence of answer q from answer p, ``[B]`` in nats; of several labels the mean of each.

    Args:
        p, q: logits ``[B, K]``.
        task: whose answers they are.
    """
    return _divergence(_logs(p, task), _logs(q, task), task)


def disagreement(logits: Tensor, task: Task) -> Tensor:
    """Jensen-Shannon divergence of V answers to each picture, ``[B]``, from 0 (all alike) to log V.

    Args:
        logits: ``[B, V, K]``.
        task: whose answers they are.
    """
    logs = _logs(logits, task)
    middle = logs.exp().mean(1).clamp_min(1e-7).log()
    return torch.stack([_divergence(each, middle, task) for each in logs.unbind(1)]).mean(0)


def _logs(logits: Tensor, task: Task) -> Tensor:
    """Log probabilities: of the classes, ``[…, K]``, or of yes and no for each label, ``[…, K, 2]``."""
    if task == "multilabel":
        return torch.stack([functional.logsigmoid(logits), functional.logsigmoid(-logits)], -1)
    return logits.log_softmax(-1)


def _divergence(p: Tensor, q: Tensor, task: Task) -> Tensor:
    total = (p.exp() * (p - q)).sum(-1)
    return total.mean(-1) if task == "multilabel" else total


@contextlib.contextmanager
def _resting(model: nn.Module) -> Iterator[None]:
    """The model in eval mode within the block; afterwards each module is as it was."""
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in learning:
            module.training = True


class Way(NamedTuple):
    """One way of hardening.

    Attributes:
        build: loss, ``within``, ``grown``, ``task``, ``steps``, ``weight`` by name → objective.
        takes: which of these it takes besides the loss; ``steps`` and ``weight`` may be left to it.
    """

    build: Callable[..., Objective]
    takes: tuple[str, ...]


HARDEN: dict[str, Way] = {
    "pgd": Way(pgd, ("within", "grown", "steps")),
    "fast": Way(fast, ("within", "grown")),
    FREE: Way(Free, ("within", "grown")),
    "trades": Way(trades, ("within", "grown", "task", "steps", "weight")),
    AUGMIX: Way(augmix, ("task", "weight")),
}
"""Name → way. ``free`` also wants its batches ``replayed``, ``augmix`` its pictures in ``VIEWS``."""

REPLAYS = 4
"""Of ``free``: m of the paper, which takes 4 for ImageNet."""
VIEWS = 3
"""Of ``augmix``: the plain one and two mixtures."""

AT_ONCE = {AUGMIX: VIEWS, "trades": 2}
"""How many times a batch is held at once; the others hold it once."""


def replayed(epoch: int, steps: int, times: int) -> list[int]:
    """Number of the batch, of ``steps``, that each step of an epoch takes when every batch comes ``times`` in a row.

    An epoch stays ``steps`` long, so that the course and its costs are those of plain training: a round through all batches takes
    ``times`` epochs.
    """
    return [at // times % steps for at in range(epoch * steps, (epoch + 1) * steps)]


def passes(name: str | None, steps: int | None = None) -> float:
    """What a step costs, in plain steps. A gradient at the pixels costs two thirds of one at all weights.

    Args:
        name: of ``HARDEN``; None for plain training.
        steps: of each attack; None: the usual number.
    """
    if name is None or name == FREE:
        return 1.0
    if name == AUGMIX:
        return float(VIEWS)
    usual = {"pgd": 7, "fast": 1, "trades": 10}
    return 1.0 + 2 / 3 * (steps or usual[name]) + (4 / 3 if name == "trades" else 0)
