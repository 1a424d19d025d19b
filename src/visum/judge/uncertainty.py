"""How unsure an answer is: measures of the same predictions, float64 ``[N]`` each, larger where there is less to be trusted.

``MEASURES`` take calibrated probabilities float ``[N, K]``. ``DRAWN`` take several opinions, float ``[S, N, K]``, and the
answers: passes of Monte Carlo dropout (``models.uncertain``) or members of an ensemble. Multilabel: K questions, each yes or no.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visum.models.uncertain import mutual_information
from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]


def max_softmax(p: Floats, task: Task) -> Array:
    """1 less the probability of the most probable class (Hendrycks & Gimpel 2017), in [0, 1]; multilabel: 1 less the probability
    that all decisions are right, were they independent."""
    wide = p.astype(np.float64)
    if task == "multilabel":
        return np.asarray(1 - np.maximum(wide, 1 - wide).prod(1))
    return np.asarray(1 - wide.max(1))


def margin(p: Floats, task: Task) -> Array:
    """1 less the lead of the most probable class over the next, in [0, 1]; multilabel: of the closest decision, yes over no."""
    wide = p.astype(np.float64)
    if task == "multilabel":
        return np.asarray(1 - np.abs(2 * wide - 1).min(1))
    two = np.partition(wide, -2, axis=1)[:, -2:]
    return np.asarray(1 - (two[:, 1] - two[:, 0]))


def entropy(p: Floats, task: Task) -> Array:
    """Entropy in nats, 0 … log K; multilabel: summed over decisions, 0 … K log 2."""
    wide = p.astype(np.float64)
    parts = _terms(wide) + (_terms(1 - wide) if task == "multilabel" else 0)
    return np.asarray(parts.sum(1))


MEASURES: dict[str, Callable[[Floats, Task], Array]] = {
    "max_softmax": max_softmax,
    "margin": margin,
    "entropy": entropy,
}


def variation(draws: Floats, answers: Integers, task: Task) -> Array:
    """Share of opinions whose answer is another one (variation ratio, Gal 2016, section 3.3.3), in [0, 1]; multilabel: of single
    decisions. Few opinions make few values, so that many images are equally unsure."""
    if task == "multilabel":
        return np.asarray(((draws >= 0.5) != (answers == 1)).mean((0, 2)))
    return np.asarray((draws.argmax(2) != answers).mean(0))


def information(draws: Floats, answers: Integers, task: Task) -> Array:
    """What the opinions disagree about, in nats: 0 where all say the same (BALD, Houlsby et al. 2011)."""
    cases = np.stack([draws, 1 - draws], axis=-1) if task == "multilabel" else draws
    return np.asarray(mutual_information(np.asarray(cases, np.float32)), np.float64)


def mean_entropy(draws: Floats, answers: Integers, task: Task) -> Array:
    """Entropy of the mean of the opinions, in nats: what each is unsure of and what they disagree about, together."""
    return entropy(np.asarray(draws.mean(0), np.float32), task)


DRAWN: dict[str, Callable[[Floats, Integers, Task], Array]] = {
    "variation": variation,
    "information": information,
    "mean_entropy": mean_entropy,
}


def _terms(p: Array) -> Array:
    return np.asarray(-np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0))
