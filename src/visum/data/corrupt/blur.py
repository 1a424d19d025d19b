"""Blur of lenses, glass and movement. Lengths are pixels of a square of 224."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visum.data.corrupt.sized import scale, unit, whole
from visum.types import Floats, Pixels

DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
"""Radius of the disk, and of the Gaussian that softens its edge."""
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
"""Sigma of the Gaussian before and after, largest move, rounds."""
FURTHER = 1.25
"""How much further than by one move a pixel gets in a round in which neighbours change places one after the other: measured."""
MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Radius and sigma of the one-sided Gaussian along the way."""
ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
"""First factor beyond the last, and the step from 1 on."""


def defocus_blur(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Out of focus: every point becomes a disk."""
    radius, soft = DEFOCUS[severity - 1]
    return filtered(square, _disk(radius * scale(square), soft * scale(square)))


def glass_blur(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Frosted glass: each pixel is seen from somewhere near, between two slight blurs."""
    import cv2

    sigma, most, rounds = GLASS[severity - 1]
    k = scale(square)
    x = smoothed(square, sigma * k)
    height, width = square.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    reach = FURTHER * most * k
    for _ in range(rounds):
        move = np.rint(reach * (2 * generator.random((2, height, width), dtype=np.float32) - 1))
        x = cv2.remap(x, columns + move[0], rows + move[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return smoothed(np.asarray(x, np.uint8), sigma * k)


def motion_blur(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """The camera moved: a trail in one direction, within 45 degrees of level."""
    radius, sigma = MOTION[severity - 1]
    k = scale(square)
    return filtered(square, trail(radius * k, sigma * k, float(generator.uniform(-45, 45))))


def zoom_blur(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """The camera came nearer: the mean of enlargements about the middle."""
    import cv2

    last, step = ZOOM[severity - 1]
    factors = np.arange(1, last, step)
    height, width = square.shape[:2]
    x = unit(square)
    total = x.copy()
    for factor in factors:
        shift = ((width - 1) * (1 - factor) / 2, (height - 1) * (1 - factor) / 2)
        matrix = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
        cv2.accumulate(cv2.warpAffine(x, matrix, (width, height), flags=cv2.INTER_LINEAR), total)
    return whole(np.asarray(total / np.float32(len(factors) + 1), np.float32))


def filtered(x: NDArray[Any], kernel: Floats) -> NDArray[Any]:
    """Correlated with a kernel, channel by channel; edges are mirrored."""
    import cv2

    return np.asarray(cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT_101), x.dtype)


def smoothed(x: NDArray[Any], sigma: float) -> NDArray[Any]:
    """By a Gaussian of ``sigma`` pixels, cut off at four; edges are mirrored. As it is, where sigma is almost nothing."""
    import cv2

    if sigma < 0.05:
        return x
    side = 2 * math.ceil(4 * sigma) + 1
    return np.asarray(cv2.GaussianBlur(x, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101), x.dtype)


def trail(radius: float, sigma: float, degrees: float) -> Floats:
    """Kernel of a movement: a Gaussian of ``sigma`` pixels from the middle on, 2 ``radius`` long, towards an angle; sum 1."""
    length = max(2 * radius, 0.0)
    along = np.arange(0, math.floor(length) + 1)
    weights = np.exp(-(along**2) / (2 * max(sigma, 1e-3) ** 2))
    at = along[:, None] * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    half = math.ceil(length) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    low = np.floor(at).astype(int)
    share = at - low
    for dx in (0, 1):
        for dy in (0, 1):
            part = (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
            np.add.at(kernel, (half + low[:, 1] + dy, half + low[:, 0] + dx), weights * part)
    return np.asarray(kernel / kernel.sum(), np.float32)


@lru_cache(32)
def _disk(radius: float, soft: float) -> Floats:
    """A round kernel whose edge is softened; sum 1."""
    half = math.ceil(radius + 3 * soft) + 1
    away = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    disk = smoothed(np.clip(radius + 0.5 - away, 0, 1).astype(np.float32), soft)
    return np.asarray(disk / disk.sum(), np.float32)
