"""Dense SIFT and the bag of visual words.

Descriptors are taken on a fixed grid and not at detected keypoints, which photos of plain things hardly have. Grid and bins share
one step, so that a cell belongs to up to sixteen descriptors and is summed once (dsift of Vedaldi and Fulkerson 2008, flat
window): several times as fast as OpenCV's ``SIFT.compute`` on the same places.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from visum.errors import NotEnoughData
from visum.models.classical.descriptors import luma
from visum.types import Floats, Integers, Pixels

WORDS = 256
STEP = 6  # pixels between descriptors, and the width of their bins
DIRECTIONS = 8
SMALL = (
    1 << 18
)  # multiplications up to which BLAS stays on its caller's thread; callers are a pool, which more would only disturb
FLAT = 1e-4  # of a gradient of 1 a pixel: what is flatter than this is described as flat
PICTURES, PATCHES, ROUNDS = 400, 50, 12


def dense(picture: Pixels) -> Floats:
    """RootSIFT (Arandjelović and Zisserman 2012) of patches of 24 x 24 pixels, every 6 pixels, upright, row by row: float32
    ``[P², 128]`` with P = S // 6 - 3 (18 for 128 pixels).

    A patch has 4 x 4 bins, row by row, of 8 directions of the gradient, the first to the right, then clockwise (y points down).
    Each gradient is shared by the two nearest directions and by the four nearest bins. Lengths are 1, or 0 where all is flat.

    Args:
        picture: RGB, S >= 30.
    """
    import cv2

    light = luma(picture)
    size = len(light)
    dx, dy = (cv2.Sobel(light, cv2.CV_32F, x, 1 - x, ksize=1) for x in (1, 0))
    strength, angle = cv2.cartToPolar(dx, dy)
    turn = angle.ravel() * np.float32(DIRECTIONS / (2 * np.pi))
    lower = turn.astype(np.int64)
    beyond = (turn - lower) * strength.ravel()
    pixel = np.arange(size * size)
    planes = np.zeros((DIRECTIONS, size * size), np.float32)
    planes[lower % DIRECTIONS, pixel] = strength.ravel() - beyond
    planes[(lower + 1) % DIRECTIONS, pixel] = beyond
    window = _windows(size)
    lines = planes.reshape(-1, DIRECTIONS, size) @ window.T
    cells = (window @ lines.reshape(DIRECTIONS, size, -1)).transpose(1, 2, 0)
    side = len(window) - 3
    bins = [cells[i : i + side, j : j + side] for i in range(4) for j in range(4)]
    out = np.stack(bins, 2).reshape(side * side, 16 * DIRECTIONS) / STEP**2
    out = np.minimum(out / (np.sqrt((out * out).sum(1, keepdims=True)) + FLAT), 0.2)
    total = out.sum(1, keepdims=True)
    return np.asarray(np.sqrt(out / np.where(total > 0, total, 1)), np.float32)


@lru_cache(maxsize=16)
def _windows(size: int) -> Floats:
    """Triangular windows two steps wide, one a cell, centred in the picture: float32 ``[S // 6, S]``."""
    cells = size // STEP
    middle = (np.arange(cells) - (cells - 1) / 2) * STEP + (size - 1) / 2
    return np.asarray(np.maximum(1 - np.abs(middle[:, None] - np.arange(size)) / STEP, 0), np.float32)


def nearest(patches: Floats, codebook: Floats, rows: int = 4096) -> Integers:
    """Number of the nearest word of each patch, int64 ``[P]``; so many rows at a time."""
    words = np.ascontiguousarray(codebook.T)
    half = (words * words).sum(0) / 2
    parts = [(patches[at : at + rows] @ words - half).argmax(1) for at in range(0, len(patches), rows)]
    return np.concatenate(parts).astype(np.int64)


def bag_of_words(picture: Pixels, codebook: Floats) -> Floats:
    """How often each of W words occurs in each quarter of a picture (Lazebnik et al. 2006, level 1): float32 ``[4 W]``.

    Square roots of shares: the squares sum to 1. Quarters are top left, top right, bottom left, bottom right.
    """
    words = nearest(dense(picture), codebook, max(1, SMALL // codebook.size))
    side = int(np.sqrt(len(words)))
    lower = (2 * np.arange(side) >= side).astype(np.int64)
    quarter = (2 * lower[:, None] + lower).ravel()
    counts = np.bincount(quarter * len(codebook) + words, minlength=4 * len(codebook))
    return np.asarray(np.sqrt(counts / counts.sum()), np.float32)


def codebook(pictures: Iterable[Pixels], words: int, seed: int) -> Floats:
    """Visual words: centres of k-means over 50 patches of each of 400 pictures drawn from all: float32 ``[words, 128]``.

    Reads the pictures once and holds at most 800 of them. Fewer patches than words: some words are equal and never used.

    Args:
        pictures: squares as for ``dense``, any number.
        words: >= 1.

    Raises:
        NotEnoughData: no picture.
    """
    rng = np.random.default_rng(seed)
    drawn: list[tuple[float, Pixels]] = []
    for picture in pictures:
        drawn.append((float(rng.random()), picture))
        if len(drawn) == 2 * PICTURES:
            drawn = sorted(drawn, key=lambda pair: pair[0])[:PICTURES]
    if not drawn:
        raise NotEnoughData("no picture to learn visual words from", allowed="one or more training images")
    drawn = sorted(drawn, key=lambda pair: pair[0])[:PICTURES]
    patches = np.concatenate([rng.permutation(dense(picture))[:PATCHES] for _, picture in drawn])
    return k_means(patches, words, rng)


def k_means(points: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Lloyd's algorithm, 12 rounds from k random points ``[N, D]``: float32 ``[k, D]``. A centre that lost its points stays."""
    centres = points[rng.choice(len(points), k, replace=len(points) < k)]
    for _ in range(ROUNDS):
        word = nearest(points, centres)
        counts = np.bincount(word, minlength=k)
        used = np.flatnonzero(counts)
        first = (np.cumsum(counts) - counts)[used]
        sums = np.add.reduceat(points[np.argsort(word, kind="stable")], first, axis=0)
        centres[used] = sums / counts[used, None]
    return centres
