"""Energy of a bank of Gabor filters: how much texture of which coarseness and direction is where."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.descriptors import luma
from visum.types import Floats, Pixels

WAVELENGTHS = (4.0, 5.7, 8.0, 11.3)
ORIENTATIONS = 6
CELLS = 4
STEP = 4
SPREAD = 0.56  # sigma of the window in wavelengths: one octave
QUIET = 1e-3  # energy, of 1 for the strongest wave, below which areas count as flat


@lru_cache(maxsize=4)
def _filters(size: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """The bank, split into rows and columns: a wave under a round Gaussian is a product of one factor for each axis, and a
    filtered line at the places wanted is a product of matrices. Mirrored borders are folded in.

    Returns:
        vertical complex64 ``[F, G, S]`` and horizontal complex64 ``[F, S, G]`` for G places (every fourth pixel) and F filters.
    """
    places = np.arange(STEP // 2, size, STEP)
    sides = []
    for component in (np.sin, np.cos):
        side = np.zeros((len(WAVELENGTHS), ORIENTATIONS, len(places), size), np.complex128)
        for i, wavelength in enumerate(WAVELENGTHS):
            sigma = SPREAD * wavelength
            reach = int(np.ceil(3 * sigma))
            t = np.arange(-reach, reach + 1)
            window = np.exp(-(t**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
            for o in range(ORIENTATIONS):
                k = window * np.exp(2j * np.pi / wavelength * component(np.pi * o / ORIENTATIONS) * t)
                for g, place in enumerate(places):
                    pixel = (place - t) % (2 * size)
                    np.add.at(side[i, o, g], np.minimum(pixel, 2 * size - 1 - pixel), k)
        sides.append(side.reshape(-1, len(places), size).astype(np.complex64))
    return sides[0], np.ascontiguousarray(sides[1].transpose(0, 2, 1))


def responses(picture: Pixels) -> NDArray[np.complex64]:
    """Complex responses of all filters at every fourth pixel from pixel 2 on, of luma in 0 … 1: ``[24, S/4, S/4]``."""
    vertical, horizontal = _filters(len(picture))
    light = luma(picture)
    light -= light.mean()  # the filters answer a little to a constant
    lines = light @ horizontal.view(np.float32)  # real and imaginary parts side by side; a product a filter: BLAS then
    return np.asarray(vertical @ lines.view(np.complex64))  # stays on its caller's thread, and callers are a pool


def gabor(picture: Pixels) -> Floats:
    """Logarithms of the mean and deviation of the energy of 4 wavelengths (4 to 11 pixels) x 6 directions in 4 x 4 cells
    (Manjunath and Ma 1996, with places): float32 ``[768]``. S is a multiple of 16."""
    energy = np.abs(responses(picture))
    side = energy.shape[1] // CELLS
    cells = energy.reshape(-1, CELLS, side, CELLS, side)
    out = np.concatenate([cells.mean((2, 4)).ravel(), cells.std((2, 4)).ravel()])
    return np.asarray(np.log(out + QUIET), np.float32)
