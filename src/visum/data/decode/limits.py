"""What a picture may cost, checked from its header before any pixel memory is asked for, and how refusals are worded."""

from __future__ import annotations

from visum.errors import UnreadableImage

MAX_BYTES = 512 * 2**20
"""Largest file, bytes."""

MAX_PIXELS = 120_000_000
"""Largest picture: width times height. 108-megapixel phones fit; as RGB it is 360 MB."""

MAX_RATIO = 200
"""Longest side over shortest side: a thinner strip holds nothing that a square network input can show."""

MAX_PARTS = 1_000_000
"""Chunks, blocks or segments that are walked in one file: about half a second."""

MAX_SCANS = 200
"""Scans of one JPEG. Encoders write about 10; files made to stall a decoder hold thousands."""

MAX_SCAN_PIXELS = 2_000_000_000
"""Scans times pixels of one JPEG: each scan passes over the whole picture, so that this bounds the seconds."""


MAX_RLE_PIXELS, MAX_RLE_BYTES = 16_000_000, 8 * 2**20
"""Largest run-length BMP: these are unpacked by Python code, a pixel or a byte at a time."""


def check_size(kind: str, width: int, height: int) -> None:
    """Refuse a picture without pixels, with too many, or too thin.

    Raises:
        UnreadableImage: naming the size and the limit.
    """
    if width < 1 or height < 1:
        raise damaged(kind, f"its header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"too large: {width} x {height} {kind}",
            allowed=f"at most {MAX_PIXELS // 10**6} million pixels",
            next="a copy of the picture with fewer pixels",
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UnreadableImage(
            f"too thin: {width} x {height} {kind}",
            allowed=f"sides that differ at most {MAX_RATIO}-fold",
            next="a cropped copy, or the picture cut into several",
        )


def truncated(kind: str, detail: str = "") -> UnreadableImage:
    """The error of a file whose end is missing."""
    return UnreadableImage(
        f"truncated {kind}{f': {detail}' if detail else ''}",
        allowed="complete files",
        next="the file copied once more from where it came from",
    )


def damaged(kind: str, why: str) -> UnreadableImage:
    """The error of a file whose bytes contradict its format."""
    why = "".join(c if c.isprintable() else " " for c in why)[:120].strip().rstrip(".")
    return UnreadableImage(
        f"damaged {kind}: {why}",
        allowed="undamaged files",
        next="the file copied or saved once more from where it came from",
    )


def unsupported(kind: str, why: str) -> UnreadableImage:
    """The error of a sound file of a flavour that is not read."""
    return UnreadableImage(
        f"unsupported {kind}: {why}",
        allowed=f"{kind} of 8 or 16 bits a sample",
        next="the picture saved as PNG or JPEG",
    )
