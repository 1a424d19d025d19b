"""Prediction sets that hold the true class with a promised probability, whatever the model is worth (split conformal).

A *score* says how badly a class fits a picture. Of n calibration pictures the score of the true class is known; a set holds
every class that fits no worse than the ``ceil((n + 1) coverage)``-th smallest of these. If new pictures come as those n came
(exchangeable), a new set holds the truth with probability >= coverage, and the share of new pictures for which it does is a
draw from Beta(n + 1 - l, l) with ``l = floor((n + 1) (1 - coverage))``, exactly so where no two scores are equal (Vovk 2012;
Angelopoulos & Bates 2023, section 3.2).

The promise of a bundle rests on its validation pictures, which have chosen among rungs and fitted one temperature before: the
scores are a little too good, by as much as that choice overfits. They are not split for this, since a few hundred pictures
are worth more whole; instead the coverage on the sealed test pictures stands beside the promise.

Of pictures with several labels there are no sets here: each label has a threshold of its own, and none of these bounds the
share of pictures all of whose labels are found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.errors import NotEnoughData, UsageError
from visum.judge.sound import enough, sound
from visum.types import Floats, Integers, Predictions, probabilities

Array = NDArray[np.float64]
PENALTY, FREE = 0.01, 5
"""Of RAPS: what each rank beyond the first ``FREE`` adds to a score (lambda and k_reg of the paper's ImageNet
experiments)."""
COVERAGES = (0.9, 0.95)
"""For which a bundle tells its quantiles; any other is computed from the scores it carries."""
USUAL = 0.95
"""Coverage where none is asked for."""


def _lac(p: Array, u: Array) -> Array:
    return 1 - p


def _aps(p: Array, u: Array) -> Array:
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, 1)
    before = np.cumsum(ranked, axis=1) - ranked
    out = np.empty_like(p)
    np.put_along_axis(out, order, before + u[:, None] * ranked, 1)
    return out


def _raps(p: Array, u: Array) -> Array:
    rank = np.argsort(np.argsort(-p, axis=1, kind="stable"), axis=1) + 1
    return np.asarray(_aps(p, u) + PENALTY * np.maximum(0, rank - FREE))


METHODS: dict[str, Callable[[Array, Array], Array]] = {"lac": _lac, "aps": _aps, "raps": _raps}
"""Name → ``(probabilities [N, K], u [N]) -> scores [N, K]``.

lac: one minus the probability; the smallest sets on average (Sadinle, Lei & Wasserman 2019). A set may be empty.
aps: the probability of all classes that are more probable, and the share u of its own (Romano, Sesia & Candès 2020, eq. 7).
Drawn uniformly, u makes coverage exact for discrete answers as well; with u = 0, the same picture always has the same set,
which is then never empty; with u = 1 it counts itself whole, as MAPIE's ``include_last_label=False`` does.
raps: aps and a penalty for ranks beyond the first few, so that tails of many classes do not come in (Angelopoulos et al.
2021).
"""
USUAL_METHOD = "aps"
"""Chosen beforehand and not on data: answers with u = 0 are the same each time, no set is empty, and hard pictures get larger
sets."""


def scores(p: NDArray[np.floating], method: str = USUAL_METHOD, u: Array | None = None) -> Array:
    """How badly each class fits, float64 ``[N, K]``.

    Args:
        p: calibrated probabilities ``[N, K]``, rows summing to 1.
        method: of ``METHODS``.
        u: in [0, 1], ``[N]``; None for zeros, the sets that nothing is drawn for.

    Raises:
        UsageError: no such method.
    """
    if method not in METHODS:
        raise UsageError(f"no prediction sets are called {method!r}", allowed=", ".join(METHODS))
    wide = np.asarray(p, np.float64)
    return METHODS[method](wide, np.zeros(len(wide)) if u is None else np.asarray(u, np.float64))


def of_truth(scored: Array, labels: Integers) -> Array:
    """The true class's column, ``[N]``."""
    return np.asarray(scored[np.arange(len(labels)), labels])


def misses(n: int, coverage: float) -> int:
    """l, the number of calibration scores above the quantile, and one: ``floor((n + 1) (1 - coverage))``."""
    return math.floor((n + 1) * (1 - coverage) + 1e-9)


