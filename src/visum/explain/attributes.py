"""Low-level attributes of a picture, computed from its pixels: what a network could know before it knows any class.

Each is one number; three classes are made of it by its terciles, so that a probe that knows nothing is right once in three times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visum.types import Floats, Integers, Pixels

PARTS = 3
"""Classes that are made of a number, by its quantiles."""
VERSION = 1
"""Of the numbers: part of the name under which they are kept."""
_SIDE = 128
"""Pixels of the longer side at which all pictures are measured, so that size is not texture."""


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        words: its name for people.
        low, high: what a small and a large number mean.
        measure: float32 ``[h, w, 3]``, 0 … 1 → the number.
    """

    words: str
    low: str
    high: str
    measure: Callable[[Floats], float]


def edges(picture: Floats) -> float:
    """Log ratio of what grey changes across (upright edges) and down (level edges); 0 where both are alike."""
    grey = picture.mean(axis=2)
    across, down = np.abs(np.diff(grey, axis=1)).mean(), np.abs(np.diff(grey, axis=0)).mean()
    return float(np.log((across + 1e-4) / (down + 1e-4)))


def colour(picture: Floats) -> float:
    """Red less blue, each pixel weighed by how far it is from grey: -1 (blue) … 1 (red, orange, yellow)."""
    chroma = picture.max(axis=2) - picture.min(axis=2)
    return float((chroma * (picture[..., 0] - picture[..., 2])).sum() / max(float(chroma.sum()), 1e-6))


def texture(picture: Floats) -> float:
    """Share of the contrast of grey that lies between neighbouring pixels: fine patterns have much, smooth surfaces little."""
    grey = picture.mean(axis=2)
    fine = np.square(np.diff(grey, axis=1)).mean() + np.square(np.diff(grey, axis=0)).mean()
    return float(np.log((fine + 1e-6) / (2 * grey.var() + 1e-6)))


ATTRIBUTES: dict[str, Attribute] = {
    "edges": Attribute("edge orientation", "level", "upright", edges),
    "colour": Attribute("dominant colour", "cold", "warm", colour),
    "texture": Attribute("texture", "smooth", "fine", texture),
}
"""Name → attribute."""


def measure(picture: Pixels) -> Floats:
    """All of ``ATTRIBUTES`` of one picture uint8 ``[h, w, 3]``, float32 ``[A]``."""
    import cv2

    height, width = picture.shape[:2]
    ratio = min(1.0, _SIDE / max(height, width))
    if ratio < 1:
        size = (max(2, round(width * ratio)), max(2, round(height * ratio)))
        picture = np.asarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA), np.uint8)
    plain = np.pad(picture, [(0, max(0, 2 - n)) for n in picture.shape[:2]] + [(0, 0)], mode="edge")
    scaled = np.asarray(plain, np.float32) / np.float32(255)
    return np.array([each.measure(scaled) for each in ATTRIBUTES.values()], np.float32)


def quantiles(values: Floats, fitted: Floats) -> Integers:
    """Class 0 … ``PARTS`` - 1 of each number, by the quantiles of ``fitted``; int64 ``[N]``."""
    cuts = np.quantile(fitted, np.arange(1, PARTS) / PARTS)
    return np.asarray(np.searchsorted(cuts, values, side="right"), np.int64)
