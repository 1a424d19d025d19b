"""How far an attacker may go: balls around pictures, inside the range of pixels. Everything here is in pixel values, 0 … 255."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
Classifier = Callable[[Tensor], Tensor]
"""Pixels float32 ``[B, 3, S, S]``, 0 … 255 → logits float32 ``[B, K]`` whose largest decides. Where an attack needs gradients, it
must be differentiable; the same picture must get the same logits whatever it is batched with."""

WHITE = 255.0
_TINY = 1e-12


@dataclass(frozen=True)
class Ball:
    """What may be done to a picture.

    Attributes:
        norm: linf: no value moves by more than the radius; l2: the Euclidean length of the whole move is at most the radius.
        radius: > 0, in pixel values: 8 for what the field calls 8/255.
        whole: values move by whole steps only, towards the picture: for classifiers that take uint8.
    """

    norm: Norm
    radius: float
    whole: bool = False

    def inside(self, x: Tensor, moved: Tensor) -> Tensor:
        """The point nearest to ``moved`` that is in the ball around ``x`` (or, for l2, on the way to it) and in 0 … 255.

        Exact in linf for radii of whole pixel values, since pictures have whole pixel values; within 1e-6 of the radius in l2.
        """
        if self.norm == "linf":
            near = torch.minimum(torch.maximum(moved, x - self.radius), x + self.radius)
        else:
            far = (moved - x) * (self.radius / self.length(moved - x).clamp_min(self.radius))
            near = x + far
        near = near.clamp(0, WHITE)
        return x + (near - x).trunc() if self.whole else near

    def length(self, move: Tensor) -> Tensor:
        """The norm of each row's move, ``[B, 1, 1, 1]``."""
        flat = move.flatten(1)
        long = flat.abs().amax(1) if self.norm == "linf" else flat.norm(dim=1)
        return long.view(-1, 1, 1, 1)

    def uphill(self, slope: Tensor) -> Tensor:
        """The move of length 1 that climbs most: signs for linf, the direction itself for l2."""
        if self.norm == "linf":
            return slope.sign()
        # where the classifier is sure, slopes are so small that their squares are 0
        scaled = slope / slope.flatten(1).abs().amax(1).clamp_min(1e-38).view(-1, 1, 1, 1)
        return scaled / self.length(scaled).clamp_min(_TINY)

    def anywhere(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """A point drawn evenly from the ball around ``x``, then brought into 0 … 255."""
        if self.norm == "linf":
            move = (2 * torch.rand(x.shape, generator=draw) - 1) * self.radius
        else:
            move = torch.randn(x.shape, generator=draw)
            share = torch.rand(len(x), 1, 1, 1, generator=draw) ** (1 / x[0].numel())
            move = move * (self.radius * share / (self.length(move) + _TINY))
        return self.inside(x, x + move)

    def edge(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """A point drawn from the ball's surface, as APGD starts."""
        move = 2 * torch.rand(x.shape, generator=draw) - 1
        if self.norm == "l2":
            move = torch.randn(x.shape, generator=draw)
        return self.inside(x, x + move * (self.radius / (self.length(move) + _TINY)))


def gradient(classifier: Classifier, x: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Slope ``[B, 3, S, S]`` of a loss of the logits at ``x``, that loss ``[B]``, and the logits ``[B, K]``; no graph is left."""
    with torch.enable_grad():
        here = x.detach().requires_grad_()
        logits = classifier(here)
        each = loss(logits)
        (slope,) = torch.autograd.grad(each.sum(), here)
    return slope, each.detach(), logits.detach()


def answers(classifier: Classifier, x: Tensor) -> Tensor:
    """Logits without gradients."""
    with torch.no_grad():
        return classifier(x)


def generator(seed: int) -> torch.Generator:
    """Draws of one attack; nothing else draws from it."""
    return torch.Generator().manual_seed(seed)


def holds(logits: Tensor, y: Tensor) -> Tensor:
    """Which rows are still answered rightly, bool ``[B]``."""
    return logits.argmax(1) == y


def batches(rows: Tensor, size: int) -> list[Tensor]:
    """Neighbours together, ``size`` at a time; none where there are no rows."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
