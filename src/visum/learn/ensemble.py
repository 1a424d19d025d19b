"""Soups: several trained networks of one architecture become one network, whose weights are the mean of theirs.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time". It costs one network at prediction, however many went in, and only helps where all started from the same
pretrained weights: networks that were trained from different random weights lie in different valleys, and their mean is
no network at all. How answers (instead of weights) are combined is in ``models.combine``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError

Weights = Mapping[str, NDArray[Any]]
Score = Callable[[Weights], float]


@dataclass(frozen=True, eq=False)
class Soup:
    """Averaged weights.

    Attributes:
        weights: by name, types as the members'.
        kept: numbers of the members that went in, in the order in which they were added.
        score: of ``weights``.
        alone: score of each member.
    """

    weights: dict[str, NDArray[Any]]
    kept: tuple[int, ...]
    score: float
    alone: tuple[float, ...]


def difference(a: Weights, b: Weights) -> str:
    """Why two sets of weights cannot be averaged, in words; "" where they can."""
    for name in sorted({*a, *b}):
        if name not in a or name not in b:
            return f"tensor {name} is in one of them only"
        if a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            one, other = (f"{value.dtype} {list(value.shape)}" for value in (a[name], b[name]))
            return f"tensor {name} is {one} in one and {other} in the other"
    return ""


def uniform_soup(members: Sequence[Weights]) -> dict[str, NDArray[Any]]:
    """The mean of all members, tensor by tensor, in float64; counters and other whole numbers are the first's.

    Raises:
        ModelError: no member, or tensors of other names, shapes or types, and which.
    """
    _check(members)
    return {name: _mean([member[name] for member in members]) for name in members[0]}


def _check(members: Sequence[Weights]) -> None:
    if not members:
        raise ModelError("a soup of no network", allowed="one or more")
    for number, other in enumerate(members[1:], 1):
        if words := difference(members[0], other):
            raise ModelError(f"the weights of members 0 and {number} cannot be averaged: {words}")


def _mean(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    kind = values[0].dtype
    if kind.kind not in "fc":
        return values[0]
    return np.asarray(sum((v.astype(np.float64) for v in values), np.zeros(())) / len(values), kind)


def greedy_soup(members: Sequence[Weights], score: Score) -> Soup:
    """Add members, the best first, and keep each with which the mean scores no worse (Wortsman et al. 2022, recipe 1).

    So the soup scores at least what its best member does, on what it is scored on.

    Args:
        members: of the same names, shapes and types; of equals in score the one that is named first goes first.
        score: on validation data, higher is better; called once for each member and once for each mean that is tried.

    Raises:
        ModelError: as ``uniform_soup``.
    """
    _check(members)  # before any scoring
    alone = tuple(score(member) for member in members)
    first, *others = sorted(range(len(members)), key=lambda number: -alone[number])
    kept, best, weights = [first], alone[first], uniform_soup([members[first]])
    for number in others:
        tried = uniform_soup([members[each] for each in (*kept, number)])
        if (reached := score(tried)) >= best:
            kept, best, weights = [*kept, number], reached, tried
    return Soup(weights, tuple(kept), best, alone)
