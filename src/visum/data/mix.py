"""Two pictures in one, and their targets with them: mixup and cutmix, as pure functions of a batch and a generator.

Rows may be pictures or cached feature maps, in NumPy or PyTorch alike. Each row has a partner of the same batch and a share of
its own, which makes gradients steadier than one share for the whole batch. What comes back is new memory of the same type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visum.errors import UsageError
from visum.types import Floats, Integers

if TYPE_CHECKING:
    import torch

Rows = TypeVar("Rows", NDArray[Any], "torch.Tensor")
"""An array or a tensor whose first axis is the batch."""


def mixup(x: Rows, target: Rows, alpha: float, generator: Generator) -> tuple[Rows, Rows]:
    """Each row becomes ``share · row + (1 - share) · partner``, pixels and targets alike (Zhang et al. 2018, eq. 1).

    Args:
        x: pictures or feature maps ``[B, …]``, floats or uint8 (rounded).
        target: float32 ``[B, K]``.
        alpha: > 0; shares are drawn from Beta(alpha, alpha): small ones mix little, 1 mixes evenly.
        generator: decides shares and partners.

    Returns:
        Mixed x and mixed target.

    Raises:
        UsageError: alpha out of range.
    """
    shares, partners = _drawn(len(x), alpha, generator)
    return _between(x, shares, partners), _between(target, shares, partners)


def cutmix(
    x: Rows, target: Rows, alpha: float, generator: Generator, *, channels: Literal["first", "last"] = "first"
) -> tuple[Rows, Rows]:
    """In each row a box is the partner's, and the target mixed by the exact share of pixels (Yun et al. 2019, section 3.1).

    Args:
        x: ``[B, C, H, W]``, or ``[B, H, W, C]`` where ``channels`` is last.
        target, alpha, generator: as in ``mixup``. The box has 1 - share of the area around a point drawn evenly, and is cut
            off at the edges, so that rows keep more than their share.

    Returns:
        x with boxes, and mixed target.

    Raises:
        UsageError: alpha out of range.
    """
    shares, partners = _drawn(len(x), alpha, generator)
    down = 2 if channels == "first" else 1
    height, width = x.shape[down : down + 2]
    out = x[np.arange(len(x))]
    kept = np.empty(len(x), np.float32)
    for row, partner in enumerate(partners.tolist()):
        rows, columns = draw_cut(generator, height, width, float(shares[row]))
        at = (..., rows, columns) if channels == "first" else (rows, columns)
        out[row][at] = x[partner][at]
        kept[row] = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return out, _between(target, kept, partners)


def draw_cut(generator: Generator, height: int, width: int, share: float) -> tuple[slice, slice]:
    """Rows and columns of a box of 1 - share of the area, shaped like the whole and cut off at its edges."""
    side = math.sqrt(1 - share)
    h, w = round(height * side), round(width * side)
    top, left = int(generator.integers(height)) - h // 2, int(generator.integers(width)) - w // 2
    return slice(max(top, 0), min(top + h, height)), slice(max(left, 0), min(left + w, width))


def _drawn(count: int, alpha: float, generator: Generator) -> tuple[Floats, Integers]:
    """Shares float32 ``[B]`` in 0 … 1 and partners int64 ``[B]``, a permutation."""
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    if not number or not 0 < alpha <= 100:
        raise UsageError(f"alpha is {alpha!r}", allowed="a number above 0, at most 100", next="alpha = 0.2")
    return generator.beta(alpha, alpha, count).astype(np.float32), generator.permutation(count)


def _between(x: Rows, shares: Floats, partners: Integers) -> Rows:
    """``share · row + (1 - share) · partner`` in float32 or the type of ``x``, and then in the type of ``x``."""
    column = shares.reshape(-1, *[1] * (x.ndim - 1))
    if isinstance(x, np.ndarray):
        mixed = x[partners] + column * (x.astype(np.float32) - x[partners])
        return np.asarray(np.rint(mixed) if x.dtype.kind in "ui" else mixed, x.dtype)
    part = x.new_tensor(column, dtype=x.dtype if x.is_floating_point() else x.float().dtype)
    mixed_ = x[partners] + part * (x.to(part.dtype) - x[partners])
    return (mixed_ if x.is_floating_point() else mixed_.round()).to(x.dtype)
