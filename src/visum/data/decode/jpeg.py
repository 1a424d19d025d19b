"""JPEG (ITU-T T.81): a look at the markers before the first scan, then libjpeg-turbo through simplejpeg.

simplejpeg releases the interpreter lock and, unlike Pillow, reports what libjpeg only warns of: missing ends and corrupt
entropy data are refused here instead of being filled with grey.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import numpy as np

from visum.data.decode import limits
from visum.data.decode.exif import orientation, tag
from visum.data.decode.raw import Raw
from visum.errors import UnreadableImage
from visum.types import Pixels

_MARKER = re.compile(rb"\xff+([^\xff\x00])")
_SCAN = re.compile(rb"\xff\xda")  # faster than bytes.count, which is slow where 0xff is frequent
_SCAN_MARKER = re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xCD, 0xCE))
_MAX_SEGMENTS = 10_000
_NUMBER_OF_IMAGES = 0xB001  # CIPA DC-007 (multi-picture format), tag of the index directory

# Refused by simplejpeg although pixels do not suffer: header fields that are of no consequence, rare chroma subsamplings.
# Pillow reads these, blind to damage within the scans, so that only the end marker tells whether the file is whole.
_LENIENT = ("unknown JFIF revision", "Unknown Adobe color transform", "Invalid SOS parameters", "subsampling level")


@dataclass(frozen=True)
class Header:
    """What the markers before the first scan say.

    Attributes:
        width, height: pixels as stored.
        components: 1 grey, 3 colour, 4 CMYK or YCCK.
        adobe: True if an Adobe marker is there, which means that CMYK is stored inverted.
        turn: EXIF orientation, 1 to 8.
        profile: True if there is an ICC profile that does not call itself sRGB.
        pictures: pictures in the file (multi-picture format), usually 1.
        scan: offset just behind the first start-of-scan marker.
    """

    width: int
    height: int
    components: int
    adobe: bool
    turn: int
    profile: bool
    pictures: int
    scan: int


def read_header(data: bytes) -> Header:
    """Walk the marker segments up to the first scan, exactly as libjpeg does.

    Raises:
        UnreadableImage: cut short, malformed, or a flavour of JPEG that is not read.
    """
    frame: tuple[int, int, int] | None = None
    adobe, turn, icc, srgb, pictures, at = False, 0, False, False, 1, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or found.end() + 2 > len(data):
            raise limits.truncated("JPEG", "it ends within its header")
        marker, at = data[found.end() - 1], found.end()
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if marker in (0xD8, 0xD9):
            raise limits.damaged("JPEG", "no picture before its end marker")
        if marker == 0xDA:
            if frame is None:
                raise limits.damaged("JPEG", "a scan before the frame header")
            height, width, components = frame
            return Header(width, height, components, adobe, turn or 1, icc and not srgb, pictures, at)
        (length,) = struct.unpack_from(">H", data, at)
        if at + length > len(data):
            raise limits.truncated("JPEG", "it ends within its header")
        if length < 2:
            raise limits.damaged("JPEG", "a segment of impossible length")
        if marker in _FRAMES:
            frame = _frame(marker, data[at + 2 : at + length])
        elif marker == 0xE1 and not turn and data[at + 2 : at + 8] == b"Exif\x00\x00":
            turn = orientation(data[at + 8 : at + length])
        elif marker == 0xE2 and data[at + 2 : at + 13] == b"ICC_PROFILE":
            icc, srgb = True, srgb or names_srgb(data[at + 16 : at + length])
        elif marker == 0xE2 and data[at + 2 : at + 6] == b"MPF\x00":
            pictures = tag(data[at + 6 : at + length], _NUMBER_OF_IMAGES) or 1
        elif marker == 0xEE and data[at + 2 : at + 7] == b"Adobe" and length >= 14:
            adobe = True
        at += length
    raise limits.damaged("JPEG", f"more than {_MAX_SEGMENTS:,} header segments")


def names_srgb(profile: bytes) -> bool:
    """Whether an ICC profile (or a part of one) describes itself as sRGB, in ASCII or UTF-16."""
    return b"sRGB" in profile or b"s\x00R\x00G\x00B" in profile


def _frame(marker: int, body: bytes) -> tuple[int, int, int]:
    if len(body) < 6:
        raise limits.damaged("JPEG", "a frame header of impossible length")
    precision, height, width, components = struct.unpack_from(">BHHB", body)
    if marker in _LOSSLESS or marker in _HIERARCHICAL:
        raise limits.unsupported("JPEG", "lossless" if marker in _LOSSLESS else "hierarchical")
    if precision != 8:
        raise limits.unsupported("JPEG", f"{precision} bits a sample")
    if components not in (1, 3, 4):
        raise limits.unsupported("JPEG", f"{components} colour components")
    return height, width, components


def count_scans(data: bytes, start: int) -> int:
    """Scans from the one whose start marker ends at ``start`` up to the end marker; counting stops above ``MAX_SCANS``.

    Entropy-coded data never holds a marker's two bytes, so that counting these gives an upper bound. Only a suspicious one
    is checked marker by marker, which costs more: other files may follow the end of this one.
    """
    bound = 1 + sum(1 for _ in islice(_SCAN.finditer(data, start), limits.MAX_SCANS))
    if bound <= limits.MAX_SCANS:
        return bound
    scans = 1
    for marker in _markers(data, start):
        scans += marker == 0xDA
        if scans > limits.MAX_SCANS:
            break
    return scans


def _markers(data: bytes, start: int) -> Iterator[int]:
    """Markers behind the first scan's start, restarts left out, up to and with the end marker."""
    at = start
    for _ in range(_MAX_SEGMENTS):
        found = _SCAN_MARKER.search(data, at)
        if found is None:
            return
        marker, at = data[found.end() - 1], found.end()
        yield marker
        if marker == 0xD9:
            return
        at += int.from_bytes(data[at : at + 2], "big")
    raise limits.damaged("JPEG", f"more than {_MAX_SEGMENTS:,} segments between scans")


