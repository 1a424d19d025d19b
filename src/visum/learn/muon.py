"""Muon: momentum whose matrices are made orthogonal before they are stepped along (Jordan 2024), and AdamW for all else.

torch's own refuses convolutions, and it and timm's iterate in bfloat16, which CPUs multiply more slowly than float32
(measured: three to four times). Here the precision follows the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from visum.learn import adam

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic x → a x + b x³ + c x⁵, which takes singular values from (0, 1] to about 1 (Jordan 2024)."""

ROUNDS = 5
_SMALLEST_SIDE = 4


class Muon(Optimizer):
    """w -= lr (0.2 sqrt(max(rows, columns)) orthogonal(m) + weight_decay w) for matrices, with Nesterov's m; AdamW for others.

    The factor makes steps as long as those of AdamW (Liu et al. 2025, eq. 4), so that one rate and one decay suit both. A
    convolution ``[O, I, h, w]`` is the matrix ``[O, I h w]``; what ``is_matrix`` refuses goes to AdamW.

    Args:
        groups: torch's parameter groups.
        lr: > 0.
        weight_decay: >= 0, decoupled.
        momentum: in [0, 1).
        beta1, beta2: of AdamW, in [0, 1).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        *,
        momentum: float = 0.95,
        beta1: float = 0.9,
        beta2: float = 0.999,
    ) -> None:
        own = {"momentum": momentum, "beta1": beta1, "beta2": beta2}
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, **own})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                if is_matrix(p):
                    p.add_(self._along(p, group["momentum"]), alpha=-group["lr"])
                else:
                    p.add_(adam.direction(self.state[p], p.grad, group["beta1"], group["beta2"]), alpha=-group["lr"])
        return loss

    def _along(self, p: Tensor, momentum: float) -> Tensor:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        m = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        matrix = p.grad.lerp(m, momentum).flatten(1)
        step = orthogonal(matrix).mul_(0.2 * math.sqrt(max(matrix.shape)))
        return step.view(p.shape).to(p.dtype)


def is_matrix(p: Tensor) -> bool:
    """Whether a parameter is a matrix to Muon: at least 4 rows and 4 columns; no depthwise kernels, no table of positions."""
    return p.ndim >= 2 and p.shape[1] > 1 and min(p.shape[0], p[0].numel()) >= _SMALLEST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """U S' V' of a matrix U S V', with all of S' near 1 (0.7 to 1.2 where S spans less than a hundredfold).

    Five rounds of a Newton-Schulz iteration: products only, no decomposition. float32 on a CPU, bfloat16 elsewhere.

    Args:
        matrix: ``[m, n]``; zeros stay zeros.
    """
    a, b, c = COEFFICIENTS
    x = matrix.to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).contiguous()
