"""Heads that are trained with the network behind which they stand, on embeddings whose columns are standardised.

What comes out are the arrays of ``models.heads``, which answer on embeddings as they are. For the cosine head there is the
additive angular margin of ArcFace (Deng et al. 2019): a class must be nearer by that angle than it needs to be. It is a way to
ask for more while training, and so a matter of the loss alone: the head answers without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from visum.learn.objectives import Loss
from visum.models.heads import COSINE, LINEAR, SHORTEST
from visum.types import Floats

_EDGE = 1e-7


class Head(Protocol):
    """What a classifier needs of its head, an ``nn.Module``: standardised embeddings ``[B, D]`` → logits ``[B, K]``."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits float32 ``[B, K]``."""
        ...

    def arrays(self, mean: Floats, spread: Floats) -> dict[str, Floats]:
        """Those of ``models.heads``, for embeddings whose ``mean`` and ``spread`` were taken out in front of it."""
        ...


class Linear(nn.Linear):
    """A layer that starts as the one that is given: weight float32 ``[D, K]``, bias float32 ``[K]``. ``scale`` is not its own."""

    def __init__(self, weight: Floats, bias: Floats, scale: float = 1.0) -> None:
        super().__init__(*weight.shape)
        with torch.no_grad():
            self.weight.copy_(torch.tensor(weight).T)
            self.bias.copy_(torch.tensor(bias))

    def arrays(self, mean: Floats, spread: Floats) -> dict[str, Floats]:
        """``{"weight": [D, K], "bias": [K]}``."""
        weight = self.weight.detach().cpu().numpy().T / spread[:, None]
        bias = self.bias.detach().cpu().numpy() - mean @ weight
        return {"weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}


class Cosine(nn.Module):
    """scale · cos(embedding, class vector). The vectors start as the columns of a linear layer, whose bias is left behind.

    Args:
        weight: float32 ``[D, K]``; of each column the direction counts.
        bias: not used: all classes are judged by their angle alone.
        scale: > 0, the largest logit.
    """

    def __init__(self, weight: Floats, bias: Floats, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(functional.normalize(torch.tensor(weight).T.contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        direction = functional.normalize(x, eps=SHORTEST)
        return self.scale * functional.linear(direction, functional.normalize(self.weight))

    def arrays(self, mean: Floats, spread: Floats) -> dict[str, Floats]:
        """``{"weight": [D, K], "mean": [D], "spread": [D]}``."""
        weight = self.scale * functional.normalize(self.weight.detach()).cpu().numpy().T
        kept = {"weight": weight, "mean": mean, "spread": spread}
        return {name: np.asarray(value, np.float32, order="C") for name, value in kept.items()}


HEADS: dict[str, Callable[[Floats, Floats, float], Head]] = {LINEAR: Linear, COSINE: Cosine}
"""Name → ``builder(weight [D, K], bias [K], scale) -> nn.Module``, starting from a linear layer on standardised embeddings."""


def with_margin(logits: Tensor, target: Tensor, margin: float, scale: float) -> Tensor:
    """scale · cos(θ + margin) for the true class, scale · cos θ for all others (Deng et al. 2019, eq. 3).

    Beyond π the cosine would rise again: there the logit is lowered by scale · margin · sin(margin) instead, as the authors' code
    does it.
    Of a picture that is a mixture each class has the part of the margin that it has of the target.

    Args:
        logits: float32 ``[B, K]`` of a cosine head, in [-scale, scale].
        target: float32 ``[B, K]`` in [0, 1].
        margin: radians, in [0, π / 2].
        scale: of the head.
    """
    cos = (logits / scale).clamp(-1 + _EDGE, 1 - _EDGE)  # at the ends the sine has no slope
    angle = margin * target
    turned = cos * angle.cos() - (1 - cos * cos).sqrt() * angle.sin()
    return scale * torch.where(cos > -angle.cos(), turned, cos - angle * angle.sin())


def angular(loss: Loss, margin: float, scale: float) -> Loss:
    """A loss of logits that have lost the margin: what ArcFace trains with. Margins are radians in [0, π / 2]."""
    if not 0 <= margin <= math.pi / 2:
        raise ValueError(f"a margin of {margin}, wanted 0 … π / 2")
    return lambda logits, target: loss(with_margin(logits.float(), target.float(), margin, scale), target)
