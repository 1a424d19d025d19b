"""The one decoder: bytes of a file → upright RGB pixels and a list of everything that was altered, or a named refusal.

Training, the command line and serving all come through here, so that a picture is the same picture everywhere. The format is
told from the bytes, never from the name; size and shape are checked from the header before pixel memory is asked for;
a file whose end is missing is refused, since grey rows would otherwise be learnt as content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from visum.data.decode import limits, pillow
from visum.data.decode.exif import turned, upright
from visum.data.decode.jpeg import decode_jpeg
from visum.data.decode.raw import Raw
from visum.data.decode.sniff import EXTRA_FORMATS, FORMATS, HEAD, KINDS, sniff
from visum.data.decode.source import read_bytes
from visum.errors import UnreadableImage, UsageError
from visum.types import Pixels, printable

__all__ = ["EXTRA_FORMATS", "FORMATS", "READERS", "Decoded", "decode", "read_bytes", "sniff"]

READERS: Mapping[str, Callable[[bytes, tuple[int, int, int], int | None], Raw]] = MappingProxyType(
    {"JPEG": decode_jpeg, **pillow.READERS}
)
"""Format → function of (bytes, background, shortest): all that visum can read."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture.

    Attributes:
        pixels: uint8 ``[H, W, 3]`` RGB, upright, contiguous, read-only.
        format: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC.
        width, height: of the upright original, before any DCT scaling.
        notes: every alteration in plain words, e.g. ``rotated by EXIF orientation 6``.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    notes: tuple[str, ...]


def decode(
    source: bytes | str | os.PathLike[str],
    *,
    background: tuple[int, int, int] = (127, 127, 127),
    shortest: int | None = None,
    extra_formats: Collection[str] = (),
) -> Decoded:
    """Decode one file.

    The first frame is taken of an animation. 16-bit samples keep their high byte. Grey, palette and CMYK become RGB. ICC
    profiles are not applied; a note says so where one does not call itself sRGB. EXIF orientation is applied in every format.

    Args:
        source: the bytes of a file, or its path (links are followed; pipes, sockets and devices are refused unread).
        background: RGB, 0 to 255, under transparent pixels.
        shortest: pixels on the shorter side that the caller will shrink to; a JPEG may then be decoded at 1/2, 1/4 or 1/8
            scale as long as the shorter side keeps at least twice as many. None: full size.
        extra_formats: of ``EXTRA_FORMATS``, those to be read besides ``FORMATS``.

    Raises:
        UnreadableImage: not a picture, a format that is off, truncated, damaged, or beyond the limits in ``limits``.
        UsageError: an argument other than ``source`` is impossible.
    """
    _check_arguments(background, shortest, extra_formats)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(bytes(source), background, shortest, extra_formats)
    data = read_bytes(source)
    try:
        return _decode(data, background, shortest, extra_formats)
    except UnreadableImage as error:
        name = printable(os.fspath(source))
        raise UnreadableImage(error.reason, path=name, allowed=error.allowed, next=error.next) from error


def _decode(
    data: bytes, background: tuple[int, int, int], shortest: int | None, extra_formats: Collection[str]
) -> Decoded:
    if len(data) > limits.MAX_BYTES:
        raise UnreadableImage(
            f"too large: {len(data) / 2**20:,.0f} MB",
            allowed=f"files of at most {limits.MAX_BYTES // 2**20} MB",
            next="a smaller copy of the picture",
        )
    kind = _kind(data, extra_formats)
    raw = READERS[kind](data, background, shortest)
    pixels, notes = upright(raw.pixels, raw.turn), raw.notes
    pixels.flags.writeable = False
    if raw.turn > 1:
        notes = (turned(raw.turn), *notes)
    width, height = (raw.height, raw.width) if raw.turn >= 5 else (raw.width, raw.height)
    return Decoded(pixels, kind, width, height, notes)


def _kind(data: bytes, extra_formats: Collection[str]) -> str:
    """The sniffed format, if it may be read."""
    kind = sniff(data[:HEAD])
    if kind in FORMATS or (kind in EXTRA_FORMATS and kind in extra_formats):
        return str(kind)
    allowed = ", ".join((*FORMATS, *(name for name in EXTRA_FORMATS if name in extra_formats)))
    if kind in EXTRA_FORMATS:
        reason = f"{kind} is off without --extra-formats {kind}"
        raise UnreadableImage(reason, allowed=allowed, next=f'--extra-formats {kind}, or extra_formats = ["{kind}"]')
    reason = f"not a picture that is read: {KINDS[kind]}" if kind else "not a picture: unknown bytes"
    raise UnreadableImage(
        reason if data else "empty file",
        allowed=allowed,
        next="the picture saved in one of these formats, or the file left out",
    )


def _check_arguments(background: tuple[int, int, int], shortest: int | None, extra_formats: Collection[str]) -> None:
    if len(background) != 3 or not all(0 <= part <= 255 for part in background):
        raise UsageError(f"background {background!r}", allowed="three numbers from 0 to 255", next="(127, 127, 127)")
    if shortest is not None and shortest < 1:
        raise UsageError(f"shortest {shortest!r}", allowed="1 or more pixels, or None", next="224")
    if isinstance(extra_formats, str) or not set(extra_formats) <= set(EXTRA_FORMATS):
        raise UsageError(
            f"extra_formats {extra_formats!r}", allowed=f"a list of {', '.join(EXTRA_FORMATS)}", next='("TIFF",)'
        )
