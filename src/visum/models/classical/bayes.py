"""Naive Bayes with Gaussian columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.classes import Arrays
from visum.types import Floats

SMOOTHING = 0.1  # of the largest variance of a column, added to all: classes of one row have one, too


def fit(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """Mean and variance of every column in every class (and in its rest, where columns stand alone).

    Returns:
        square, linear float32 ``[D, P]`` and constant float32 ``[P]``: the log joint (the log odds where columns stand alone)
        divided by √D is ``x² @ square + x @ linear + constant``.

    Hundreds of columns that say the same are counted as if each were news, and probabilities come out as 0 and 1. Divided by √D
    they can be calibrated, and the answers stay those of naive Bayes.
    """
    floor = SMOOTHING * max(float(x.var(0).max()), 1e-12)
    square, linear, constant = _joint(x, table, floor)
    if not exclusive:
        others = _joint(x, 1 - table, floor)
        square, linear, constant = square - others[0], linear - others[1], constant - others[2]
    found = {"square": square, "linear": linear, "constant": constant}
    return {name: (values / np.sqrt(x.shape[1])).astype(np.float32) for name, values in found.items()}


def _joint(x: Floats, table: Floats, floor: float) -> tuple[NDArray[np.float64], ...]:
    n = table.sum(0, dtype=np.float64)
    mean = (x.T @ table).astype(np.float64) / n
    variance = ((x * x).T @ table).astype(np.float64) / n - mean**2
    precision = 1 / (np.maximum(variance, 0) + floor)
    constant = np.log(n / len(x)) + 0.5 * (np.log(precision / (2 * np.pi)) - mean**2 * precision).sum(0)
    return -0.5 * precision, mean * precision, constant


def logits(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    """Log joint over √D, the highest class at 0; log odds over √D where columns stand alone."""
    z = (x * x) @ arrays["square"] + x @ arrays["linear"] + arrays["constant"]
    return np.asarray(z - z.max(1, keepdims=True) if exclusive else z, np.float32)
