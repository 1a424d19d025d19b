"""The one EXIF fact that pixels need: how to turn them upright (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import struct

import numpy as np

from visum.types import Pixels

ORIENTATION = 0x0112
_TYPES = {1: "B", 3: "H", 4: "I"}


def tag(tiff: bytes, wanted: int) -> int | None:
    """First value of an integer tag in the first directory of a TIFF structure; None if absent or malformed.

    Args:
        tiff: from its byte-order mark on; a leading ``Exif\\0\\0`` is skipped.
        wanted: tag number; the value must fit into the entry itself (one byte, short or long).
    """
    tiff = tiff[6:] if tiff.startswith(b"Exif\x00") else tiff
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * min(count, 1000), 12):
            number, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if number == wanted and kind in _TYPES:
                return int(struct.unpack_from(f"{order}{_TYPES[kind]}", tiff, at + 8)[0])
    except struct.error:
        pass
    return None


def orientation(tiff: bytes) -> int:
    """EXIF orientation 1 to 8; 1 where it is absent or nonsense. XMP is not consulted."""
    value = tag(tiff, ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def upright(pixels: Pixels, turn: int) -> Pixels:
    """Pixels as stored → as meant to be seen, ``[H, W, 3]`` (or ``[W, H, 3]`` for turns 5 to 8), contiguous.

    Args:
        pixels: uint8 ``[H, W, 3]`` in file order.
        turn: EXIF orientation, 1 to 8.
    """
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if turn in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if turn in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def turned(turn: int) -> str:
    """The note on an orientation."""
    return f"rotated by EXIF orientation {turn}"
