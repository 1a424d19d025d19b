"""Branches that are left out: how often, of which pictures, and never when a network answers."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from visum.errors import UsageError
from visum.learn import stochastic_depth


class Block(nn.Module):
    """A branch that adds 1."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_path = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(torch.ones_like(x))


def test_the_deeper_the_more_often_and_whole_pictures() -> None:
    network = nn.Sequential(*(Block() for _ in range(4)))
    assert stochastic_depth.fill(network, 0.4) == 4
    network.train()
    torch.manual_seed(0)
    rates = []
    for block in network:
        out = block(torch.zeros(20_000, 3, 2, 2))
        assert (out.flatten(1) == out.flatten(1)[:, :1]).all()  # all of a picture or nothing
        assert out.mean() == pytest.approx(1, abs=0.02)  # what stays is scaled up
        rates.append(float((out[:, 0, 0, 0] == 0).float().mean()))
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.012)  # Huang et al., eq. 4


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), 16),
        (lambda: timm.create_model("resnet18"), 8),
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32), 12),
        (lambda: torchvision.models.efficientnet_b0(), 16),
    ],
)
def test_networks_answer_as_before_and_learn_with_holes(network: object, blocks: int) -> None:
    model: nn.Module = network().eval()  # type: ignore[operator]
    for p in model.parameters():  # some branches start as nothing
        p.data += 0.5 * (not p.any())
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, names = model(x), set(model.state_dict())
        assert stochastic_depth.fill(model, 0.5) == blocks
        assert set(model.state_dict()) == names
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)
        for module in model.modules():  # everything else stays as it answers
            module.training = type(module).__name__ in ("DropPath", "StochasticDepth")
        assert not torch.equal(model(x), before)


@pytest.mark.slow
def test_a_network_without_branches_is_refused() -> None:
    with pytest.raises(UsageError, match=r"vgg11 has no residual branches(.|\n)*--drop-path 0"):
        stochastic_depth.check(timm.create_model("vgg11"), "vgg11")
    stochastic_depth.check(timm.create_model("resnet18"), "resnet18")
