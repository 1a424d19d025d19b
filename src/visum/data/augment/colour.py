"""What colour pixels have: brightness, contrast, saturation, hue, and the changes of tone that the policies use.

Functions that end in a setting decide nothing; those that take a generator draw the setting. All take and return uint8
``[S, S, 3]`` RGB. A change of tone that looks at one channel at a time is a table of 256 entries. Factors are Pillow's: 0 takes
the property away, 1 changes nothing, 2 doubles it; results are rounded, where Pillow cuts off.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from visum.data.augment.ranges import number
from visum.types import Pixels

_LEVELS = np.arange(256, dtype=np.float32)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's ImageFilter.SMOOTH


def brightness(pixels: Pixels, generator: Generator, *, strength: float = 0.3) -> Pixels:
    """Brighter or darker by a factor drawn evenly from 1 - strength … 1 + strength (strength: 0 … 1)."""
    return adjust_brightness(pixels, _factor(generator, strength))


def contrast(pixels: Pixels, generator: Generator, *, strength: float = 0.3) -> Pixels:
    """More or less contrast by a factor drawn evenly from 1 - strength … 1 + strength (strength: 0 … 1)."""
    return adjust_contrast(pixels, _factor(generator, strength))


def saturation(pixels: Pixels, generator: Generator, *, strength: float = 0.3) -> Pixels:
    """More or less colourful by a factor drawn evenly from 1 - strength … 1 + strength (strength: 0 … 1)."""
    return adjust_saturation(pixels, _factor(generator, strength))


def hue(pixels: Pixels, generator: Generator, *, strength: float = 0.05) -> Pixels:
    """All hues moved around the colour circle by -strength … strength turns (strength: 0 … 0.5), drawn evenly."""
    strength = number("strength", strength, 0, 0.5)
    return adjust_hue(pixels, float(generator.uniform(-strength, strength)))


def _factor(generator: Generator, strength: float) -> float:
    strength = number("strength", strength, 0, 1)
    return float(generator.uniform(1 - strength, 1 + strength))


def adjust_brightness(pixels: Pixels, factor: float) -> Pixels:
    """Every value times ``factor`` (>= 0)."""
    return _mixed(pixels, factor * np.eye(3))


def adjust_contrast(pixels: Pixels, factor: float) -> Pixels:
    """Every value's distance from the picture's mean luma times ``factor`` (>= 0)."""
    import cv2

    mean = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0]
    return _mixed(pixels, factor * np.eye(3), (1 - factor) * mean)


def adjust_saturation(pixels: Pixels, factor: float) -> Pixels:
    """Every colour's distance from its luma times ``factor`` (>= 0)."""
    return _mixed(pixels, factor * np.eye(3) + (1 - factor) * _LUMA)


def adjust_sharpness(pixels: Pixels, factor: float) -> Pixels:
    """Every value's distance from the mean around it times ``factor`` (>= 0); the outermost pixels stay."""
    import cv2

    soft = np.asarray(cv2.filter2D(pixels, -1, _SMOOTH), np.uint8)
    soft[[0, -1]], soft[:, [0, -1]] = pixels[[0, -1]], pixels[:, [0, -1]]
    return np.asarray(cv2.addWeighted(pixels, factor, soft, 1 - factor, 0), np.uint8)


def adjust_hue(pixels: Pixels, turns: float) -> Pixels:
    """Every hue moved by ``turns`` of the colour circle, in steps of 1/256; lightness and saturation stay."""
    import cv2

    step = round(turns * 256) % 256
    if not step:
        return pixels
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), np.uint8)
    hsv[..., 0] += np.uint8(step)  # 255 + 1 is 0, as on the circle
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def posterize(pixels: Pixels, bits: int) -> Pixels:
    """Only the ``bits`` (0 … 8) highest bits of each value are kept."""
    return toned(pixels, np.arange(256) & (0xFF00 >> bits & 0xFF))


def solarize(pixels: Pixels, threshold: float) -> Pixels:
    """Values from ``threshold`` (0 … 256) on are inverted."""
    return toned(pixels, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def invert(pixels: Pixels) -> Pixels:
    """Every value becomes 255 minus itself."""
    return toned(pixels, 255 - _LEVELS)


def auto_contrast(pixels: Pixels) -> Pixels:
    """Each channel stretched so that its darkest value is 0 and its brightest 255; a flat channel stays."""
    table = np.empty((256, 3), np.float32)
    for channel, counts in enumerate(_histograms(pixels)):
        used = np.flatnonzero(counts)
        low, high = float(used[0]), float(used[-1])
        table[:, channel] = (_LEVELS - low) * (255 / (high - low)) if high > low else _LEVELS
    return toned(pixels, table)


def equalize(pixels: Pixels) -> Pixels:
    """Each channel's histogram made as even as a table can make it, in Pillow's whole-number arithmetic."""
    table = np.empty((256, 3), np.float32)
    for channel, counts in enumerate(_histograms(pixels)):
        last = counts[counts > 0][-1]
        step = int(counts.sum() - last) // 255
        below = np.cumsum(counts) - counts
        table[:, channel] = (step // 2 + below) // step if step else _LEVELS
    return toned(pixels, table)


def toned(pixels: Pixels, table: ArrayLike) -> Pixels:
    """Each value replaced by its entry of ``[256]``, or of its channel's column of ``[256, 3]``; rounded and clipped."""
    import cv2

    entries = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, entries.reshape(256, 1, -1)), np.uint8)


def _mixed(pixels: Pixels, matrix: NDArray[np.float64], offset: float = 0.0) -> Pixels:
    """``matrix @ colour + offset`` for each pixel, rounded and clipped; OpenCV does this in a third of a table's time."""
    import cv2

    return np.asarray(cv2.transform(pixels, np.column_stack([matrix, [offset] * 3])), np.uint8)


def _histograms(pixels: Pixels) -> NDArray[np.int64]:
    """How often each channel has each value, int64 ``[3, 256]``."""
    import cv2

    found = [cv2.calcHist([pixels], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    return np.asarray(found).astype(np.int64)