def needed(coverage: float) -> int:
    """The fewest calibration pictures with which any set can be smaller than all classes: 19 for 0.95."""
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def quantile(true_scores: NDArray[np.floating], coverage: float) -> float:
    """The largest score that is let in; infinite (all classes) with fewer than ``needed`` pictures.

    Args:
        true_scores: of the true classes of n calibration pictures, ``[n]``.
        coverage: in (0, 1).
    """
    n = len(true_scores)
    left_out = misses(n, coverage)
    return float(np.partition(true_scores, n - left_out)[n - left_out]) if left_out >= 1 else math.inf


def coverage_law(n: int, coverage: float, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, and the ends of the central interval of that level, of the share of new pictures whose set holds the truth: that
    of Beta(n + 1 - l, l), which is what n calibration pictures can promise. (1, 1, 1) where they are too few."""
    from scipy.stats import beta

    left_out = misses(n, coverage)
    if left_out < 1:
        return 1.0, 1.0, 1.0
    law = beta(n + 1 - left_out, left_out)
    return float(law.mean()), float(law.ppf(0.5 - level / 2)), float(law.ppf(0.5 + level / 2))


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The largest score let in, by class.

    Attributes:
        values: float64 ``[K]``.
        own: bool ``[K]``: whether the class has a threshold, and so a promise, of its own; others take the one of all
        pictures.
    """

    values: Array
    own: NDArray[np.bool_]


def by_class(true_scores: NDArray[np.floating], labels: Integers, classes: int, coverage: float) -> Thresholds:
    """A threshold for each class (Mondrian; Vovk 2003), so that each is covered and not only their mixture.

    A class with fewer than ``needed`` calibration pictures falls back to the threshold of all pictures: for it nothing is
    promised.
    """
    everyone = quantile(true_scores, coverage)
    own = np.bincount(labels, minlength=classes) >= needed(coverage)
    values = [quantile(true_scores[labels == k], coverage) if own[k] else everyone for k in range(classes)]
    return Thresholds(np.asarray(values, np.float64), own)


def sets(
    p: NDArray[np.floating], limit: float | Array, method: str = USUAL_METHOD, u: Array | None = None
) -> NDArray[np.bool_]:
    """Which classes are in the set of each picture, bool ``[N, K]``.

    Args:
        p: calibrated probabilities ``[N, K]``.
        limit: of ``quantile``, or the ``values [K]`` of ``by_class``.
        method, u: as the limit was found with.
    """
    return np.asarray(scores(p, method, u) <= limit)


def check(n: int, coverage: float) -> None:
    """Raises ``UsageError`` for a coverage outside of (0, 1), ``NotEnoughData`` where n pictures are too few for it."""
    if not 0 < coverage < 1:
        raise UsageError(f"a coverage of {100 * coverage:g} %", allowed="more than 0 % and less than 100 %", next="95%")
    if n < needed(coverage):
        raise NotEnoughData(
            f"{n} validation images for sets with {100 * coverage:g} % coverage",
            allowed=f"{needed(coverage)} or more",
            next=f"{needed(coverage) - n} more, or a smaller coverage",
        )


def calibrated(held: Predictions, coverage: float, method: str = USUAL_METHOD) -> tuple[Floats, Integers]:
    """What a bundle keeps: the true class's score, float32 ``[n]``, and the label, int64 ``[n]``, of each calibration
    picture.

    Raises:
        UsageError: several labels each.
        NotEnoughData: fewer labelled pictures than that coverage needs, with the number; or one class only.
        DataError: logits that are NaN or infinite.
    """
    if held.task == "multilabel":
        raise UsageError("prediction sets of pictures with several labels", allowed="one class for each picture")
    check(len(sound(held)), coverage)
    known = enough(held, 1, "to make prediction sets with")
    found = of_truth(scores(probabilities(known), method), known.labels).astype(np.float32)
    return found, known.labels


def facts(
    true_scores: Floats, labels: Integers, p: NDArray[np.floating], coverage: float, method: str
) -> dict[str, float | int]:
    """What a coverage means with these calibration pictures, JSON-ready.

    Keys: ``coverage``, ``alpha``, ``quantile``, ``n``; ``expected``, ``low`` and ``high`` (mean and central 95 % of the Beta
    law); ``size`` (mean number of classes in the sets of ``p``, probabilities ``[N, K]``). Raises ``NotEnoughData`` with the
    number needed.
    """
    n = len(true_scores)
    check(n, coverage)
    limit = quantile(true_scores, coverage)
    expected, low, high = coverage_law(n, coverage)
    size = float(sets(p, limit, method).sum(1).mean())
    said = {"coverage": coverage, "alpha": round(1 - coverage, 9), "quantile": limit, "n": n, "expected": expected}
    return {**said, "low": low, "high": high, "size": size}
