"""How accurate is it now, without labels? Two estimates from how sure it is, with intervals, and what they take for granted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats

Array = NDArray[np.float64]
RESAMPLES = 400
ASSUMES = "pictures of each class look and are called as they did; if not, it is mostly too high"


@dataclass(frozen=True)
class Estimate:
    """An accuracy that nobody has measured.

    Attributes:
        value, low, high: 95 % bootstrap interval over reference and new pictures, in [0, 1].
        n: new pictures.
        method: confidence or atc.
    """

    value: float
    low: float
    high: float
    n: int
    method: str


def _weights(n: int, rng: np.random.Generator, base: Array | None = None) -> Array:
    """How often each of n was drawn, ``[1 + RESAMPLES, n]``, the first row once each; times ``base``; rows sum to 1."""
    drawn = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)])
    drawn = drawn * base if base is not None else drawn
    return np.asarray(drawn / np.maximum(drawn.sum(1, keepdims=True), 1e-300))


def by_confidence(
    sure: Floats, known_sure: Floats, known_right: Floats, weight: Array | None = None, *, seed: int = 0
) -> Estimate:
    """Mean confidence, moved by what mean confidence and accuracy of the reference differ (Guillory et al. 2021, "DoC").

    Args:
        sure: calibrated probability of each answer, ``[N]``; under new shares of classes where these have shifted.
        known_sure, known_right: of the reference, ``[M]``; right is 0 or 1.
        weight: of reference pictures, ``[M]``; new over old share of their class where these have shifted.
    """
    rng = np.random.default_rng(seed)
    gap = _weights(len(known_sure), rng, weight) @ (np.asarray(known_right, np.float64) - known_sure)
    values = _weights(len(sure), rng) @ np.asarray(sure, np.float64) + gap
    return _estimate(values, len(sure), "confidence")


def by_threshold(
    sure: Floats, known_sure: Floats, known_right: Floats, weight: Array | None = None, *, seed: int = 0
) -> Estimate:
    """Average thresholded confidence (Garg et al. 2022, ICLR): the share of new pictures surer than a threshold, above which
    lies a share of the reference that is its accuracy. Arguments as ``by_confidence``."""
    rng = np.random.default_rng(seed)
    old = _weights(len(known_sure), rng, weight)
    right = old @ np.asarray(known_right, np.float64)
    order = np.argsort(-np.asarray(known_sure), kind="stable")
    above = np.cumsum(old[:, order], axis=1)
    at = np.minimum((above < right[:, None] - 1e-12).sum(1), len(order) - 1)
    threshold = np.asarray(known_sure, np.float64)[order][at]
    rank = np.argsort(-np.asarray(sure), kind="stable")
    mass = np.concatenate([np.zeros((RESAMPLES + 1, 1)), np.cumsum(_weights(len(sure), rng)[:, rank], axis=1)], axis=1)
    surer = np.searchsorted(-np.asarray(sure, np.float64)[rank], -threshold, side="right")
    return _estimate(mass[np.arange(len(mass)), surer], len(sure), "atc")


def _estimate(values: Array, n: int, method: str) -> Estimate:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    value = float(np.clip(values[0], 0, 1))
    return Estimate(value, min(float(np.clip(low, 0, 1)), value), max(float(np.clip(high, 0, 1)), value), n, method)
