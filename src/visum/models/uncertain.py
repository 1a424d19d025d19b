"""Monte Carlo dropout: how far a network's answers differ when parts of what it saw are left out (Gal & Ghahramani 2016).

Dropout lies in front of the last layer, and the last layer lies outside the compiled network: a picture passes the network once,
and every further pass costs one small matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from visum.errors import UsageError
from visum.types import Bundle, Floats, Task

MOST = 1000
RATE, MEAN = "dropout", "dropout.mean"
"""Where a bundle says how much was left out in training (its architecture), and what a feature that is left out counts as."""


def check(bundle: Bundle, number: int) -> None:
    """Refuse passes that a bundle cannot make.

    Raises:
        UsageError: fewer than 2 of them, or a bundle that was not trained with dropout.
    """
    if not 2 <= number <= MOST:
        raise UsageError(f"{number} passes of dropout", allowed=f"2 to {MOST}", next="--mc-dropout 20")
    if MEAN not in bundle.weights:
        raise UsageError(
            "this bundle was not trained with dropout, so that no part of what it sees can be left out",
            allowed="a bundle that finetune or scratch made, with --dropout above 0",
            next="visum train DATA --budget 4m --dropout 0.2",
        )


def dropped(features: NDArray[np.floating], mean: Floats, rate: float, number: int, seed: int = 0) -> Iterator[Floats]:
    """Features as the last layer sees them under ``number`` draws of what is left out, float32 ``[N, D]`` each.

    Training drops standardised features, ``(x - mean) / spread``: one that is left out counts as its mean, the others lie
    further from theirs by ``1 / (1 - rate)``.

    Args:
        features: ``[N, D]``.
        mean: float32 ``[D]`` of the features before training.
        rate: share that is left out, in (0, 1).
        number: >= 1.
        seed: of the draws, which are the same for all pictures: their answers may be compared.
    """
    draws = np.random.default_rng(seed)
    away = np.asarray(features, np.float32) - mean
    for _ in range(number):
        mask = np.asarray(draws.random(features.shape[1]) >= rate, np.float32) / np.float32(1 - rate)
        yield mean + away * mask


def mutual_information(p: Floats) -> Floats:
    """What one answer would tell about which draw it came from: 0 where all draws agree (Houlsby et al. 2011, BALD).

    Args:
        p: probabilities float32 ``[S, N, K]`` of S draws: of K classes that exclude each other, or (each its own yes or no)
            ``[S, N, K, 2]``.

    Returns:
        float32 ``[N]`` in nats, from 0 to log K; or the sum over classes, each from 0 to log 2.
    """

    def entropy(q: Floats) -> Floats:
        return np.asarray(-(q * np.log(np.maximum(q, 1e-12))).sum(axis=-1), np.float32)

    told = entropy(p.mean(axis=0)) - entropy(p).mean(axis=0)
    return np.asarray(np.maximum(told if told.ndim == 1 else told.sum(axis=-1), 0), np.float32)


def cases(p: Floats, task: Task) -> Floats:
    """Probabilities ``[S, K]`` of one picture as ``mutual_information`` takes them."""
    return np.stack([p, 1 - p], axis=-1)[:, None] if task == "multilabel" else p[:, None]


def logits_of(p: Floats, task: Task) -> Floats:
    """Logits ``[N, K]`` that say these probabilities at temperature 1."""
    p = np.clip(p, 1e-12, 1)
    return np.asarray(np.log(p) - np.log(np.maximum(1 - p, 1e-12)) if task == "multilabel" else np.log(p), np.float32)
