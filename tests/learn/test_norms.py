"""Batch norms at rest, and what is saved by computing them inside the convolutions before them."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from visum.learn import norms


def worn(model: nn.Module) -> nn.Module:
    """Statistics and scales of a network that has lived."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return model


def pulled(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Answers and gradients of a loss that weighs every output differently."""
    model.zero_grad()
    model.train()
    norms.still(model)
    torch.manual_seed(3)
    out = model(x)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "least"),
    [("tf_efficientnet_lite0", 45), ("resnet18", 20), ("regnetx_002", 40)],
)
def test_the_function_and_its_gradients_stay_what_they_were(name: str, least: int) -> None:
    model = worn(timm.create_model(name, num_classes=7))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    before, gradients = pulled(model, x)
    names = list(model.state_dict())
    assert norms.folded(model, x) >= least
    after, again = pulled(model, x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    assert gradients.keys() == again.keys()
    for key, value in gradients.items():
        torch.testing.assert_close(again[key], value, rtol=1e-3, atol=1e-3 * float(value.abs().max() + 1e-3))
    assert list(model.state_dict()) == names


class Branch(nn.Module):
    """What the convolution gives out is read by the norm and by somebody else."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolution(x)
        return self.norm(y) + y.abs()  # type: ignore[no-any-return]


def test_a_map_that_others_read_too_is_left_alone() -> None:
    model = worn(Branch())
    x = torch.randn(2, 3, 8, 8)
    before = model.eval()(x)
    assert norms.folded(model, x) == 0
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


class Twice(nn.Module):
    """One norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.one(x)) * self.norm(self.two(x))  # type: ignore[no-any-return]


def test_a_norm_that_serves_two_is_left_alone() -> None:
    model = worn(Twice())
    x = torch.randn(2, 3, 8, 8)
    before = model.eval()(x)
    assert norms.folded(model, x) == 0
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"affine": False}, {"track_running_stats": False}])
def test_norms_without_scales_or_statistics(settings: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **settings), nn.ReLU())
    if "affine" in settings:
        model[1].running_mean.fill_(0.2)  # type: ignore[union-attr]
    x = torch.randn(2, 3, 8, 8)
    before = model.eval()(x)
    assert norms.folded(model, x) == (1 if "affine" in settings else 0)
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_training_mode_is_what_it_was_and_statistics_stay() -> None:
    model = worn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    model.train()
    mean = model[1].running_mean.clone()  # type: ignore[union-attr, operator]
    norms.folded(model, torch.randn(2, 3, 8, 8))
    assert model.training
    model(torch.randn(2, 3, 8, 8) + 5)
    torch.testing.assert_close(model[1].running_mean, mean, rtol=0, atol=0)
