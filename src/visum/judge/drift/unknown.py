"""Pictures of nothing that was known: how many more of them than among the reference?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift.exchange import Flags, contrasts
from visum.judge.drift.shift import squared_distances
from visum.types import Floats, Integers

Array = NDArray[np.float64]
NEIGHBOURS = 5
TAIL = 0.95
"""Quantile of the reference's scores from which on a picture is called strange."""
BLOCK = 4096


def strangeness(points: Floats, known: Floats) -> Floats:
    """Distance to the 5th nearest known picture, float32 ``[N]`` (Sun et al. 2022, ICML).

    Args:
        points: float32 ``[N, C]``.
        known: float32 ``[B, C]``. Not the reference: were its pictures measured by each other, their scores would hang together
            with those of new ones, and the test of the tail would stay silent (0.4 % of alarms instead of 5).
    """
    k = min(NEIGHBOURS, len(known)) - 1
    if k < 0:
        return np.zeros(len(points), np.float32)
    parts = [squared_distances(points[at : at + BLOCK], known) for at in range(0, len(points), BLOCK)]
    nearest = [np.partition(part, k, axis=1)[:, k] for part in parts]
    return np.asarray(np.sqrt(np.concatenate(nearest)) if nearest else np.zeros(0), np.float32)


def tail(scores: Floats, strata: Integers, split: Flags) -> Array:
    """How much more of the upper tail of all scores is new, of each split ``[B]``: Savage scores of their ranks (Savage 1956)."""
    from scipy.stats import rankdata

    weight = -np.log1p(-rankdata(scores) / (len(scores) + 1))
    return np.asarray(contrasts(split, strata) @ weight.astype(np.float32), np.float64)


def share(
    scores: Floats, strata: Integers, new: Flags, *, resamples: int = 400, seed: int = 0
) -> tuple[float, float, float]:
    """Share of new pictures that are of nothing known: (value, low, high), a 95 % bootstrap interval, in [0, 1].

    Of strangers, only those count that are strange (beyond the 95 % quantile of the reference): those that look like something
    known cannot be seen, so that the true share may be larger. Where e of the known ones are strange, o = u + (1 - u) e.
    """
    rng = np.random.default_rng(seed)
    strange = scores > np.quantile(scores[~new], TAIL)
    _, at = np.unique(strata, return_inverse=True)
    k = int(at.max()) + 1

    def counted(here: Flags, draw: bool) -> tuple[Array, Array]:
        """Pictures and strange ones of each stratum, ``[B, k]``."""
        rows = np.flatnonzero(here)
        picks = rng.integers(0, len(rows), (resamples, len(rows))) if draw else np.arange(len(rows))[None]
        cell = at[rows][picks] + k * np.arange(len(picks))[:, None]
        size = k * len(picks)
        all_, odd = (
            np.bincount(cell.ravel(), minlength=size),
            np.bincount(cell.ravel(), strange[rows][picks].ravel(), minlength=size),
        )
        return all_.reshape(-1, k).astype(np.float64), odd.reshape(-1, k).astype(np.float64)

    def value(draw: bool) -> Array:
        (n, odd), (m, usual) = counted(new, draw), counted(~new, draw)
        overall = usual.sum(1, keepdims=True) / m.sum(1, keepdims=True)
        expected = ((n * (usual + overall) / (m + 1)).sum(1)) / n.sum(
            1
        )  # a stratum without old pictures has the overall share
        return np.asarray(((odd.sum(1) / n.sum(1)) - expected) / np.maximum(1 - expected, 1e-9))

    low, high = np.quantile(value(True), (0.025, 0.975))
    middle = float(value(False)[0])
    return float(np.clip(middle, 0, 1)), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
