"""The one preprocessing, as pure functions of uint8 pixels.

``shrink`` only ever reduces, so that the store holds no more pixels than the file or the network has; ``fit`` enlarges
what is too small and pads. Law: ``fit(shrink(x)) == fit(x)``, so that a picture from the store and one from a file agree
bit for bit. Resampling follows Pillow (antialiased: the support scales with the ratio; see ``resample``), as does ONNX
``Resize(antialias=1, cubic_coeff_a=-0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visum.data.resample import resample
from visum.types import Floats, Pixels, Preprocess, digest_of

VERSION = 2
"""Of what ``shrink`` does with the same spec; stored pixels of an older version are not looked at."""


def pixel_key(preprocess: Preprocess) -> str:
    """Digest of what ``shrink`` depends on: two specs that differ in mean and std alone share their stored pixels."""
    p = preprocess
    return digest_of([VERSION, p.size, p.fit, p.filter, p.background])


def shrink(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """Reduce to what the network can use: uint8 ``[H, W, 3]`` → uint8 ``[h, w, 3]`` with h, w <= size; never enlarges.

    Args:
        pixels: upright RGB.
        preprocess: ``pad`` reduces the longer side to ``size``; ``crop`` keeps the middle square, reduced to ``size``;
            ``squash`` reduces each side on its own.
    """
    size, (height, width) = preprocess.size, pixels.shape[:2]
    if preprocess.fit == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        if side > size:
            return resample(pixels, size, size, preprocess.filter, (left, top, left + side, top + side))
        return pixels[int(top) : int(top) + side, int(left) : int(left) + side]
    if preprocess.fit == "squash":
        return resample(pixels, min(width, size), min(height, size), preprocess.filter)
    ratio = size / max(height, width)
    if ratio >= 1:
        return pixels
    return resample(pixels, max(1, round(width * ratio)), max(1, round(height * ratio)), preprocess.filter)


def fit(pixels: Pixels, preprocess: Preprocess, out: Pixels | None = None) -> Pixels:
    """The square that the network sees: uint8 ``[H, W, 3]`` → uint8 ``[size, size, 3]``; into ``out`` if given."""
    size = preprocess.size
    small = shrink(pixels, preprocess)
    height, width = small.shape[:2]
    if preprocess.fit == "pad":
        ratio = size / max(height, width)
        if ratio > 1:
            small = resample(small, max(1, round(width * ratio)), max(1, round(height * ratio)), preprocess.filter)
            height, width = small.shape[:2]
    elif (height, width) != (size, size):
        small = resample(small, size, size, preprocess.filter)
        height = width = size
    if out is None:
        out = np.empty((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    bottom, right = top + height, left + width
    if (height, width) != (size, size):
        # A whole line of pixels is copied at once, a single pixel again and again is ten times slower.
        line = np.full((size, 3), preprocess.background, np.uint8)
        out[:top], out[bottom:] = line, line
        out[top:bottom, :left], out[top:bottom, right:] = line[:left], line[right:]
    out[top:bottom, left:right] = small
    return out


def fit_batch(pictures: Sequence[Pixels], preprocess: Preprocess) -> Pixels:
    """Several pictures of any size → uint8 ``[N, size, size, 3]``."""
    batch = np.empty((len(pictures), preprocess.size, preprocess.size, 3), np.uint8)
    for picture, out in zip(pictures, batch, strict=True):
        fit(picture, preprocess, out)
    return batch


def tensor(batch: Pixels, preprocess: Preprocess) -> Floats:
    """What enters the first convolution: uint8 ``[N, S, S, 3]`` → float32 ``[N, 3, S, S]``, ``(x - mean) / std``."""
    x = batch[..., ::-1] if preprocess.channels == "BGR" else batch
    scaled = (x.astype(np.float32) - np.array(preprocess.mean, np.float32)) / np.array(preprocess.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
