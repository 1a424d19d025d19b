"""Are pictures called something else than before? Errors of labelled pictures beyond what their confidence announced."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift.exchange import Flags, contrasts
from visum.types import Floats, Integers

Array = NDArray[np.float64]
BETS = (1.0, 0.6, 0.3)
"""Powers that are bet on; 1 bets nothing."""
JUMP = 0.01
"""Share of the capital that is dealt out anew at each picture, so that a change late in a stream is found as well."""


def excess(wrong: Floats, confidence: Floats) -> Floats:
    """Error beyond what was announced: (0 or 1) - (1 - confidence), in -1 … 1, mean 0 of calibrated answers. ``[N]``."""
    return np.asarray(wrong - (1 - confidence), np.float32)


def statistic(values: Floats, labels: Integers, split: Flags) -> Array:
    """Mean excess of new less that of old pictures of the same true classes, of each split ``[B]``; large: more errors."""
    return np.asarray(contrasts(split, labels) @ np.asarray(values, np.float32), np.float64)


@dataclass(frozen=True)
class Martingale:
    """Capital of a gambler who bets that labelled pictures have become stranger.

    Attributes:
        capital: float64 ``[N]``, natural logarithm, after each picture; 0 before the first.
        crossed: first picture at which capital reaches 1 / alpha; None: never.
        since: picture at which the rise that led there began; None: never crossed.
    """

    capital: Array
    crossed: int | None
    since: int | None


def martingale(
    values: Sequence[float] | Floats,
    labels: Integers,
    known: Floats,
    known_labels: Integers,
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> Martingale:
    """An exact sequential test that may be looked at after every picture: a conformal test martingale within classes.

    The conformal p of a picture is the rank of its value among the reference's and all earlier ones of its class; without drift
    these are independent and uniform (Vovk et al. 2005), also where the shares of classes change. Capital is multiplied by
    e * p^(e - 1) for powers e among which it jumps (Vovk et al. 2021, "Retrain or not retrain"). By Ville's inequality it ever
    reaches 1 / alpha in at most ``alpha`` of all streams, however long.

    Args:
        values: excess of labelled pictures, in the order of time, ``[N]``.
        labels: true classes, ``[N]``.
        known, known_labels: the same of the reference.
    """
    rng = np.random.default_rng(seed)
    seen: dict[int, list[float]] = {}
    for label in np.unique(np.concatenate([known_labels, labels])):
        seen[int(label)] = sorted(float(v) for v in known[known_labels == label])
    power, share = np.array(BETS), np.full(len(BETS), 1 / len(BETS))
    total, path = 0.0, np.zeros(len(values))
    for at, (value, label) in enumerate(zip(values, labels, strict=True)):
        held = seen[int(label)]
        above, equal = len(held) - bisect_right(held, value), bisect_right(held, value) - bisect_left(held, value) + 1
        p = max((above + rng.random() * equal) / (len(held) + 1), 1e-12)
        insort(held, float(value))
        share = (1 - JUMP) * share + JUMP / len(BETS)
        share = share * power * p ** (power - 1)
        total += float(np.log(share.sum()))
        share /= share.sum()
        path[at] = total
    over = np.flatnonzero(path >= -np.log(alpha))
    if not len(over):
        return Martingale(path, None, None)
    crossed = int(over[0])
    before = np.concatenate([[0.0], path[: crossed + 1]])
    return Martingale(path, crossed, int(before.argmin()))
