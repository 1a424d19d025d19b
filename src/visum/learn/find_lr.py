"""The learning-rate range test (Smith 2017): the rate grows step by step until the loss, which fell for a while, breaks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from visum.errors import UsageError
from visum.learn import optim
from visum.runtime import Step, no_step

MOST_RATE = 1000.0
_FEW, _SURE = (
    5,
    3.0,
)  # losses from which their spread is judged, and how many spreads of a running mean a fall must have
_BELOW_BEST = 10.0  # Smith's and Howard's rule: a tenth of the rate at which the loss was lowest


class RangeTest(NamedTuple):
    """What a range test saw.

    Attributes:
        rates: float64 ``[n]``, growing; n is at most the number of steps.
        losses: float64 ``[n]``, smoothed loss at each rate, all finite.
        suggestion: a peak rate for training; None where the loss never fell.
        raw: float64 ``[n]``, the loss of each step as it was.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float | None
    raw: NDArray[np.float64]


def find_lr(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    optimiser: Callable[[float], Optimizer],
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    smooth: float = 0.9,
    diverged: float = 4.0,
    clip: float | None = None,
    step: Step = no_step,
) -> RangeTest:
    """Train for a few steps at rates that grow from ``low`` to ``high`` by a constant factor, then undo it all.

    Weights, batch-norm statistics, training mode and the random state are as before when this returns or raises; gradients are
    gone. Ends early when the loss breaks or the batches run out.

    Args:
        model: is trained in training mode.
        batches: one a step.
        loss: model and batch → mean loss, a scalar with a gradient.
        optimiser: rate → a fresh optimiser over the model's parameters; groups keep their shares of the rate.
        low, high: 0 < low < high.
        steps: >= 2.
        smooth: in [0, 1), how much of the running mean of the loss a step keeps (start corrected as in Adam).
        diverged: > 1; the end, when the smoothed loss is so many times the best so far and above the first.
        clip: largest norm of the gradient.
        step: told of each step.

    Raises:
        UsageError: rates or steps out of range.
    """
    if not (0 < low < high <= MOST_RATE):
        raise UsageError(
            f"rates from {low} to {high}", allowed=f"0 < low < high <= {MOST_RATE:g}", next="low 1e-6, high 1"
        )
    if steps < 2:
        raise UsageError(f"a range test of {steps} steps", allowed="at least 2", next="100 steps")
    rates: list[float] = []
    losses: list[float] = []
    raw: list[float] = []
    running = 0.0
    with _undone(model):
        model.train()
        stepper = optimiser(low)
        for index, batch in zip(range(steps), batches, strict=False):
            rate = low * (high / low) ** (index / (steps - 1))
            optim.set_rate(stepper, rate, index / steps)
            stepper.zero_grad()
            value = loss(model, batch)
            now = float(value.detach())
            if not math.isfinite(now):
                break
            running = smooth * running + (1 - smooth) * now
            rates.append(rate)
            raw.append(now)
            losses.append(running / (1 - smooth ** (index + 1)))
            if losses[-1] > max(diverged * min(losses), losses[0]):
                break
            value.backward()  # type: ignore[no-untyped-call]
            if clip is not None and not math.isfinite(optim.clip(model, clip)):
                break
            stepper.step()
            step(1)
    quiet = raw[: len(raw) // 3]  # nothing is learnt yet: batches differ, and that is all
    noise = float(np.std(quiet)) * math.sqrt((1 - smooth) / (1 + smooth)) if len(quiet) > _FEW else 0.0
    return RangeTest(np.array(rates), np.array(losses), suggest(rates, losses, _SURE * noise), np.array(raw))


def suggest(rates: list[float], losses: list[float], noise: float = 0.0) -> float | None:
    """A tenth of the rate at which the loss was lowest, but none below the first; None where it never fell.

    The first tenth of the losses is passed over: so few steps are averaged there that a lucky batch looks like a fall.

    Args:
        rates, losses: of the same steps.
        noise: a fall that is not larger than this is none.
    """
    first = len(losses) // 10
    best = first + int(np.argmin(losses[first:])) if losses else 0
    fell = best > first and losses[first] - losses[best] > noise
    return max(rates[best] / _BELOW_BEST, rates[0]) if fell else None


@contextlib.contextmanager
def _undone(model: nn.Module) -> Iterator[None]:
    """Whatever happens to the model inside did not happen."""
    tensors = [*model.parameters(), *model.buffers()]  # also those that no state_dict lists
    before = [tensor.detach().clone() for tensor in tensors]
    modes = [(module, module.training) for module in model.modules()]
    cards = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(cards):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)
            model.zero_grad()
            for module, training in modes:
                module.training = training
