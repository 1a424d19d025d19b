"""PNG, GIF, WebP, BMP and TIFF: a walk over their chunks before Pillow sees a byte.

The walk finds the size, the missing end, the number of frames and the orientation, and hands on only the bytes that the
first picture's pixels need: text, profiles and later frames, the usual places of decompression bombs, are left behind.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from visum.data.decode import limits
from visum.data.decode.exif import orientation
from visum.data.decode.jpeg import names_srgb

Box = tuple[int, int, int, int]
_MAX_PAGES = 1000


@dataclass(frozen=True)
class Plan:
    """What is known of a file before its pixels.

    Attributes:
        data: the bytes that Pillow is given.
        turn: EXIF orientation, 1 to 8.
        notes: what is left behind.
        key: the one transparent sample value (grey or RGB, on the scale of the decoded samples), if any.
        box: left, top, right, bottom of the first frame where it covers a part of the canvas only.
    """

    data: bytes
    turn: int = 1
    notes: tuple[str, ...] = ()
    key: tuple[int, ...] | None = None
    box: Box | None = None


def plan_png(data: bytes) -> Plan:
    """PNG and APNG (W3C PNG, third edition): every chunk's length and CRC are checked, five kinds are kept."""
    end, at, kept = len(data), 8, [data[:8]]
    depth = colour = 0
    key: tuple[int, ...] | None = None
    turn, frames, notes, closed = 1, 1, [], False
    view = memoryview(data)
    for part in range(limits.MAX_PARTS):
        if at + 12 > end:
            raise limits.truncated("PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + length
        if stop > end:
            raise limits.truncated("PNG", f"{end - at - 8:,} of {length:,} bytes of a chunk" if length < 2**31 else "")
        if zlib.crc32(view[at + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop], "big"):
            raise limits.damaged("PNG", f"wrong checksum of chunk {kind.decode('latin-1')}")
        body = view[at + 8 : stop - 4]
        if (part == 0) != (kind == b"IHDR"):
            raise limits.damaged("PNG", "its header chunk is not first, or not alone")
        if kind == b"IHDR":
            if length != 13:
                raise limits.damaged("PNG", "a header of impossible length")
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            limits.check_size("PNG", width, height)
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (kind == b"tRNS" and colour == 3):
            kept.append(data[at:stop])
        elif kind == b"tRNS" and colour in (0, 2) and length >= (2 if colour == 0 else 6):
            key = _png_key(struct.unpack_from(">H" if colour == 0 else ">3H", body), depth, colour)
        elif kind == b"eXIf":
            turn = orientation(bytes(body))
        elif kind == b"acTL" and length >= 4:
            (frames,) = struct.unpack_from(">I", body)
        elif kind == b"iCCP" and not _png_srgb(bytes(body[: 2**20])):
            notes.append("colour profile not applied")
        at = stop
        if kind == b"IEND":
            closed = True
            break
    if not closed:
        raise limits.damaged("PNG", f"more than {limits.MAX_PARTS:,} chunks")
    if frames > 1:
        notes.append(f"first of {frames} frames")
    if depth == 16 and colour:
        notes.append("16-bit samples scaled to 8 bits")
    return Plan(b"".join(kept), turn, tuple(notes), key)


def _png_key(values: tuple[int, ...], depth: int, colour: int) -> tuple[int, ...]:
    """The transparent sample on the scale that Pillow decodes to; 16-bit colour is compared by its high bytes."""
    if colour == 2:
        return tuple(value >> 8 for value in values) if depth == 16 else values
    return values if depth in (8, 16) else tuple(value * 255 // (2**depth - 1) for value in values if depth)


def _png_srgb(body: bytes) -> bool:
    name, _, packed = body.partition(b"\x00")
    if b"sRGB" in name:
        return True
    try:
        return names_srgb(zlib.decompressobj().decompress(packed[1:], 2**16))  # bounded: a bomb unpacks to 64 kB
    except zlib.error:
        return False


def plan_gif(data: bytes) -> Plan:
    """GIF (89a specification): all blocks are walked to the trailer, only those of the first frame are kept."""
    end = len(data)
    if end < 13:
        raise limits.truncated("GIF")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames, first, parts = 0, 0, 0
    box = (0, 0, width, height)
    while True:
        if at >= end:
            raise limits.truncated("GIF", f"no end after {frames} {'frame' if frames == 1 else 'frames'}")
        kind = data[at]
        if kind == 0x3B:
            break
        if kind == 0x2C and at + 10 <= end:
            left, top, wide, high, flags = struct.unpack_from("<4HB", data, at + 1)
            if not frames:
                width, height = max(width, left + wide), max(height, top + high)
                limits.check_size("GIF", width, height)
                box = (left, top, left + wide, top + high)
            frames += 1
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        elif kind == 0x2C:
            raise limits.truncated("GIF")
        elif kind == 0:  # stray terminators between blocks are harmless and not rare
            at, parts = at + 1, parts + 1
            continue
        else:
            raise limits.damaged("GIF", f"unknown block 0x{kind:02x}")
        while at < end and data[at]:
            at += data[at] + 1
            parts += 1
        at += 1
        parts += 1
        if parts > limits.MAX_PARTS:
            raise limits.damaged("GIF", f"more than {limits.MAX_PARTS:,} blocks")
        first = first or (at if frames else 0)
    if not frames:
        raise limits.damaged("GIF", "no picture in it")
    notes = (f"first of {frames} frames",) if frames > 1 else ()
    return Plan(data[:first] + b";", notes=notes, box=None if box == (0, 0, width, height) else box)


def plan_webp(data: bytes) -> Plan:
    """WebP (RFC 9649): the length in the RIFF header tells whether the end is there."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 30:
        raise (
            limits.truncated("WebP", f"{len(data):,} of {end:,} bytes") if end > 30 else limits.damaged("WebP", "empty")
        )
    limits.check_size("WebP", *_webp_size(data))
    at, frames, turn, notes = 12, 0, 1, []
    for _ in range(limits.MAX_PARTS):
        if at + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if body + length > end:
            raise limits.truncated("WebP", "a chunk runs past the end")
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            turn = orientation(data[body : body + length])
        elif kind == b"ICCP" and not names_srgb(data[body : body + length]):
            notes.append("colour profile not applied")
        at = body + length + (length & 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    return Plan(data[:end], turn, tuple(notes))


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise limits.damaged("WebP", "no picture in it")


def plan_bmp(data: bytes) -> Plan:
    """BMP (Windows and OS/2 headers): the size of the pixel array follows from the header."""
    if len(data) < 54 and (len(data) < 26 or data[14] != 12):
        raise limits.truncated("BMP")
    (offset, header) = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<4H", data, 18)
        packing = stored = 0
    else:
        width, height, _, bits, packing, stored = struct.unpack_from("<iiHHII", data, 18)
    limits.check_size("BMP", width, abs(height))
    if packing in (1, 2):
        if width * abs(height) > limits.MAX_RLE_PIXELS or len(data) > limits.MAX_RLE_BYTES:
            raise limits.unsupported(
                "BMP", f"run lengths over more than {limits.MAX_RLE_PIXELS // 10**6} million pixels"
            )
        needed = stored
    else:
        needed = (width * bits + 31) // 32 * 4 * abs(height)
    if offset + needed > len(data):
        raise limits.truncated("BMP", f"{max(0, len(data) - offset):,} of {needed:,} bytes of pixels")
    return Plan(data)


def plan_tiff(data: bytes) -> Plan:
    """TIFF 6.0 and BigTIFF: size, orientation and number of pages, from the directories alone."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    link, counter, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    found: dict[int, int] = {}
    pages, seen = 0, set()
    try:
        (at,) = struct.unpack_from(link, data, 8 if big else 4)
        while at and at not in seen and pages < _MAX_PAGES:
            seen.add(at)
            (entries,) = struct.unpack_from(counter, data, at)
            start = at + struct.calcsize(counter)
            (following,) = struct.unpack_from(link, data, start + entries * entry)
            for position in range(start, start + entries * entry, entry) if not pages else ():
                number, kind, count = struct.unpack_from(f"{order}HH{link[1]}", data, position)
                if count > limits.MAX_PARTS and kind not in (1, 2, 6, 7):
                    raise limits.damaged("TIFF", f"{count:,} values in tag {number}")
                if count == 1 and kind in (3, 4):
                    (found[number],) = struct.unpack_from(
                        f"{order}{'H' if kind == 3 else 'I'}", data, position + entry - (8 if big else 4)
                    )
            pages, at = pages + 1, following
    except struct.error as error:
        raise limits.truncated("TIFF", "a directory runs past the end") from error
    limits.check_size("TIFF", found.get(256, 0), found.get(257, 0))
    turn = found.get(274, 1)
    notes = (f"first of {pages} pages",) if pages > 1 else ()
    return Plan(data, turn if 1 <= turn <= 8 else 1, notes)
