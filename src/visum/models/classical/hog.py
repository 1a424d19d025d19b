"""Histograms of oriented gradients (Dalal and Triggs 2005)."""

from __future__ import annotations

import numpy as np

from visum.types import Floats, Pixels

CELLS = 8
ORIENTATIONS = 9
FLAT = 1e-5


def hog(picture: Pixels) -> Floats:
    """9 unsigned orientations in 8 x 8 cells, blocks of 2 x 2 cells normalised by L2-Hys: float32 ``[1764]``.

    Each pixel's gradient is that of its strongest channel. The numbers are those of ``skimage.feature.hog``.
    """
    x = picture.astype(np.float32)
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[1:-1] = x[2:] - x[:-2]
    right[:, 1:-1] = x[:, 2:] - x[:, :-2]
    strength = down * down + right * right
    best = strength.argmax(2)[..., None]
    dy, dx, strength = (np.take_along_axis(a, best, 2)[..., 0] for a in (down, right, strength))
    angle = np.rad2deg(np.arctan2(dy, dx)) % 180
    turn = np.minimum((angle * (ORIENTATIONS / 180)).astype(np.int64), ORIENTATIONS - 1)
    size = len(picture)
    place = np.arange(size) * CELLS // size
    where = (place[:, None] * CELLS + place) * ORIENTATIONS + turn
    total = np.bincount(where.ravel(), np.sqrt(strength).ravel(), CELLS * CELLS * ORIENTATIONS)
    cells = total.reshape(CELLS, CELLS, ORIENTATIONS) / (size / CELLS) ** 2
    blocks = np.stack([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], 2).reshape(-1, 4 * ORIENTATIONS)
    blocks /= np.sqrt((blocks**2).sum(1, keepdims=True) + FLAT**2)
    blocks = np.minimum(blocks, 0.2)
    blocks /= np.sqrt((blocks**2).sum(1, keepdims=True) + FLAT**2)
    return blocks.astype(np.float32).ravel()
