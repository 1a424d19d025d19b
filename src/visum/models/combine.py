"""Several answers about one picture made into one: ``COMBINE`` maps a name to a function of what all members say.

Each takes calibrated logits float64 ``[M, N, K]`` (divided by each member's own temperature, so that a member that is
always sure does not outweigh the others), the decisions of the members bool ``[M, N, K]``, and the task; it returns logits
float32 ``[N, K]``, whose softmax (sigmoid when multilabel) is what the ensemble says. The order of members makes no
difference, and one member asked M times says what it says alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Task

Array = NDArray[np.float64]
Votes = NDArray[np.bool_]
Combine = Callable[[Array, Votes, Task], Floats]
TIE = 0.5
"""Weight of the mean probability beside one whole vote: below 1, so that it decides among equals and never overrules."""


def logits(z: Array, votes: Votes, task: Task) -> Floats:
    """Mean logit: the geometric mean of the members' probabilities, normalised. One member that is sure of "no" weighs much."""
    return np.asarray(z.mean(0), np.float32)


def probabilities(z: Array, votes: Votes, task: Task) -> Floats:
    """Logarithm of the mean probability; log-odds of it when multilabel.

    Its log loss is at most the mean of the members' (Jensen's inequality, since -log is convex).
    """
    yes, no = _mean_logs(z, task)
    return np.asarray(yes - no, np.float32) if task == "multilabel" else np.asarray(yes, np.float32)


def vote(z: Array, votes: Votes, task: Task) -> Floats:
    """Majority voting: logarithm of the share of votes for each class, smoothed by the mean probability p.

    The share is (v + p / 2) / (M + 1/2) for v of M votes: a distribution again, in which p decides between classes with
    equal votes. Multilabel: log-odds of the same, class by class; more than half of the members say yes where they are above 0.
    """
    members, count = len(z), votes.sum(0)
    yes, no = _mean_logs(z, task)
    for_it = _with_votes(count, yes)
    if task == "multilabel":
        return np.asarray(for_it - _with_votes(members - count, no), np.float32)
    return np.asarray(for_it - np.log(members + TIE), np.float32)


COMBINE: dict[str, Combine] = {"probabilities": probabilities, "logits": logits, "vote": vote}


def _mean_logs(z: Array, task: Task) -> tuple[Array, Array]:
    """log of the mean probability of each class ``[N, K]``, and (multilabel only, else the same) of its absence.

    In logarithms all the way, so that a probability of 1e-300 stays one.
    """
    if task == "multilabel":
        return _log_mean(-np.logaddexp(0.0, -z)), _log_mean(-np.logaddexp(0.0, z))
    yes = _log_mean(z - np.logaddexp.reduce(z, axis=2, keepdims=True))
    return yes, yes


def _log_mean(logs: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - np.log(len(logs)))


def _with_votes(count: NDArray[np.integer], log_p: Array) -> Array:
    """log(count + TIE · p)."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(np.log(count), np.log(TIE) + log_p))
