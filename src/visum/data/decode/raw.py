"""What every format's reader hands to ``decode``: pixels as stored, before they are turned upright."""

from __future__ import annotations

from dataclasses import dataclass

from visum.types import Pixels


@dataclass(frozen=True, eq=False)
class Raw:
    """One decoded picture in file order.

    Attributes:
        pixels: uint8 ``[h, w, 3]`` RGB; smaller than ``height, width`` where it was decoded at a scale.
        width, height: pixels as stored in the file.
        turn: EXIF orientation, 1 to 8.
        notes: every alteration so far, in plain words.
    """

    pixels: Pixels
    width: int
    height: int
    turn: int
    notes: tuple[str, ...]
