"""Noise on every value of every channel. Parameters: of x in 0 … 1, as published; no length is among them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from visum.data.corrupt.sized import unit, whole
from visum.types import Pixels

GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, of severity 1 … 5."""
SHOT = (60, 25, 12, 5, 3)
"""Photons of white."""
IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
"""Share of the values that become black or white."""


def gaussian_noise(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Little light: normal noise."""
    x = unit(square)
    x += np.float32(GAUSSIAN[severity - 1]) * generator.standard_normal(x.shape, dtype=np.float32)
    return whole(x)


def shot_noise(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Light comes in photons: Poisson counts, of which white has ``SHOT``.

    A byte has only 256 values: counts are found where a uniform draw falls in the distribution of its byte.
    """
    photons = SHOT[severity - 1]
    draw = generator.random(square.shape, dtype=np.float32)
    return np.asarray(_counts(photons)[square, (draw * _FINE).astype(np.uint16)])


_FINE = 4096
_TABLES: dict[int, Pixels] = {}


def _counts(photons: int) -> Pixels:
    """Byte and quantile → byte: uint8 ``[256, _FINE]``."""
    if photons not in _TABLES:
        from scipy.stats import poisson

        most = int(poisson.isf(1e-6, photons))
        below = poisson.cdf(np.arange(most), np.arange(256)[:, None] * photons / 255)
        middles = (np.arange(_FINE) + 0.5) / _FINE
        counts = np.stack([np.searchsorted(row, middles) for row in below])
        _TABLES[photons] = whole(np.asarray(counts / photons, np.float32))
    return _TABLES[photons]


def impulse_noise(square: Pixels, severity: int, generator: Generator) -> Pixels:
    """Faulty cells: a share of the values is black or white, as often the one as the other."""
    share = IMPULSE[severity - 1]
    draw = generator.random(square.shape, dtype=np.float32)
    return np.where(draw < share / 2, np.uint8(0), np.where(draw < share, np.uint8(255), square))
