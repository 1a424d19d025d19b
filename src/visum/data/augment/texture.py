"""What pictures lose on their way: noise, blur and hidden parts. Pictures are uint8 ``[S, S, 3]`` and keep their shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from visum.data.augment.geometry import draw_box
from visum.data.augment.ranges import span
from visum.types import Pixels


def noise(pixels: Pixels, generator: Generator, *, deviation: Sequence[float] = (0.0, 0.05)) -> Pixels:
    """Gaussian noise on every value of every channel.

    Args:
        deviation: range of the standard deviation as a share of 255, 0 … 1; drawn evenly.
    """
    import cv2

    low, high = span("deviation", deviation, 0, 1)
    scale = np.float32(255 * generator.uniform(low, high))
    values = generator.standard_normal(pixels.shape, dtype=np.float32)
    values *= scale
    return np.asarray(cv2.add(pixels, values, dtype=cv2.CV_8U), np.uint8)


def blur(pixels: Pixels, generator: Generator, *, sigma: Sequence[float] = (0.1, 2.0)) -> Pixels:
    """Out of focus by a Gaussian (Chen et al. 2020, appendix A).

    Args:
        sigma: range of its standard deviation in pixels, 0.1 … 50; drawn evenly.
    """
    low, high = span("sigma", sigma, 0.1, 50)
    return gaussian(pixels, float(generator.uniform(low, high)))


def gaussian(pixels: Pixels, sigma: float) -> Pixels:
    """Smoothed by a Gaussian of ``sigma`` pixels that is cut off at three sigma; edges are mirrored."""
    import cv2

    side = 2 * int(np.ceil(3 * sigma)) + 1
    return np.asarray(cv2.GaussianBlur(pixels, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def erasing(
    pixels: Pixels,
    generator: Generator,
    *,
    area: Sequence[float] = (0.02, 0.33),
    aspect: Sequence[float] = (0.3, 3.3),
) -> Pixels:
    """A box of random bytes over the picture (Zhong et al. 2020, "Random Erasing", algorithm 1, RE-R).

    How often is the step's probability. Where ten boxes in a row would not fit, nothing is erased.

    Args:
        area: range of the box's share of the picture, 0.001 … 1; drawn evenly.
        aspect: range of its width / height, 0.1 … 10; drawn evenly on a logarithmic scale.
    """
    area, aspect = span("area", area, 0.001, 1), span("aspect", aspect, 0.1, 10)
    box = draw_box(generator, pixels.shape[0], pixels.shape[1], area, aspect)
    if box is None:
        return pixels
    top, left, height, width = box
    out = pixels.copy()
    out[top : top + height, left : left + width] = generator.integers(256, size=(height, width, 3), dtype=np.uint8)
    return out
