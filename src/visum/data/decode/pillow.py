"""All formats but JPEG: a plan from ``containers``, pixels from Pillow's plugin for that one format.

The plugin's class is called directly instead of ``Image.open``: no other plugin gets to see the bytes, and no warning about
large pictures is issued (``limits`` has decided before).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from types import MappingProxyType

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from visum.data.decode import limits
from visum.data.decode.containers import Plan, plan_bmp, plan_gif, plan_png, plan_tiff, plan_webp
from visum.data.decode.exif import orientation, turned
from visum.data.decode.jpeg import names_srgb
from visum.data.decode.raw import Raw
from visum.errors import UnreadableImage
from visum.types import Pixels

Colour = tuple[int, int, int]
_WARNINGS = threading.Lock()


def decode_png(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """PNG, or the still picture of an APNG."""
    return _read("PNG", PngImagePlugin.PngImageFile, plan_png(data), background)


def decode_gif(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """The first frame of a GIF on its canvas."""
    return _read("GIF", GifImagePlugin.GifImageFile, plan_gif(data), background)


def decode_webp(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """WebP, or the first frame of an animated one."""
    return _read("WebP", WebPImagePlugin.WebPImageFile, plan_webp(data), background)


def decode_bmp(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """BMP; the fourth byte of uncompressed 32-bit pixels is padding, not alpha."""
    return _read("BMP", BmpImagePlugin.BmpImageFile, plan_bmp(data), background)


def decode_tiff(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """The first page of a TIFF; floating-point and 32-bit samples are refused, since their range is unknown."""
    plan = plan_tiff(data)
    if plan.turn > 1:  # the plugin turns the pixels itself
        plan = replace(plan, turn=1, notes=(turned(plan.turn), *plan.notes))
    # The plugin warns of odd tags. Filters belong to the whole process, hence the lock; only TIFF needs it.
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read("TIFF", TiffImagePlugin.TiffImageFile, plan, background)


def decode_avif(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """AVIF, or the first frame of a sequence; libavif's turn and mirror properties win over EXIF."""
    return _read("AVIF", AvifImagePlugin.AvifImageFile, Plan(data, notes=_isobmff_bits(data)), background)


def decode_heic(data: bytes, background: Colour, shortest: int | None) -> Raw:
    """HEIC through pillow-heif; libheif has already applied the turn."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnreadableImage(
            "HEIC without the package pillow-heif",
            allowed="HEIC where pillow-heif is installed",
            next="pip install 'visum[heic]'",
        ) from error
    return _read("HEIC", HeifImageFile, Plan(data, notes=_isobmff_bits(data)), background)


def _isobmff_bits(data: bytes) -> tuple[str, ...]:
    """A note if the pixi property (ISO/IEC 23008-12, 6.5.6) tells of more than 8 bits a sample."""
    at = data.find(b"pixi", 0, 2**16)
    bits = data[at + 9] if 0 <= at < len(data) - 9 else 8
    return (f"{bits}-bit samples scaled to 8 bits",) if 8 < bits <= 16 else ()


def _read(kind: str, plugin: Callable[[BytesIO], ImageFile.ImageFile], plan: Plan, background: Colour) -> Raw:
    try:
        with plugin(BytesIO(plan.data)) as image:
            limits.check_size(kind, *image.size)
            image.load()
            notes = (*plan.notes, *_facts(kind, image))
            turn = orientation(image.info.get("exif") or b"") if kind == "AVIF" else plan.turn
            pixels, changed = flatten(image, background, plan.key)
            if plan.box is not None:
                pixels = _on_canvas(pixels, plan.box, background)
                changed = (*changed, f"first frame covers a part, the rest is background {_words(background)}")
            return Raw(pixels, *image.size, turn, (*notes, *changed))
    except UnreadableImage:
        raise
    except Exception as error:  # a decoder that is fed hostile bytes may raise anything
        if "truncated" in str(error) or isinstance(error, EOFError):
            raise limits.truncated(kind) from error
        raise limits.damaged(kind, str(error) or type(error).__name__) from error


def _facts(kind: str, image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Notes on what only the opened plugin knows."""
    notes = []
    if kind in ("AVIF", "HEIC") and (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"first of {frames} frames")
    profile = image.info.get("icc_profile")
    if kind in ("AVIF", "HEIC", "TIFF") and profile and not names_srgb(profile):
        notes.append("colour profile not applied")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(image.tag_v2.get(258, (1,)))
        if bits > 8 and not image.mode.startswith("I;16"):
            if image.mode in ("I", "F"):
                raise limits.unsupported("TIFF", f"{bits}-bit {'float' if image.mode == 'F' else 'integer'} samples")
            notes.append(f"{bits}-bit samples scaled to 8 bits")
        if image.mode.startswith("I;16") and image.tag_v2.get(262) == 0:
            raise limits.unsupported("TIFF", "16-bit grey where white is zero")
    return tuple(notes)


def flatten(
    image: Image.Image, background: Colour, key: tuple[int, ...] | None = None
) -> tuple[Pixels, tuple[str, ...]]:
    """Any Pillow mode → uint8 ``[H, W, 3]`` RGB, and what was altered on the way.

    Args:
        image: loaded; 16-bit grey becomes ``value >> 8`` (all 256 levels of the whole 16-bit range; samples of 12 bits
            stored in 16 therefore come out dark).
        background: RGB, 0 to 255, that shows through transparent pixels.
        key: a sample value (one number for grey, three for RGB) that stands for full transparency.

    Raises:
        UnreadableImage: a mode whose range of values is unknown.
    """
    mode = image.mode
    if mode in ("I", "F"):
        raise limits.unsupported(image.format or "image", f"{'float' if mode == 'F' else '32-bit integer'} samples")
    notes: list[str] = []
    clear = None
    if mode.startswith("I;16"):
        grey = np.asarray(image)
        clear = grey == key[0] if key else None
        pixels = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
        notes.append("16-bit grey scaled to 8 bits")
    elif key is not None:
        pixels = np.asarray(image.convert("RGB"))
        clear = (pixels == np.array(key, np.uint8)).all(axis=2)
    else:
        if mode in ("La", "RGBa"):
            image = image.convert("LA" if mode == "La" else "RGBA")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
            if alpha.getextrema() != (255, 255):
                canvas = Image.new("RGB", image.size, background)
                canvas.paste(image, mask=alpha)
                image = canvas
                notes.append(f"transparent pixels on background {_words(background)}")
        if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            notes.append("CMYK converted" if mode == "CMYK" else f"{mode} converted")
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if clear is not None and clear.any():
        pixels = np.where(clear[..., None], np.array(background, np.uint8), pixels)
        notes.append(f"transparent pixels on background {_words(background)}")
    return pixels, tuple(notes)


def _on_canvas(pixels: Pixels, box: tuple[int, int, int, int], background: Colour) -> Pixels:
    left, top, right, bottom = box
    canvas = np.empty_like(pixels)
    canvas[:] = background
    canvas[top:bottom, left:right] = pixels[top:bottom, left:right]
    return canvas


def _words(background: Colour) -> str:
    return ",".join(map(str, background))


READERS: Mapping[str, Callable[[bytes, Colour, int | None], Raw]] = MappingProxyType(
    {
        "PNG": decode_png,
        "WebP": decode_webp,
        "GIF": decode_gif,
        "BMP": decode_bmp,
        "TIFF": decode_tiff,
        "AVIF": decode_avif,
        "HEIC": decode_heic,
    }
)
"""Format → reader of the whole file's bytes; the third argument (``shortest``) concerns JPEG only."""
