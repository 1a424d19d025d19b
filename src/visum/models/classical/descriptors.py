"""What was measured on pictures before networks learnt it: colour, texture and edges, one function of one picture each.

Every function takes an RGB square uint8 ``[S, S, 3]`` and returns float32 ``[D]``, depends on nothing else and keeps no state, so
that a pool of threads may call it. Entries are square roots of shares where the description is a histogram: the distance between
two of them is then Hellinger's, which linear and distance-based classifiers cope with far better.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Pixels

CELLS = 4
PATTERNS = 59


def grey(picture: Pixels) -> Pixels:
    """Luma (ITU-R BT.601), uint8 ``[S, S]``."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def luma(picture: Pixels) -> Floats:
    """Luma in 0 … 1, float32 ``[S, S]``."""
    return np.asarray(grey(picture) / np.float32(255), np.float32)


def colour_histogram(picture: Pixels) -> Floats:
    """Joint RGB histogram, 8 bins a channel (Swain and Ballard 1991): float32 ``[512]``, squares sum to 1.

    Blind to where a colour is, hence the same for a mirrored or turned picture.
    """
    import cv2

    counts = cv2.calcHist([picture], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
    return np.asarray(np.sqrt(counts / counts.sum()), np.float32)


@lru_cache
def _uniform() -> NDArray[np.int64]:
    """Label of each of the 256 patterns, int64 ``[256]``: those that change at most twice around the circle get one each."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    changes = (bits != np.roll(bits, -1, axis=1)).sum(1)
    labels = np.full(256, PATTERNS - 1)
    labels[changes <= 2] = np.arange(PATTERNS - 1)
    return labels


def local_binary_patterns(picture: Pixels, radius: int = 1) -> NDArray[np.int64]:
    """Pattern of every inner pixel, int64 ``[S - 2r, S - 2r]`` in 0 … 255: bit p is set where the neighbour at p/8 of a circle
    (counter-clockwise from the right) is no darker than the pixel (Ojala et al. 2002).

    Neighbours between pixels are interpolated in integers, so that flat areas tie exactly.
    """
    image = grey(picture).astype(np.int32)
    size, r = len(image), radius
    centre = image[r : size - r, r : size - r] << 16
    pattern = np.zeros(centre.shape, np.int64)
    for p in range(8):
        y, x = -r * np.sin(p * np.pi / 4), r * np.cos(p * np.pi / 4)
        top, left = int(np.floor(round(y, 6))), int(np.floor(round(x, 6)))
        fy, fx = round((y - top) * 256), round((x - left) * 256)
        total = np.zeros(centre.shape, np.int32)
        for dy, wy in ((0, 256 - fy), (1, fy)):
            for dx, wx in ((0, 256 - fx), (1, fx)):
                if wy * wx:
                    a, b = r + top + dy, r + left + dx
                    total += wy * wx * image[a : a + size - 2 * r, b : b + size - 2 * r]
        pattern |= (total >= centre).astype(np.int64) << p
    return pattern


def lbp(picture: Pixels) -> Floats:
    """Histograms of the 59 uniform patterns at radius 1 in 4 x 4 cells (Ahonen et al. 2006): float32 ``[944]``.

    Unchanged by any change of brightness or contrast that keeps the order of the grey levels.
    """
    labels = _uniform()[local_binary_patterns(picture)]
    place = np.arange(len(labels)) * CELLS // len(labels)
    cell = place[:, None] * CELLS + place
    counts = np.bincount((cell * PATTERNS + labels).ravel(), minlength=PATTERNS * CELLS**2).reshape(-1, PATTERNS)
    return np.asarray(np.sqrt(counts / counts.sum(1, keepdims=True)), np.float32).ravel()
