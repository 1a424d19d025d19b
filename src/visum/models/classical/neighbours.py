"""The nearest neighbours' votes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.classes import Arrays
from visum.types import Floats

NEIGHBOURS = 10
MOST_ROWS = 50_000
CELLS = 1 << 23  # distances held at a time
NEAREST = 1e-3  # distances below count as this; float32 gives them no better
EQUAL = 1e-6  # squares of distances closer than this are equal; products in float32 tell no more apart
DOUBT = 0.05


def fit(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """Keeps all rows: directions ``[N, D]`` of length 1, table uint8 ``[N, P]``."""
    return {"directions": _direction(x), "table": table.astype(np.uint8)}


def _direction(x: Floats) -> Floats:
    length = np.sqrt((x * x).sum(1, keepdims=True))
    return np.asarray(x / np.where(length > 0, length, 1), np.float32)


def logits(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    """Logarithm of the smoothed share of each class (of its odds where columns stand alone)."""
    share = shares(arrays, x)
    if exclusive:
        return np.asarray(np.log((share + DOUBT / share.shape[1]) / (1 + DOUBT)), np.float32)
    return np.asarray(np.log((share + DOUBT / 2) / (1 - share + DOUBT / 2)), np.float32)


def shares(arrays: Arrays, x: Floats) -> Floats:
    """Share of the votes of the 10 nearest rows, each weighted by 1 / distance: float32 ``[M, P]``.

    Distances are Euclidean between directions (a growing function of the cosine distance). Rows as near as the tenth vote
    too, so that the order of the rows changes nothing.
    """
    known, table = arrays["directions"], arrays["table"].astype(np.float32)
    k = min(NEIGHBOURS, len(known))
    step = max(1, CELLS // len(known))
    out = np.empty((len(x), table.shape[1]), np.float32)
    for at in range(0, len(x), step):
        square = np.maximum(2 - 2 * (_direction(x[at : at + step]) @ known.T), 0)
        limit = np.partition(square, k - 1, axis=1)[:, k - 1 : k] + EQUAL
        vote = np.where(square <= limit, 1 / np.maximum(np.sqrt(square), NEAREST), 0)
        out[at : at + step] = vote @ table / vote.sum(1, keepdims=True)
    return np.clip(out, 0, 1)
