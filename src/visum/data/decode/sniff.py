"""What a file is, told from its first bytes; its name is never asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

HEAD = 1024
"""Bytes that ``sniff`` needs at most."""

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP")
"""Formats that are read unless told otherwise."""

EXTRA_FORMATS = ("TIFF", "AVIF", "HEIC")
"""Formats that are read when named in ``extra_formats``; HEIC also needs the package pillow-heif."""

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "SVG": "an SVG drawing",
        "PDF": "a PDF document",
        "EPS": "an EPS or PostScript document",
        "PSD": "a Photoshop document",
        "JPEG 2000": "a JPEG 2000 image",
        "JPEG XL": "a JPEG XL image",
        "ICO": "an icon file",
        "PNM": "a PNM image",
        "EXR": "an OpenEXR image",
        "HDR": "a Radiance HDR image",
        "DDS": "a DirectDraw surface",
        "QOI": "a QOI image",
        "DICOM": "a DICOM file",
        "video": "a video",
        "audio": "an audio file",
        "HTML": "an HTML page",
        "XML": "an XML document",
        "JSON": "a JSON document",
        "text": "text",
        "ZIP": "a ZIP archive or an office document",
        "archive": "a compressed archive",
        "HDF5": "an HDF5 file",
        "NumPy": "a NumPy array",
        "program": "a program",
    }
)
"""What a refused file is called in messages, by its sniffed name."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "ICO"),
    (b"\x76\x2f\x31\x01", "EXR"),
    (b"#?RADIANCE", "HDR"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"OggS", "video"),
    (b"ID3", "audio"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"(\xb5/\xfd", "archive"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x7fELF", "program"),
)
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))
_PNM = re.compile(rb"P[1-7]\s")
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script|title)\b", re.IGNORECASE | re.DOTALL
)


def sniff(head: bytes) -> str | None:
    """Name the format of a file from its first bytes.

    Args:
        head: the first ``HEAD`` bytes or more (fewer if the file is shorter).

    Returns:
        A name from ``FORMATS``, ``EXTRA_FORMATS`` or ``KINDS``; None if the bytes are of no known kind.
    """
    head = bytes(head[:HEAD])
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"AVI ": "video", b"WAVE": "audio"}.get(head[8:12])
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _isobmff(head)
    if head[128:132] == b"DICM":
        return "DICOM"
    return _written(head)


def _isobmff(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    brands = {head[at : at + 4] for at in (8, *range(16, min(size, len(head)) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
        return "HEIC"
    return "video"


def _written(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(text):
        return "HTML"
    if text.lstrip().startswith(b"<"):
        return "SVG" if _SVG.search(text) else "XML"
    if _PNM.match(text):
        return "PNM"
    if not text or b"\x00" in text:
        return None
    try:
        words = text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(text) - 3 or len(text) < HEAD - 3:
            return None
        words = text[: error.start].decode("utf-8")
    if not all(character.isprintable() or character.isspace() for character in words):
        return None
    return "JSON" if words.lstrip()[:1] in ("{", "[") else "text"
