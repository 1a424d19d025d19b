"""What all corruptions share: the published side, and the ways between bytes and numbers from 0 to 1."""

from __future__ import annotations

import numpy as np

from visum.types import Floats, Pixels

SIDE = 224
"""Pixels at which the parameters were published."""


def scale(square: Pixels) -> float:
    """What a length of the published side is in this square."""
    return float(square.shape[0] / SIDE)


def unit(square: Pixels) -> Floats:
    """Bytes → float32, 0 … 1."""
    return np.multiply(square, np.float32(1 / 255), dtype=np.float32)


def whole(x: Floats) -> Pixels:
    """0 … 1, and what lies beyond cut off → bytes, rounded to the nearest."""
    return np.asarray(np.clip(np.rint(x * np.float32(255)), 0, 255), np.uint8)


def to_side(layer: Floats, square: Pixels) -> Floats:
    """A layer of the published side at the side of the square; float32."""
    import cv2

    height, width = square.shape[:2]
    if layer.shape[:2] == (height, width):
        return layer
    way = cv2.INTER_AREA if height < layer.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(layer, (width, height), interpolation=way), np.float32)
