"""Odd files, made fresh from a real photo: what cameras, web pages, half downloads and attackers leave in image folders."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Odd:
    """One odd file.

    Attributes:
        name: unique and short; not the file's name.
        path: where it was written.
        readable: whether it is read with default settings.
        why: what must stand in the notes if it is readable, in the reason if it is not; "" if there is nothing to say.
    """

    name: str
    path: Path
    readable: bool
    why: str


def photo(width: int = 96, height: int = 64) -> Image.Image:
    """A real photo (scikit-image's cat), RGB, reduced to this size."""
    from skimage import data

    return Image.fromarray(np.asarray(data.chelsea())).resize((width, height), Image.Resampling.LANCZOS)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture in one of Pillow's formats."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with its CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 0, rows: bytes | None = None) -> bytes:
    """A PNG from its parts; ``extra`` chunks come behind the header, ``rows`` are filter bytes and samples."""
    pixels = rows if rows is not None else bytes((width * depth * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8 + 1) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")))


def huge_png(side: int = 50_000) -> bytes:
    """About 1 MB that claims side x side pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**9 // 4), 9) * 4) + chunk(b"IEND", b"")


def many_scans(scans: int = 5000, size: tuple[int, int] = (96, 64)) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved(photo(*size), "JPEG", progressive=True, quality=50)
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[last:end] * scans + data[end:]


def exif(orientation: int) -> bytes:
    """EXIF bytes that hold one orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def cmyk(image: Image.Image) -> NDArray[np.uint8]:
    """Inks uint8 ``[H, W, 4]`` of an RGB picture with a black plate (Pillow's own conversion has none)."""
    inks = 255 - np.asarray(image).astype(np.int64)
    black = inks.min(axis=2, keepdims=True) // 2
    colours = (inks - black) * 255 // np.maximum(255 - black, 1)
    return np.concatenate([colours, black], axis=2).clip(0, 255).astype(np.uint8)


def cmyk_jpegs(inks: NDArray[np.uint8]) -> dict[str, bytes]:
    """The same inks as JPEG in the three ways that are met: plain, inverted as Adobe does, and YCCK."""
    import simplejpeg

    def stored(planes: NDArray[np.uint8]) -> bytes:  # Pillow inverts when it saves
        size = (planes.shape[1], planes.shape[0])
        return saved(Image.frombytes("CMYK", size, (255 - planes).tobytes()), "JPEG", quality=100, subsampling=0)

    plain = stored(inks)
    at = plain.index(b"\xff\xee\x00\x0eAdobe")
    ycck: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(255 - inks), 100, "CMYK", "444")
    assert ycck[ycck.index(b"Adobe") + 11] == 2  # the transform flag: YCCK
    return {"plain": plain[:at] + plain[at + 16 :], "inverted": stored(255 - inks), "ycck": ycck}


def _two(kind: str, **options: Any) -> bytes:
    first, second = photo(), photo().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return saved(first, kind, save_all=True, append_images=[second], **options)


def _alpha() -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _half(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def _files() -> dict[str, tuple[str, Callable[[], bytes], bool, str]]:
    """Name → (file name, maker of its bytes, readable, why)."""
    jpeg, bmp = saved(photo(), "JPEG"), saved(photo(), "BMP")
    deep = Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 10)
    body = saved(photo(), "PNG")
    grey_float = Image.fromarray(np.asarray(photo().convert("L"), np.float32))
    ramp = photo().quantize(32)
    inks = cmyk_jpegs(cmyk(photo()))
    bomb = zlib.compress(bytes(50 * 2**20), 9)
    profile = b"icc\x00\x00" + bomb
    return {
        "plain jpeg": ("plain.jpg", lambda: jpeg, True, ""),
        "no extension": ("plain", lambda: jpeg, True, ""),
        "png named jpg": ("really_png.jpg", lambda: body, True, ""),
        "space and emoji": ("a cat \U0001f431.jpg", lambda: jpeg, True, ""),
        "newline in name": ("two\nlines.jpg", lambda: jpeg, True, ""),
        "leading dash": ("-rf.jpg", lambda: jpeg, True, ""),
        "markup in name": ("<img src=x onerror=alert(1)>.jpg", lambda: jpeg, True, ""),
        "undecodable name": (os.fsdecode(b"caf\xe9.jpg"), lambda: jpeg, True, ""),
        "formula name": ("=1+1.jpg", lambda: jpeg, True, ""),
        "grey jpeg": ("grey.jpg", lambda: saved(photo().convert("L"), "JPEG"), True, ""),
        "progressive jpeg": ("progressive.jpg", lambda: saved(photo(), "JPEG", progressive=True), True, ""),
        "cmyk jpeg": ("cmyk.jpg", lambda: inks["plain"], True, "CMYK converted"),
        "adobe cmyk jpeg": ("adobe.jpg", lambda: inks["inverted"], True, "CMYK converted"),
        "ycck jpeg": ("ycck.jpg", lambda: inks["ycck"], True, "CMYK converted"),
        "turned jpeg": ("turned.jpg", lambda: saved(photo(), "JPEG", exif=exif(6)), True, "orientation 6"),
        "turned png": ("turned.png", lambda: saved(photo(), "PNG", exif=exif(8)), True, "orientation 8"),
        "trailing bytes": ("motion.jpg", lambda: jpeg + b"trailer \xff\xda\xff\xd9" * 500, True, ""),
        "stray bytes": ("stray.jpg", lambda: jpeg[:-2] + bytes(20) + jpeg[-2:], True, "stray bytes"),
        "two pictures": ("stereo.jpg", lambda: _two("MPO"), True, "first of 2 pictures"),
        "display p3": (
            "p3.jpg",
            lambda: saved(photo(), "JPEG", icc_profile=b"Display P3"),
            True,
            "profile not applied",
        ),
        "16-bit png": ("deep.png", lambda: saved(deep, "PNG"), True, "16-bit grey"),
        "palette": ("palette.png", lambda: saved(ramp, "PNG"), True, ""),
        "clear palette": ("clear.png", lambda: saved(ramp, "PNG", transparency=3), True, "on background"),
        "rgba": ("alpha.png", lambda: saved(_alpha(), "PNG"), True, "on background"),
        "grey alpha": ("la.png", lambda: saved(_alpha().convert("LA"), "PNG"), True, "on background"),
        "black and white": ("bw.png", lambda: saved(photo().convert("1"), "PNG"), True, ""),
        "animated gif": ("two.gif", lambda: _two("GIF"), True, "first of 2 frames"),
        "animated webp": ("two.webp", lambda: _two("WEBP"), True, "first of 2 frames"),
        "animated png": ("two.png", lambda: _two("PNG"), True, "first of 2 frames"),
        "webp": ("plain.webp", lambda: saved(photo(), "WEBP"), True, ""),
        "bmp": ("plain.bmp", lambda: bmp, True, ""),
        "one pixel": ("one.png", lambda: png(1, 1), True, ""),
        "text bomb": ("text.png", lambda: png(8, 8, chunk(b"zTXt", b"x\x00\x00" + bomb)), True, ""),
        "profile bomb": ("icc.png", lambda: png(8, 8, chunk(b"iCCP", profile)), True, "profile not applied"),
        "empty": ("empty.jpg", lambda: b"", False, "empty"),
        "one byte": ("one.jpg", lambda: b"\xff", False, "not a picture"),
        "text": ("text.jpg", lambda: b"a cat\n" * 50, False, "text"),
        "html": ("page.jpg", lambda: b"<!DOCTYPE html><html><p>404</p></html>", False, "HTML"),
        "svg": ("drawing.svg", lambda: b'<?xml version="1.0"?><svg xmlns="x"/>', False, "SVG"),
        "pdf": ("page.pdf", lambda: b"%PDF-1.7\n1 0 obj", False, "PDF"),
        "eps": ("page.eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0", False, "EPS"),
        "psd": ("layers.psd", lambda: b"8BPS\x00\x01" + bytes(40), False, "Photoshop"),
        "zip": ("archive.jpg", lambda: b"PK\x03\x04" + bytes(40), False, "ZIP"),
        "tiff": ("plain.tif", lambda: saved(photo(), "TIFF"), False, "TIFF is off"),
        "float tiff": ("float.tif", lambda: saved(grey_float, "TIFF"), False, "TIFF is off"),
        "avif": ("plain.avif", lambda: saved(photo(), "AVIF"), False, "AVIF is off"),
        "jpeg 10 %": ("cut10.jpg", lambda: _half(jpeg, 0.1), False, "truncated"),
        "jpeg 50 %": ("cut50.jpg", lambda: _half(jpeg, 0.5), False, "truncated"),
        "jpeg 99 %": ("cut99.jpg", lambda: _half(jpeg, 0.99), False, "truncated"),
        "jpeg last byte": ("cut_last.jpg", lambda: jpeg[:-1], False, "truncated"),
        "png 50 %": ("cut50.png", lambda: _half(body, 0.5), False, "truncated"),
        "bmp last byte": ("cut_last.bmp", lambda: bmp[:-1], False, "truncated"),
        "bad checksum": ("crc.png", lambda: body[:-1] + bytes([body[-1] ^ 1]), False, "damaged"),
        "huge png": ("huge.png", huge_png, False, "too large"),
        "thin png": ("thin.png", lambda: png(1, 100_000), False, "too thin"),
        "thousands of scans": ("scans.jpg", many_scans, False, "too many scans"),
    }


def make(folder: Path) -> list[Odd]:
    """Write the corpus (over 50 regular files) into a folder, created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (file, maker, readable, why) in _files().items():
        path = folder / file
        path.write_bytes(maker())
        made.append(Odd(name, path, readable, why))
    return made


def make_special(folder: Path) -> list[Odd]:
    """Write what is not a regular file: reading these without care blocks or fails. None is readable."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe, inner, loop, nowhere = (folder / name for name in ("pipe.jpg", "folder.jpg", "loop.jpg", "nowhere.jpg"))
    os.mkfifo(pipe)
    inner.mkdir()
    loop.symlink_to(loop)
    nowhere.symlink_to(folder / "missing.jpg")
    return [
        Odd("named pipe", pipe, False, "named pipe"),
        Odd("folder", inner, False, "folder"),
        Odd("link to itself", loop, False, "symbolic links"),
        Odd("dangling link", nowhere, False, "no such file"),
    ]
