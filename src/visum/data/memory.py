"""Pictures that are already in memory: arrays and Pillow images become the same upright RGB pixels that a file gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.data.decode import limits
from visum.data.decode.exif import ORIENTATION, orientation, upright
from visum.data.decode.pillow import flatten
from visum.errors import UnreadableImage
from visum.types import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

ALLOWED = "uint8 or uint16 arrays [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA)"


def from_array(array: NDArray[Any], background: tuple[int, int, int] = (127, 127, 127)) -> Pixels:
    """An array as uint8 ``[H, W, 3]`` RGB.

    Args:
        array: uint8, or uint16 of which the high byte is kept (as of 16-bit files); grey, RGB or RGBA.
        background: RGB under transparent pixels.

    Raises:
        UnreadableImage: another shape or dtype. Floats are refused, since 0 … 1 and 0 … 255 cannot be told apart safely.
    """
    array = np.asarray(array)
    if array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(
            f"an array of {array.dtype}", allowed=ALLOWED, next="(x * 255).astype('uint8') if x is in 0 … 1"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UnreadableImage(f"an array of shape {list(array.shape)}", allowed=ALLOWED, next="x.transpose(1, 2, 0)")
    limits.check_size("array", array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        from PIL import Image

        return flatten(Image.fromarray(np.ascontiguousarray(array), "RGBA"), background)[0]
    return np.ascontiguousarray(array)


def from_pillow(image: Image, background: tuple[int, int, int] = (127, 127, 127)) -> Pixels:
    """A Pillow image of any mode as uint8 ``[H, W, 3]`` RGB, turned upright by its EXIF orientation.

    Raises:
        UnreadableImage: no Pillow image, a mode whose range of values is unknown, a size beyond the limits, or a file that
            Pillow opened but cannot read to its end (it is read here and not before).
    """
    from PIL import Image as pillow

    if not isinstance(image, pillow.Image):
        raise UnreadableImage(
            f"a {type(image).__name__}",
            allowed="a path, the bytes of a file, an array uint8 [H, W, 3] or a Pillow image",
            next="numpy.asarray(x) of whatever holds the pixels",
        )
    kind = image.format or "image"
    limits.check_size(kind, *image.size)
    try:
        image.load()
        turn = _turn(image)
        return upright(flatten(image, background)[0], turn if turn in range(2, 9) else 1)
    except UnreadableImage:
        raise
    except Exception as error:  # a file is behind the image, and its decoder may raise anything
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise limits.truncated(kind) from error
        raise limits.damaged(kind, str(error) or type(error).__name__) from error


def _turn(image: Image) -> Any:
    """EXIF orientation. Pillow would take XMP's where EXIF has none; of files only EXIF is read, and so it is here."""
    if "xmp" in image.info or "XML:com.adobe.xmp" in image.info:
        return orientation(image.info.get("exif") or b"")
    return image.getexif().get(ORIENTATION, 1)
