"""Background: does a classifier still know a picture when it sees only its outer or only its inner half?

Subjects stand mostly in the middle. A classifier that does as well on what surrounds it may have learnt the place and not the
subject ("Noise or signal", Xiao et al. 2021, asks the same of pictures whose subject was cut out by hand). Both halves have the
same area, so that neither has more to say by size alone; what is hidden gets the colour of the padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.judge.intervals import wilson
from visum.judge.paired import difference
from visum.types import Fit, Pixels

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
INNER = 0.5**0.5
"""Sides of the inner half over those of the picture."""
LEAST = 30
"""Images below which nothing is said."""


def content(width: int, height: int, size: int, fit: Fit) -> Box:
    """Where the picture lies in its fitted square: (top, bottom, left, right) in pixels; what is around it is padding.

    Args:
        width, height: of the upright file; 0 where they are not known.
        size: side of the square.
    """
    if fit != "pad" or not width or not height:
        return 0, size, 0, size
    ratio = size / max(width, height)
    wide, tall = max(1, round(width * ratio)), max(1, round(height * ratio))
    top, left = (size - tall) // 2, (size - wide) // 2
    return top, top + tall, left, left + wide


def inside(box: Box) -> Box:
    """The middle of a box with half of its area (as near as whole pixels come)."""
    top, bottom, left, right = box
    tall, wide = (max(1, round(INNER * side)) for side in (bottom - top, right - left))
    y, x = top + (bottom - top - tall) // 2, left + (right - left - wide) // 2
    return y, y + tall, x, x + wide


def halves(square: Pixels, box: Box, background: tuple[int, int, int]) -> tuple[Pixels, Pixels]:
    """The same square with its inner half hidden, and with its outer half hidden: two of uint8 ``[S, S, 3]``."""
    top, bottom, left, right = inside(box)
    outer = square.copy()
    outer[top:bottom, left:right] = background
    inner = np.full_like(square, background)
    inner[top:bottom, left:right] = square[top:bottom, left:right]
    return outer, inner


def background_block(whole: Mask, outer: Mask, inner: Mask, chance: float) -> dict[str, Any]:
    """The block of a trust page about what surrounds the subject, plain Python values.

    Keys: ``n``; ``whole``, ``outer``, ``inner``: ``value``, ``low``, ``high`` (Wilson) of the share right when each is shown;
    ``chance``; ``difference`` of inner less outer with ``low`` and ``high`` (Agresti and Min); ``kept``: share of what the whole
    picture gains over chance that is left with the outer half alone (None where there is no gain), at least 0.

    Args:
        whole, outer, inner: bool ``[N]``: whether the same images were answered right.
        chance: share right without looking, 0 … 1: that of the most frequent class.
    """
    n = len(whole)
    scores = {}
    for name, right in (("whole", whole), ("outer", outer), ("inner", inner)):
        low, high = wilson(int(right.sum()), n)
        scores[name] = {"value": float(right.mean()), "low": float(low), "high": float(high)}
    value, low_, high_ = difference(int((inner & ~outer).sum()), int((outer & ~inner).sum()), n)
    gain = scores["whole"]["value"] - chance
    kept = max(0.0, (scores["outer"]["value"] - chance) / gain) if gain > 0 else None
    return {
        "n": n,
        **scores,
        "chance": chance,
        "difference": {"value": value, "low": low_, "high": high_},
        "kept": kept,
    }
