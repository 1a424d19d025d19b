"""Stochastic depth: some pictures go without the branch of a residual block in training, so that no block leans on another.

Huang et al. 2016, "Deep Networks with Stochastic Depth": the later a block, the more often; the last one with the probability
that is asked for, the first ones hardly ever (their eq. 4). The networks of timm and torchvision have places for it, empty
unless they are built otherwise; they are filled here, so that it can be asked of any network, cut or not.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from visum.errors import UsageError

PLACES = ("drop_path", "drop_path1", "drop_path2")
"""What timm's blocks call the end of a branch."""


def check(network: nn.Module, name: str) -> None:
    """Raise UsageError unless the network has branches that can be left out.

    Args:
        network: cut or not.
        name: of the architecture, for the message.
    """
    if not list(_branches(network)):
        raise UsageError(
            f"{name} has no residual branches that could be left out",
            allowed="networks of residual blocks: efficientnet, resnet, convnext, vit, swin, …",
            next="--drop-path 0, or --dropout",
        )


def fill(network: nn.Module, rate: float) -> int:
    """Let branches be left out, in place; the number of blocks.

    Args:
        network: in whatever mode; evaluation is not changed.
        rate: probability of the last block, in [0, 1); block i of n has i / n of it.
    """
    from timm.layers.drop import DropPath

    blocks = list(_branches(network))
    for number, (block, places) in enumerate(blocks, 1):
        share = rate * number / len(blocks)
        for place in places:
            if place:
                setattr(block, place, DropPath(share).train(block.training))
            else:
                block.p = share  # type: ignore[assignment]
    return len(blocks)


def _branches(network: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Each block that ends branches with the names of their ends, first blocks first; of torchvision the end itself, and ""."""
    for module in network.modules():
        if type(module).__name__ == "StochasticDepth":
            yield module, ("",)
        elif places := tuple(place for place in PLACES if hasattr(module, place)):
            yield module, places
