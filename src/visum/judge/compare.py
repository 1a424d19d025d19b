"""Several classifiers on the same images: which is best, is that more than chance, and would more images tell?

Intervals of differences come from the paired bootstrap (both are resampled with the same images); for accuracy in closed form
from Agresti and Min, whose interval keeps its width where two never disagree. P-values come from exact tests: McNemar's for
accuracy, swaps of answers for the rest. The best one is the best on these very images, so that p-values allow for all pairs, not
only for those that are shown (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import intervals, metrics, paired, power
from visum.judge.evaluate import headline, score
from visum.judge.scores import Case
from visum.judge.sound import case, sound
from visum.judge.sums import COMPARED, names
from visum.types import Integers, Predictions, Score

Array = NDArray[np.float64]
LEAST = 30
"""Images below which nothing is said: of 30, two that disagree on a fifth would have to differ by 25 points to be told apart."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """One classifier less the best one, by one score.

    Attributes:
        metric: of ``COMPARED``.
        value, low, high: the difference and its 95 % interval, in the unit of the score; below 0: lower than the best one's.
        method: of the interval: agresti-min or bootstrap.
        resampled: low and high by the paired bootstrap, whatever ``method`` is.
        p: of the exact test, for this pair alone.
        adjusted: the same after Holm, over all pairs of the comparison.
        different: whether ``adjusted`` is at most 0.05.
    """

    metric: str
    value: float
    low: float
    high: float
    method: str
    resampled: tuple[float, float]
    p: float
    adjusted: float
    different: bool


@dataclass(frozen=True)
class Against:
    """One classifier against the best one.

    Attributes:
        name: of this one.
        differences: of each score.
        both, only_best, only_this, neither: images that these get right.
        smallest: the smallest true difference of accuracy that these images would show, four times out of five.
        needed: how many images it would take to show the observed difference of accuracy, four times out of five; None where
            there is none.
        apart: ids of images that only one of them gets right: those of the best one, then those of this one.
    """

    name: str
    differences: tuple[Difference, ...]
    both: int
    only_best: int
    only_this: int
    neither: int
    smallest: float
    needed: int | None
    apart: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        n: images.
        metric: by which the best one is the best.
        best: its name.
        scores: name → score of each metric with its 95 % interval, in the order that they were given.
        others: each of the others, in that order.
        pairs: how many pairs the p-values allow for.
    """

    n: int
    metric: str
    best: str
    scores: Mapping[str, Mapping[str, Score]]
    others: tuple[Against, ...]
    pairs: int


def compare(given: Mapping[str, Predictions], *, seed: int = 0) -> Comparison:
    """Compare classifiers by what they said of the same images.

    Args:
        given: name → predictions, two or more, with the same rows, labels and classes in the same order; unlabelled rows are
            left out.
        seed: of resamples and swaps.

    Raises:
        UsageError: fewer than two.
        DataError: rows, labels, classes or tasks that differ; logits that are NaN.
        NotEnoughData: fewer than ``LEAST`` labelled images.
    """
    known = alike(given)
    cases = {name: case(each) for name, each in known.items()}
    first = next(iter(known.values()))
    metric, wanted = headline(first.task), names(first.task)
    scores = {name: {each: score(said, each, seed=seed) for each in wanted} for name, said in known.items()}
    best = max(scores, key=lambda name: (scores[name][metric].value, -scores[name]["log_loss"].value))
    pairs = [(best, name) for name in known if name != best]
    pairs += [pair for pair in combinations(known, 2) if best not in pair]
    differences = {each: _differences(each, cases, pairs, seed) for each in wanted}
    others = tuple(
        _against(first, cases, pair, tuple(differences[each][at] for each in wanted), len(pairs))
        for at, pair in enumerate(pairs)
        if best in pair
    )
    return Comparison(len(first), metric, best, scores, others, len(pairs))


def alike(given: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """The labelled rows of each, after all that ``compare`` refuses was looked for."""
    if len(given) < 2:
        raise UsageError(f"{len(given)} to compare", allowed="two or more")
    known = {name: sound(each) for name, each in given.items()}
    (name, first), *others = known.items()
    for other, each in others:
        for what, same in (
            ("task", each.task == first.task),
            ("classes", each.classes == first.classes),
            ("images", each.ids.shape == first.ids.shape and bool((each.ids == first.ids).all())),
            ("labels", np.array_equal(each.labels, first.labels)),
        ):
            if not same:
                raise DataError(f"{name} and {other} have other {what}", allowed=f"the same {what} in the same order")
    if len(first) < LEAST:
        raise NotEnoughData(
            f"{len(first)} labelled images to compare on",
            allowed=f"{LEAST} or more",
            next=f"{LEAST - len(first)} more labelled images",
        )
    return known


def _differences(metric: str, cases: Mapping[str, Case], pairs: list[tuple[str, str]], seed: int) -> list[Difference]:
    """The second of each pair less the first."""
    sums, n = COMPARED[metric], len(next(iter(cases.values()))[1])
    parts = {name: sums.parts(each) for name, each in cases.items()}

    def resampled(weights: NDArray[np.float32]) -> Array:
        drawn = weights.astype(np.float64)
        return np.stack([sums.value(drawn @ each) for each in parts.values()], 1)

    values = dict(zip(parts, intervals.resample(resampled, n, resamples=RESAMPLES, seed=seed).T, strict=True))
    plain = {name: float(sums.value(each.sum(0)[None])[0]) for name, each in parts.items()}
    right = {name: metrics.right(each[1], each[2]) for name, each in cases.items()}
    ps = [
        paired.mcnemar(*_apart(right[one], right[two]))
        if metric == "accuracy"
        else paired.swapped(sums.value, parts[one], parts[two], seed=seed)
        for one, two in pairs
    ]
    found = []
    for (one, two), p, adjusted in zip(pairs, ps, paired.holm(ps), strict=True):
        low, high = (float(end) for end in intervals.expanded(values[two] - values[one], n))
        ends, value, method = (low, high), plain[two] - plain[one], "bootstrap"
        if metric == "accuracy":
            value, low, high = paired.difference(*_apart(right[one], right[two]), n)
            method = "agresti-min"
        found.append(Difference(metric, value, low, high, method, ends, p, adjusted, adjusted <= power.ALPHA))
    return found


def _apart(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int]:
    """Images that only the second, only the first gets right."""
    return int((second & ~first).sum()), int((first & ~second).sum())


def _against(
    rows: Predictions,
    cases: Mapping[str, Case],
    pair: tuple[str, str],
    differences: tuple[Difference, ...],
    pairs: int,
) -> Against:
    top, own = (metrics.right(cases[name][1], cases[name][2]) for name in pair)
    n, alpha = len(rows), power.ALPHA / pairs
    won, lost = _apart(top, own)
    said: tuple[Integers, Integers] = (np.flatnonzero(top & ~own), np.flatnonzero(own & ~top))
    return Against(
        pair[1],
        differences,
        int((own & top).sum()),
        lost,
        won,
        int((~own & ~top).sum()),
        power.smallest(n, (won + lost) / n, alpha),
        power.needed((won - lost) / n, (won + lost) / n, alpha),
        (tuple(map(str, rows.ids[said[0]])), tuple(map(str, rows.ids[said[1]]))),
    )
