"""Fitted pictures by row, freshly augmented for each epoch: what a network that is trained from its first layer on is handed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visum.data import augment
from visum.data.load import picture, pixel_space
from visum.data.pixels import fit
from visum.types import Manifest, Pixels, Preprocess

HELD = 256 << 20
"""Bytes up to which all fitted pictures are held in memory; more are fitted anew in every epoch."""

Squares = Callable[[NDArray[np.integer]], Pixels]
"""Row numbers ``[B]`` → uint8 ``[B, S, S, 3]``."""


STEP = 8
"""Sides on the way to the working size are multiples of it: odd ones leave borders behind strides."""


def sides(size: int, start: int | None, epochs: int) -> tuple[int, ...]:
    """Side of the pictures in each epoch: growing evenly from ``start``, and full in the last third (progressive resizing:
    Howard 2018; Tan & Le 2021, section 4).

    Args:
        size: in pixels, of the last epochs and of everything that is judged.
        start: of the first epoch; None: they do not grow.
        epochs: >= 1.
    """
    if start is None:
        return (size,) * epochs
    rise = epochs - math.ceil(epochs / 3)
    grown = [start + (size - start) * epoch / rise for epoch in range(rise)]
    return (*(max(start, STEP * round(side / STEP)) for side in grown), *(size,) * (epochs - rise))


def squares(table: Manifest, preprocess: Preprocess, *, most: int = HELD) -> Squares:
    """Fitted pictures of the rows of a table, from the store.

    Args:
        table: indexed rows.
        preprocess: their geometry.
        most: bytes that may be held.
    """
    space, side = pixel_space(preprocess), preprocess.size

    def read(where: NDArray[np.integer]) -> Pixels:
        out = np.empty((len(where), side, side, 3), np.uint8)
        for place, row in zip(out, where, strict=True):
            fit(picture(table, int(row), space, preprocess), preprocess, place)
        return out

    if len(table) * side * side * 3 > most:
        return read
    everything = read(np.arange(len(table)))
    return lambda where: everything[where]


def drawn(table: Manifest, preprocess: Preprocess, steps: str, seed: int, read: Squares) -> Callable[..., Pixels]:
    """(Epoch, row numbers) → the pictures after their augmentation: a pure function of seed, epoch and each file.

    Args:
        table: the rows that ``read`` reads.
        preprocess: its background fills what a step uncovers.
        steps: names of ``data.augment``.
        seed: of what is drawn.
        read: of ``squares``.
    """
    taken = augment.steps(steps)
    keys = table.sha256

    def pictures(epoch: int, where: NDArray[np.integer]) -> Pixels:
        batch = read(where)
        if not taken:
            return batch
        return augment.augment(
            batch, taken, seed=seed, epoch=epoch, keys=keys[where].tolist(), background=preprocess.background
        )

    return pictures


def beside(batch: Pixels, views: int, *, seed: int, epoch: int, keys: Sequence[str]) -> Pixels:
    """Each picture followed by views - 1 mixtures of itself (``aug_mix``): uint8 ``[B * views, S, S, 3]``, neighbours together.

    Args:
        batch: uint8 ``[B, S, S, 3]``, augmented or not.
        views: >= 1, the picture itself among them.
        seed, epoch, keys: as for ``augment``; each mixture draws for itself.
    """
    others = (
        augment.augment(batch, "aug_mix", seed=seed, epoch=epoch, keys=[f"{key} view {view}" for key in keys])
        for view in range(1, views)
    )
    return np.stack([batch, *others], 1).reshape(-1, *batch.shape[1:])
