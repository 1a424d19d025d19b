"""Pictures that are already in memory: arrays and Pillow images become the same upright RGB pixels that a file gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.data.decode import limits
from visum.data.decode.exif import ORIENTATION, upright
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
        UnreadableImage: a mode whose range of values is unknown, or a size beyond the limits.
    """
    limits.check_size(image.format or "image", *image.size)
    image.load()
    turn = image.getexif().get(ORIENTATION, 1)
    return upright(flatten(image, background)[0], turn if turn in range(2, 9) else 1)
