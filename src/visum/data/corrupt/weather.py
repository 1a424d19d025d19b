"""What falls on a picture or hangs before it. Layers are made at the published side of 224 pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from visum.data.corrupt.blur import filtered, trail
from visum.data.corrupt.sized import SIDE, to_side, unit, whole
from visum.types import Floats, Pixels

SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
"""Mean and deviation of what may be flakes, their enlargement, the least of them that is seen, radius and sigma of their fall,
share of the picture that keeps its colours."""
FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
"""Shares of the picture and of the ice."""
FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
"""How much fog there is, and by how much finer structures are weaker than those twice as large."""
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the value of HSV."""
ICE = (0.86, 0.93, 1.0)
"""Colour of frost, RGB."""


def snow(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Flakes that fall, in front of a picture that has become paler."""
    import cv2

    mean, deviation, enlarged, least, radius, sigma, kept = SNOW[severity - 1]
    side = math.ceil(SIDE / enlarged)
    draw = generator.standard_normal((SIDE, SIDE), dtype=np.float32)[:side, :side]
    layer = cv2.resize(draw * np.float32(deviation) + np.float32(mean), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    layer = np.clip(np.where(layer < least, 0, layer), 0, 1).astype(np.float32)
    falling = to_side(filtered(layer, trail(radius, sigma, -float(generator.uniform(45, 135)))), square)[..., None]
    x = unit(square)
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    pale = np.float32(kept) * x + np.float32(1 - kept) * np.maximum(x, grey * np.float32(1.5) + np.float32(0.5))
    return whole(np.asarray(pale + falling + falling[::-1, ::-1], np.float32))


def frost(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Ice on the lens."""
    picture, ice = FROST[severity - 1]
    layer = to_side(_ice(generator), square)[..., None] * np.array(ICE, np.float32)
    return whole(np.asarray(np.float32(picture) * unit(square) + np.float32(ice) * layer, np.float32))


def _ice(generator: Generator) -> Floats:
    """Crystals, float32 ``[224, 224]``, 0 … 1: ridges of noise in four sizes, bent by other noise, thicker here than there.

    A ridge lies where smooth noise crosses its mean; large ones carry the small ones, as crystals grow.
    """
    import cv2

    def field(cells: int) -> Floats:
        coarse = generator.standard_normal((cells + 3, cells + 3), dtype=np.float32)
        return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)

    columns, rows = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    bent = columns + 10 * field(6), rows + 10 * field(6)
    total, share = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    for cells, height in ((7, 0.45), (16, 0.3), (36, 0.25), (80, 0.2)):
        ridge = np.square(np.clip(1 - np.abs(field(cells)), 0, 1))
        total += np.float32(height) * share * ridge
        share = np.clip(np.float32(1.5) * ridge, 0.2, 1)
    total = np.asarray(cv2.remap(total, *bent, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32)
    cover = np.clip(np.float32(0.75) + np.float32(0.3) * field(3), 0.25, 1.25)
    return np.asarray(np.clip(total * cover * np.float32(1.2), 0, 1), np.float32)


def fog(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """A cloud before the picture: the plasma fractal (diamond-square, Fournier et al. 1982)."""
    amount, decay = FOG[severity - 1]
    x = unit(square)
    most = max(float(x.max()), 1e-3)
    cloud = to_side(plasma(256, decay, generator)[:SIDE, :SIDE].copy(), square)[..., None]
    return whole(np.asarray((x + np.float32(amount) * cloud) * np.float32(most / (most + amount)), np.float32))


def plasma(side: int, decay: float, generator: Generator) -> Floats:
    """A height map that is a torus, float32 ``[side, side]``, 0 … 1.

    Args:
        side: a power of two.
        decay: each level's spread is that of the one before divided by it.
        generator: draws.
    """
    heights = np.zeros((side, side), np.float32)
    step, spread = side, 100.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        across = corners + np.roll(corners, -1, 1)
        middle = (across + np.roll(across, -1, 0)) / 4 + _wobble(spread, corners.shape, generator)
        heights[half::step, half::step] = middle
        above = middle + np.roll(middle, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = above / 4 + _wobble(spread, corners.shape, generator)
        beside = middle + np.roll(middle, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = beside / 4 + _wobble(spread, corners.shape, generator)
        step, spread = half, spread / decay
    heights -= heights.min()
    return heights / max(float(heights.max()), 1e-6)


def _wobble(spread: float, shape: tuple[int, ...], generator: Generator) -> Floats:
    return np.float32(spread) * (2 * generator.random(shape, dtype=np.float32) - 1)


def brightness(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """More light: the value of HSV rises."""
    import cv2

    hsv = cv2.cvtColor(unit(square), cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + np.float32(BRIGHTNESS[severity - 1]), 0, 1)
    return whole(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32))
