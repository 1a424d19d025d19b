"""Pools: from maps to one row of numbers a picture. The mean over all positions, and two for classes that differ in details.

Maps of all watched stages are averaged and put side by side. ``attention`` weighs the positions of the last map instead, and
what it looks for is learnt: one query, which starts at zero, where all positions weigh alike and the pool is the mean.
``bilinear`` adds columns to the means: products of channels at one position, averaged over positions, so that what counts is
what occurs together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError

if TYPE_CHECKING:
    import torch

MEAN, ATTENTION, BILINEAR = "mean", "attention", "bilinear"
PLACE = "visum_pool"
"""Its tensors stand beside those of the network under this name, which no architecture gives to a module."""
COLUMNS = 1024
"""That ``bilinear`` adds. More would tell products apart better, and make the head dearer."""
_SOFT = 1e-6

Arrays = dict[str, NDArray[Any]]


def _nothing(channels: int) -> Arrays:
    return {}


def _query(channels: int) -> Arrays:
    """Zeros float32 ``[C]``: the score of a position is its product with them."""
    return {"query": np.zeros(channels, np.float32)}


def _signs(channels: int) -> Arrays:
    """Two tables of random signs int8 ``[C, COLUMNS]``, always the same."""
    draw = np.random.default_rng([COLUMNS, channels])
    return {side: np.asarray(2 * draw.integers(0, 2, (channels, COLUMNS)) - 1, np.int8) for side in ("left", "right")}


POOLS: dict[str, Callable[[int], Arrays]] = {MEAN: _nothing, ATTENTION: _query, BILINEAR: _signs}
"""Name → channels of the last map → the tensors that the pool starts with."""


def added(name: str) -> int:
    """Columns that a pool puts behind all others."""
    return COLUMNS if name == BILINEAR else 0


def names(name: str) -> tuple[str, ...]:
    """Of a pool's tensors, among those of the network."""
    return tuple(f"{PLACE}.{key}" for key in POOLS[name](1))


def start(name: str, channels: int) -> Arrays:
    """The tensors of a new pool, named as in ``names``."""
    return {f"{PLACE}.{key}": value for key, value in POOLS[name](channels).items()}


def channels_last(features: torch.Tensor) -> bool:
    """Whether a tensor of four axes is ``[B, H, W, C]``: told by its square axes, ``[B, C, H, W]`` where all are alike."""
    return features.shape[1] == features.shape[2] and features.shape[2] != features.shape[3]


def pooled(features: Any) -> torch.Tensor:
    """Mean over space: ``[B, C, H, W]``, ``[B, H, W, C]`` or ``[B, N, C]`` → ``[B, C]``.

    Several such tensors in a list (networks of two scales) are pooled one by one and put side by side.
    """
    import torch

    if isinstance(features, (list, tuple)):
        return torch.cat([pooled(each) for each in features], dim=1)
    mean: torch.Tensor = features
    if mean.ndim == 4:
        return mean.mean((1, 2)) if channels_last(mean) else mean.mean((2, 3))
    return mean.mean(1) if mean.ndim == 3 else mean


def positions(features: torch.Tensor) -> torch.Tensor:
    """A map of any of these layouts as rows of channels, ``[B, N, C]``."""
    if features.ndim == 3:
        return features
    return features.flatten(1, 2) if channels_last(features) else features.flatten(2).transpose(1, 2)


def last_map(parts: list[Any]) -> int:
    """Number of the last part that still has positions.

    Raises:
        ModelError: none has.
    """
    found = [number for number, part in enumerate(parts) if not isinstance(part, (list, tuple)) and part.ndim > 2]
    if not found:
        raise ModelError(
            "what is trained of this network has no map left to pool", next=f"--pool {MEAN}, or another --cut"
        )
    return found[-1]


def Joined(name: str, tensors: Mapping[str, NDArray[Any]]) -> torch.nn.Module:
    """Outputs of stages and of the network, a list → embeddings float32 ``[B, D]``.

    Args:
        name: of ``POOLS``.
        tensors: those of ``names(name)``, among others.

    Raises:
        ModelError: no such pool, or its tensors are missing.
    """
    import torch

    if name not in POOLS:
        raise ModelError(f"no pool is called {name!r}", allowed=", ".join(POOLS), next=f"--pool {MEAN}")
    if missing := [key for key in names(name) if key not in tensors]:
        raise ModelError(f"the pool {name} has no {', '.join(missing)}", allowed=", ".join(names(name)))

    class Joined(torch.nn.Module):
        query: torch.Tensor
        left: torch.Tensor
        right: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            for key in names(name):
                value = torch.from_numpy(np.array(tensors[key]))
                learnt = value.is_floating_point()
                setattr(self, key.rpartition(".")[2], torch.nn.Parameter(value) if learnt else torch.nn.Buffer(value))

        def forward(self, parts: list[Any]) -> torch.Tensor:
            rows = [pooled(part) for part in parts]
            if name != MEAN:
                at = last_map(parts)
                x = positions(parts[at])
                if name == ATTENTION:
                    rows[at] = attended(x, self.query)
                else:
                    rows.append(bilinear(x, self.left, self.right))
            return torch.cat(rows, 1)

    return Joined().eval()


def attended(x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Positions float ``[B, N, C]`` → ``[B, C]``: the mean weighed by softmax(x @ query) (Ilse et al. 2018, section 2.4)."""
    # a column: ONNX Runtime (1.32) fuses a transpose with a product by a vector into one that answers otherwise
    weights: torch.Tensor = (x @ query.unsqueeze(1)).softmax(1)
    return (weights * x).sum(1)


def bilinear(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Positions float ``[B, N, C]`` → ``[B, COLUMNS]`` of length 1: compact bilinear pooling.

    The mean of (x @ left) * (x @ right) / √COLUMNS, whose inner product for two pictures is in expectation the mean of (x · y)²
    over their positions, as if all C² products of channels had been taken (Gao et al. 2016, algorithm 1, random Maclaurin);
    then the signed square root and the length (Lin et al. 2015).
    """
    import torch

    total = ((x @ left.to(x.dtype)) * (x @ right.to(x.dtype))).mean(1) / left.shape[1] ** 0.5
    rooted = total / (total.abs() + _SOFT).sqrt()  # √ has no slope at 0
    return torch.nn.functional.normalize(rooted, dim=1)