def _has_end(data: bytes, start: int) -> bool:
    return 0xD9 in _markers(data, start)


def dct_scale(width: int, height: int, shortest: int | None) -> int:
    """Denominator of the DCT scale (1, 2, 4 or 8) that leaves at least ``2 * shortest`` pixels on the shorter side."""
    if shortest is None:
        return 1
    return next((d for d in (8, 4, 2) if -(-min(width, height) // d) >= 2 * shortest), 1)


def decode_jpeg(data: bytes, background: tuple[int, int, int], shortest: int | None) -> Raw:
    """Decode one JPEG: grey and CMYK become RGB, ``shortest`` allows a DCT scale.

    Args:
        data: the whole file; bytes behind the end marker are ignored.
        background: not used, a JPEG has no transparency.
        shortest: see ``decode``.

    Raises:
        UnreadableImage: truncated, damaged, too large, too many scans, or an unsupported flavour.
    """
    head = read_header(data)
    limits.check_size("JPEG", head.width, head.height)
    scans = count_scans(data, head.scan)
    if scans > limits.MAX_SCANS or scans * head.width * head.height > limits.MAX_SCAN_PIXELS:
        raise UnreadableImage(
            f"too many scans: {'over ' if scans > limits.MAX_SCANS else ''}{min(scans, limits.MAX_SCANS)} in one JPEG",
            allowed=f"at most {limits.MAX_SCANS} scans, and {limits.MAX_SCAN_PIXELS // 10**9} billion pixels over all of them",
            next="the picture saved again as an ordinary JPEG",
        )
    pixels, notes = _samples(data, head, dct_scale(head.width, head.height, shortest))
    if head.pictures > 1:
        notes.append(f"first of {head.pictures} pictures in the file")
    if head.components == 4:
        pixels = _from_cmyk(pixels, inverted=head.adobe)
        notes.append("CMYK converted")
    if head.profile:
        notes.append("colour profile not applied")
    return Raw(pixels, head.width, head.height, head.turn, tuple(notes))


def _samples(data: bytes, head: Header, scale: int) -> tuple[Pixels, list[str]]:
    """Samples uint8 ``[h, w, 3 or 4]``, RGB or CMYK as stored, and notes on how they were read."""
    import simplejpeg

    size = (-(-head.height // scale), -(-head.width // scale))
    space = "CMYK" if head.components == 4 else "RGB"
    wanted = {"min_height": size[0], "min_width": size[1]} if scale > 1 else {}
    notes = [f"decoded at 1/{scale} scale"] if scale > 1 else []
    try:
        try:
            pixels = simplejpeg.decode_jpeg(data, space, **wanted)
        except ValueError as error:
            if "extraneous bytes before marker 0xd9" in str(error):
                # libjpeg words its first warning only; what stands before the end marker is met last, so the rest is sound
                pixels = simplejpeg.decode_jpeg(data, space, strict=False, **wanted)
                notes.append("stray bytes before the end marker skipped")
            elif any(words in str(error) for words in _LENIENT) and _has_end(data, head.scan):
                pixels, size = _by_pillow(data), (head.height, head.width)
                notes = ["odd header fields ignored"]
            else:
                raise
    except Exception as error:  # a decoder that is fed hostile bytes may raise anything
        if "Premature end" in str(error) or "truncated" in str(error) or not _has_end(data, head.scan):
            raise limits.truncated("JPEG") from error
        raise limits.damaged("JPEG", str(error)) from error
    if pixels.shape[:2] != size:
        raise limits.damaged("JPEG", "its frame headers contradict each other")
    return np.asarray(pixels, np.uint8), notes


def _by_pillow(data: bytes) -> Pixels:
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
        # the plugin inverts every CMYK, with or without Adobe's marker; this is what the file holds
        return 255 - np.asarray(image) if image.mode == "CMYK" else np.asarray(image.convert("RGB"))


def _from_cmyk(samples: Pixels, inverted: bool) -> Pixels:
    """uint8 ``[H, W, 4]`` → RGB ``[H, W, 3]`` as paper minus inks, rounded as Pillow does; no ICC profile is applied."""
    from PIL import Image

    inks = np.ascontiguousarray(255 - samples if inverted else samples)
    size = (inks.shape[1], inks.shape[0])
    return np.asarray(Image.frombuffer("CMYK", size, inks, "raw", "CMYK", 0, 1).convert("RGB"))
