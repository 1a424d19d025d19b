"""Fitted pictures by row, freshly augmented for each epoch: what a network that is trained from its first layer on is handed."""

from __future__ import annotations

from collections.abc import Callable

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
