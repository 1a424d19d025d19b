"""Adam that becomes SGD on the way: quick at the start, flat minima at the end (Keskar & Socher 2017, in a simple form).

The paper switches where an estimate of the rate settles. Here the share of training says when, and the rate is the one with
which SGD steps are as long as Adam's were, group by group. Adam's first moment goes on as the momentum of SGD, so that nothing
jumps at the switch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from visum.learn import adam


class AdamThenSGD(Optimizer):
    """m = beta1 m + (1 - beta1) g; first w -= lr m' / (sqrt(v') + 1e-8) as Adam does, then w -= lr ratio m.

    ``ratio`` of a group is the length of Adam's steps by that of m, averaged over the last steps by beta1. The switch comes
    with the first step of a group whose ``done`` (``optim.set_rate``) is at least ``switch``; second moments then rest.

    Args:
        groups: torch's parameter groups.
        lr: > 0, the rate of Adam; schedules go on through the switch.
        weight_decay: >= 0, an L2 penalty in both halves.
        switch: in (0, 1], share of training at which SGD takes over.
        beta1, beta2: in [0, 1).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        *,
        switch: float = 0.5,
        beta1: float = 0.9,
        beta2: float = 0.999,
    ) -> None:
        own = {"switch": switch, "beta1": beta1, "beta2": beta2, "done": 0.0, "step_square": 0.0, "moment_square": 0.0}
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, **own})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every group."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["done"] >= group["switch"] and group["moment_square"]:
                self._sgd(group)
            else:
                self._adam(group)
        return loss

    def _adam(self, group: dict[str, Any]) -> None:
        beta1, beta2 = group["beta1"], group["beta2"]
        steps, moments = [], []
        for p in group["params"]:
            if p.grad is None:
                continue
            step = adam.direction(self.state[p], p.grad.add(p, alpha=group["weight_decay"]), beta1, beta2)
            p.add_(step, alpha=-group["lr"])
            steps.append(step)
            moments.append(self.state[p]["exp_avg"])
        for name, tensors in (("step_square", steps), ("moment_square", moments)):
            square = float(nn.utils.get_total_norm(tensors)) ** 2
            group[name] = beta1 * group[name] + (1 - beta1) * square

    def _sgd(self, group: dict[str, Any]) -> None:
        ratio = math.sqrt(group["step_square"] / group["moment_square"])
        for p in group["params"]:
            if p.grad is None:
                continue
            if not self.state[p]:  # was frozen until now
                self.state[p]["exp_avg"] = torch.zeros_like(p)
            m = self.state[p]["exp_avg"].lerp_(p.grad.add(p, alpha=group["weight_decay"]), 1 - group["beta1"])
            p.add_(m, alpha=-group["lr"] * ratio)
