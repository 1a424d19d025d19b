"""The direction of Adam, for optimisers that are Adam in part."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def direction(state: dict[str, Any], gradient: Tensor, beta1: float, beta2: float) -> Tensor:
    """m' / (sqrt(v') + 1e-8) after one more gradient (Kingma & Ba 2015, algorithm 1).

    Args:
        state: of one parameter; empty at first, then ``step``, ``exp_avg`` and ``exp_avg_sq``, which are moved on in place.
        gradient: of any shape.
        beta1, beta2: in [0, 1).
    """
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    state["step"] += 1
    t = int(state["step"])
    m: Tensor = state["exp_avg"].lerp_(gradient, 1 - beta1)
    v: Tensor = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (v.sqrt() / math.sqrt(1 - beta2**t)).add_(1e-8)
    return (m / root).div_(1 - beta1**t)
