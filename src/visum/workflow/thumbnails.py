"""Small JPEGs of stored pictures, for the report."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visum.data.load import picture, pixel_space
from visum.errors import VisumError
from visum.types import Manifest, Preprocess

SIDE, QUALITY = 128, 82


def thumbnails(table: Manifest, preprocess: Preprocess) -> Callable[[str], bytes | None]:
    """A function from an image's id to JPEG bytes with the longer side at 128 px, or None where there is no such picture.

    Small pictures are enlarged in whole steps without smoothing, so that a digit of 8 pixels shows its pixels.
    """
    at = {name: row for row, name in enumerate(table.ids)}
    space = pixel_space(preprocess)

    def jpeg(name: str) -> bytes | None:
        if name not in at:
            return None
        import cv2
        import simplejpeg

        try:
            pixels = picture(table, at[name], space, preprocess)
        except VisumError:
            return None
        height, width = pixels.shape[:2]
        ratio = SIDE / max(height, width)
        if ratio >= 2:
            pixels = pixels.repeat(int(ratio), axis=0).repeat(int(ratio), axis=1)
        elif ratio < 1:
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        return bytes(simplejpeg.encode_jpeg(pixels.copy(), QUALITY))

    return jpeg
