"""Transfer: what of a network that has learnt elsewhere is trained here, and in which order.

A probe trains one linear layer, by convex optimisation and not here. Everything else trains a suffix with that layer behind it,
which starts as the probe (linear probing, then fine-tuning: Kumar et al. 2022): from there on training can only be asked to do
better, and is thrown away where it does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visum.types import Floats


class Classifier(nn.Module):
    """A suffix, dropout and a linear layer on standardised embeddings.

    Args:
        suffix: map or pixels ``[B, …]`` → embeddings ``[B, D]``.
        mean, spread: float32 ``[D]`` of the embeddings before training. The layer works on ``(embedding - mean) / spread``, whose
            columns are alike, so that one rate suits them all; ``head`` folds both back in.
        weight, bias: float32 ``[D, K]`` and ``[K]`` of the probe on the embeddings as they are.
        dropout: in [0, 1).
    """

    def __init__(
        self, suffix: nn.Module, mean: Floats, spread: Floats, weight: Floats, bias: Floats, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.suffix = suffix
        self.mean, self.spread = nn.Buffer(torch.tensor(mean)), nn.Buffer(torch.tensor(spread))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor(weight * spread[:, None]).T)
            self.linear.bias.copy_(torch.tensor(bias + mean @ weight))

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.suffix(x).float()
        return self.linear(self.dropout((embedding - self.mean) / self.spread))  # type: ignore[no-any-return]

    def head(self) -> dict[str, Floats]:
        """``{"weight": float32 [D, K], "bias": float32 [K]}`` on the embeddings as they are."""
        weight = self.linear.weight.detach().cpu().numpy().T / self.spread.cpu().numpy()[:, None]
        bias = self.linear.bias.detach().cpu().numpy() - self.mean.cpu().numpy() @ weight
        return {"weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}


def everything(model: nn.Module, epoch: int) -> None:
    """All of the suffix is trained from the first step on."""


def head_first(model: nn.Module, epoch: int) -> None:
    """The first epoch trains the linear layer alone, so that a head that is still random spoils nothing behind it."""
    for p in model.get_submodule("suffix").parameters():
        p.requires_grad_(epoch > 0)


def gradual(model: nn.Module, epoch: int) -> None:
    """One block more each epoch, from the end to the front (Howard & Ruder 2018)."""
    blocks = [block for block in _blocks(model.get_submodule("suffix")) if any(True for _ in block.parameters())]
    for behind, block in enumerate(reversed(blocks)):
        for p in block.parameters():
            p.requires_grad_(behind < epoch)


UNFREEZE: dict[str, Callable[[nn.Module, int], None]] = {
    "everything": everything,
    "head_first": head_first,
    "gradual": gradual,
}
"""Name → what (model, epoch from 0) makes trainable; called before each epoch."""


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The module's parts in order, containers opened."""
    out = []
    for child in module.children():
        opened = isinstance(child, (nn.Sequential, nn.ModuleList)) or type(child) is nn.Module
        out += _blocks(child) if opened and len(list(child.children())) else [child]
    return out


def still(model: nn.Module) -> None:
    """Batch norms keep the statistics that they came with: a few thousand pictures would only blur them."""
    for module in model.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)):
            module.eval()


def moving(model: nn.Module) -> None:
    """Batch norms follow the pictures at hand."""


STATISTICS: dict[str, Callable[[nn.Module], None]] = {"still": still, "moving": moving}


def one_hot(y: NDArray[Any], classes: int) -> Tensor:
    """Targets float32 ``[N, K]`` of class numbers ``[N]``; multi-hot rows stay as they are."""
    if y.ndim == 2:
        return torch.from_numpy(np.asarray(y, np.float32))
    return nn.functional.one_hot(torch.from_numpy(np.asarray(y, np.int64)), classes).float()


def depths(model: nn.Module) -> dict[str, int]:
    """Depth of each parameter of a ``Classifier`` by blocks, 0 next to the cut: for layer-wise rates (``optim.groups``)."""
    order: dict[str, int] = {}
    found = {}
    for name, _ in model.named_parameters():
        numbered = re.match(r"(.*\.\d+)\.", name)  # a block is what its container numbers
        block = numbered[1] if numbered else name.rsplit(".", 1)[0]
        found[name] = order.setdefault(block, len(order))
    return found
