"""The one preprocessing, as pure functions of uint8 pixels.

``shrink`` only ever reduces, so that the store holds no more pixels than the file or the network has; ``fit`` enlarges
what is too small and pads. Law: ``fit(shrink(x)) == fit(x)``, so that a picture from the store and one from a file agree
bit for bit. Resampling is Pillow's (antialiased: the support scales with the ratio), which ONNX
``Resize(antialias=1, cubic_coeff_a=-0.5)`` follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visum.types import Floats, Pixels, Preprocess, digest_of


def pixel_key(preprocess: Preprocess) -> str:
    """Digest of what ``shrink`` depends on: two specs that differ in mean and std alone share their stored pixels."""
    p = preprocess
    return digest_of([p.size, p.fit, p.filter, p.background])


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
            return _resize(pixels, size, size, preprocess, box=(left, top, left + side, top + side))
        return pixels[int(top) : int(top) + side, int(left) : int(left) + side]
    if preprocess.fit == "squash":
        return _resize(pixels, min(width, size), min(height, size), preprocess)
    ratio = size / max(height, width)
    if ratio >= 1:
        return pixels
    return _resize(pixels, max(1, round(width * ratio)), max(1, round(height * ratio)), preprocess)


def fit(pixels: Pixels, preprocess: Preprocess, out: Pixels | None = None) -> Pixels:
    """The square that the network sees: uint8 ``[H, W, 3]`` → uint8 ``[size, size, 3]``; into ``out`` if given."""
    size = preprocess.size
    small = shrink(pixels, preprocess)
    height, width = small.shape[:2]
    if preprocess.fit == "pad":
        ratio = size / max(height, width)
        if ratio > 1:
            small = _resize(small, max(1, round(width * ratio)), max(1, round(height * ratio)), preprocess)
            height, width = small.shape[:2]
    elif (height, width) != (size, size):
        small = _resize(small, size, size, preprocess)
        height = width = size
    if out is None:
        out = np.empty((size, size, 3), np.uint8)
    if (height, width) != (size, size):
        out[:] = preprocess.background
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = small
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


def _resize(
    pixels: Pixels,
    width: int,
    height: int,
    preprocess: Preprocess,
    box: tuple[float, float, float, float] | None = None,
) -> Pixels:
    if box is None and pixels.shape[:2] == (height, width):
        return pixels
    from PIL import Image

    method = Image.Resampling.BICUBIC if preprocess.filter == "bicubic" else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((width, height), method, box=box))
