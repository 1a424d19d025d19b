"""Transfer: what of a network that has learnt elsewhere is trained here, and in which order.

A probe trains one linear layer, by convex optimisation and not here. Everything else trains a suffix with a head behind it,
which starts from the probe (linear probing, then fine-tuning: Kumar et al. 2022): from there on training can only be asked to do
better, and is thrown away where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visum.learn import heads, optim
from visum.models.heads import LINEAR
from visum.types import Floats


class Classifier(nn.Module):
    """A suffix, dropout and a head on standardised embeddings.

    Args:
        suffix: map or pixels ``[B, …]`` → embeddings ``[B, D]``.
        mean, spread: float32 ``[D]`` of the embeddings before training. The head works on ``(embedding - mean) / spread``, whose
            columns are alike, so that one rate suits them all; ``arrays`` says it for embeddings as they are.
        weight, bias: float32 ``[D, K]`` and ``[K]`` of the probe on the embeddings as they are.
        dropout: in [0, 1).
        head: of ``heads.HEADS``; it starts from the probe.
        scale: of the cosine head.
    """

    def __init__(
        self,
        suffix: nn.Module,
        mean: Floats,
        spread: Floats,
        weight: Floats,
        bias: Floats,
        dropout: float = 0.0,
        head: str = LINEAR,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.suffix = suffix
        self.mean, self.spread = nn.Buffer(torch.tensor(mean)), nn.Buffer(torch.tensor(spread))
        self.dropout = nn.Dropout(dropout)
        self.head = heads.HEADS[head](weight * spread[:, None], bias + mean @ weight, scale)

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.suffix(x).float()
        return self.head(self.dropout((embedding - self.mean) / self.spread))

    def arrays(self) -> dict[str, Floats]:
        """The head on the embeddings as they are: what ``models.heads`` answers with."""
        return self.head.arrays(self.mean.cpu().numpy(), self.spread.cpu().numpy())


def everything(model: nn.Module, epoch: int) -> None:
    """All of the suffix is trained from the first step on."""


def head_first(model: nn.Module, epoch: int) -> None:
    """The first epoch trains the head alone, so that one that is still random spoils nothing behind it."""
    for p in model.get_submodule("suffix").parameters():
        p.requires_grad_(epoch > 0)


def gradual(model: nn.Module, epoch: int) -> None:
    """One block more each epoch, from the end to the front (Howard & Ruder 2018)."""
    parts = [
        part for _, part in optim.blocks(model.get_submodule("suffix")) if next(part.parameters(), None) is not None
    ]
    for behind, block in enumerate(reversed(parts)):
        for p in block.parameters():
            p.requires_grad_(behind < epoch)


UNFREEZE: dict[str, Callable[[nn.Module, int], None]] = {
    "everything": everything,
    "head_first": head_first,
    "gradual": gradual,
}
"""Name → what (model, epoch from 0) makes trainable; called before each epoch."""


def between(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights on the straight line from what a network brought along to what it learnt (Wortsman et al. 2022, WiSE-FT, eq. 1).

    Args:
        before, after: state dicts of one network.
        share: of ``after``, in [0, 1]; whole numbers (counters) are those of ``after``.
    """
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def one_hot(y: NDArray[Any], classes: int) -> Tensor:
    """Targets float32 ``[N, K]`` of class numbers ``[N]``; multi-hot rows stay as they are."""
    if y.ndim == 2:
        return torch.from_numpy(np.asarray(y, np.float32))
    return nn.functional.one_hot(torch.from_numpy(np.asarray(y, np.int64)), classes).float()


def depths(model: Classifier) -> dict[str, int]:
    """Depth of each parameter, 0 next to the cut and the head deepest: for layer-wise rates (``optim.groups``)."""
    suffix = optim.depths(model.suffix)
    top = max(suffix.values(), default=-1) + 1
    found = {f"suffix.{name}": depth for name, depth in suffix.items()}
    return {name: found.get(name, top) for name, _ in model.named_parameters()}
