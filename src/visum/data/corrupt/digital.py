"""What happens to a picture as data, or to its shape."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator

from visum.data.corrupt.sized import unit, whole
from visum.types import Floats, Pixels

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""Share of the distance from the mean that is left."""
ELASTIC = ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
"""Strength of the field, sigma that smooths it, largest move of three corners; shares of the side. The first two severities move
the whole picture, the others its parts."""
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
"""Share of the side's pixels that is left."""
JPEG = (25, 18, 15, 10, 7)
"""Quality."""
_OVER = 244 / 224
"""Moves were published as shares of 244 pixels, for squares of 224."""


def contrast(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Everything nearer to the mean of its channel."""
    x = unit(square)
    mean = x.mean((0, 1), keepdims=True)
    return whole(np.asarray((x - mean) * np.float32(CONTRAST[severity - 1]) + mean, np.float32))


def elastic(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """As if on rubber: an affine move, then a smooth random field of small ones (Simard, Steinkraus & Platt 2003)."""
    import cv2

    strength, smooth, corner = (_OVER * share for share in ELASTIC[severity - 1])
    side = square.shape[0]
    middle, third = side // 2, side // 3
    points = np.array([(middle + third, middle + third), (middle + third, middle - third), (middle - third,) * 2])
    moves = generator.uniform(-1, 1, points.shape) * corner * side
    matrix = cv2.getAffineTransform(points.astype(np.float32), (points + moves).astype(np.float32))
    x = cv2.warpAffine(square, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    gauss = _gauss(side, smooth * side)
    draw = generator.random((2, side, side), dtype=np.float32) * 2 - 1
    field = np.float32(strength * side) * (gauss @ draw @ gauss.T)
    columns, rows = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    moved = cv2.remap(x, columns + field[0], rows + field[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


@lru_cache(32)
def _gauss(side: int, sigma: float) -> Floats:
    """The Gaussian filter of a row as a matrix, edges mirrored, cut off at three sigma: float32 ``[side, side]``."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=3), np.float32)


def pixelate(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Enlarged from few pixels: means of boxes, then blocks."""
    import cv2

    height, width = square.shape[:2]
    share = PIXELATE[severity - 1]
    small = cv2.resize(square, (max(1, int(width * share)), max(1, int(height * share))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def jpeg(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Written as a JPEG of low quality, and read."""
    import cv2

    _, data = cv2.imencode(".jpg", square[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG[severity - 1]])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1], np.uint8)
