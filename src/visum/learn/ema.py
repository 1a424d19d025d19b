"""The moving average of a network's weights (Polyak & Juditsky 1992): steadier than any single step, free at prediction.

An average is a plain dict of tensors by the names of ``state_dict``, which is what a checkpoint keeps. Batch-norm statistics are
averaged with the weights that they belong to; counters are copied.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

Average = dict[str, Tensor]


def decay(step: int, *, most: float = 0.9999, power: float = 2 / 3) -> float:
    """How much of the average a step keeps: 0 at the first, then 1 - step ** -power, and ``most`` in the end.

    ``power=1`` is the plain mean of all weights so far. Short runs live in the rise: 0.98 after 300 steps, 0.99 after 1,000
    (the warm-up of timm's ``ModelEmaV3``, after Crowson).

    Args:
        step: steps taken so far, this one included, >= 1.
        most: in [0, 1).
        power: > 0.
    """
    return min(1 - math.pow(max(step, 1), -power), most)


@torch.no_grad()
def start(model: nn.Module) -> Average:
    """An average that has seen one model: copies on its device, float32 where the model is in half precision."""
    return {name: (value.float() if _half(value) else value).clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def update(average: Average, model: nn.Module, decay: float) -> Average:
    """average = decay * average + (1 - decay) * model, in place; counters and other whole numbers are copied.

    Args:
        average: of ``start``.
        decay: in [0, 1]; 0 forgets what was before.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.to(average[name].dtype), 1 - decay)
        else:
            average[name].copy_(value)
    return average


@contextlib.contextmanager
def applied(model: nn.Module, average: Average) -> Iterator[nn.Module]:
    """The model with the average for its weights; its own come back at the end, bit for bit, whatever happens inside."""
    own = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        model.load_state_dict(average)
        yield model
    finally:
        model.load_state_dict(own)


def _half(value: Tensor) -> bool:
    return value.is_floating_point() and value.element_size() < 4
