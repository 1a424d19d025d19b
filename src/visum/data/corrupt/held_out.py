"""The four kinds that the authors held out, for what was tuned on the others."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from visum.data.corrupt.blur import smoothed
from visum.data.corrupt.sized import SIDE, scale, to_side, unit, whole
from visum.types import Floats, Pixels

SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)
"""Standard deviation, as a share of the value."""
GAUSSIAN = (1, 2, 3, 4, 6)
"""Sigma in pixels of 224."""
SPATTER = (
    (0.65, 0.3, 4, 0.69, 0.6, 0),
    (0.65, 0.3, 3, 0.68, 0.6, 0),
    (0.65, 0.3, 2, 0.68, 0.5, 0),
    (0.65, 0.3, 1, 0.65, 1.5, 1),
    (0.67, 0.4, 1, 0.65, 1.5, 1),
)
"""Mean and deviation of what may be drops, sigma of their size, the least of them that is seen; of water how much of it, of mud
the sigma of its edge; 1 for mud."""
SATURATE = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))
"""Factor of the saturation of HSV, and what is added: the first two take colour away, the others give more."""
WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
"""Colours, RGB."""


def speckle_noise(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Noise that grows with the value."""
    x = unit(square)
    x += x * np.float32(SPECKLE[severity - 1]) * generator.standard_normal(x.shape, dtype=np.float32)
    return whole(x)


def gaussian_blur(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Smoothed by a Gaussian."""
    return smoothed(square, GAUSSIAN[severity - 1] * scale(square))


def spatter(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Drops of water, which shine at their edges, or of mud, on the lens."""
    mean, deviation, sigma, least, amount, mud = SPATTER[severity - 1]
    draw = generator.standard_normal((SIDE, SIDE), dtype=np.float32)
    liquid = smoothed(np.float32(mean) + np.float32(deviation) * draw, sigma)
    liquid[liquid < least] = 0
    x = unit(square)
    if mud:
        cover = smoothed((liquid > least).astype(np.float32), amount)
        cover[cover < 0.8] = 0
        cover = to_side(cover, square)[..., None]
        return whole(np.asarray(x * (1 - cover) + cover * np.array(MUD, np.float32), np.float32))
    shine = to_side(_shine(liquid) * np.float32(amount), square)[..., None]
    return whole(np.asarray(x + shine * np.array(WATER, np.float32), np.float32))


def _shine(liquid: Floats) -> Floats:
    """How much light drops throw, 0 … 1: more towards their edges on the side of the light, as the authors draw it."""
    import cv2

    edges = cv2.Canny((liquid * 255).astype(np.uint8), 50, 150)
    away = np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), 20)
    relief = cv2.equalizeHist(cv2.blur(away, (3, 3)).astype(np.uint8))
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    relief = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, light).astype(np.float32), (3, 3))
    shine = liquid * relief
    return np.asarray(shine / max(float(shine.max()), 1e-6), np.float32)


def saturate(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Less colour, or more."""
    import cv2

    factor, more = SATURATE[severity - 1]
    hsv = cv2.cvtColor(unit(square), cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(factor) + np.float32(more), 0, 1)
    return whole(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32))
