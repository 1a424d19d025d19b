"""When to say nothing: the threshold on how sure an answer is above which at most a promised share is wrong.

Among validation pictures, most sure first, the first m are tested, for one m after the other: would a model that is wrong in
more than ``target`` of such cases make so few mistakes (exact binomial; the same as asking whether Clopper-Pearson's upper
bound is below the target)? The first m that fails ends the search, so that testing hundreds of thresholds costs nothing
(fixed-sequence testing; Angelopoulos et al. 2021, "Learn then Test", section 4). The search begins where it depends on nothing
but the number of pictures: at the fewest that pass without a mistake, or with one where there are twice as many, so that a
single early mistake does not end it.

Given the m-th most sure picture, those above it are independent draws from all that are surer (order statistics), so each test
holds exactly although thresholds are found in the data, as in SGR (Geifman & El-Yaniv 2017), which has to correct for its
binary search. One thing is assumed: that surer answers are, on the whole, not more often wrong. Over draws of the validation
pictures the error among answered pictures then exceeds the target in at most a share delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visum.errors import NotEnoughData, UsageError
from visum.judge.sound import enough
from visum.types import Floats, Predictions, decisions, probabilities

DELTA = 0.05
"""How often the promise may fail, over draws of the validation pictures."""
TARGETS = (0.01, 0.02, 0.05)
"""For which a bundle tells its thresholds; any other is computed from what it carries."""


@dataclass(frozen=True)
class Abstention:
    """What was promised.

    Attributes:
        target: the largest share of wrong answers among those that are given.
        delta: how often that may fail, over draws of the validation pictures.
        threshold: an answer is given where its probability is above this; -1: always.
        answered: share of the n validation pictures that are answered.
        error: share of wrong ones among them.
        bound: Clopper-Pearson's upper bound of that at 1 - delta: <= target.
        n: validation pictures.
    """

    target: float
    delta: float
    threshold: float
    answered: float
    error: float
    bound: float
    n: int


def needed(target: float, delta: float = DELTA) -> int:
    """Fewest validation pictures with which a target can be promised at all, if the surest of them are without a mistake."""
    return math.ceil(math.log(delta) / math.log1p(-target))


def _start(n: int, target: float, delta: float) -> int:
    """How many of the surest are tested first."""
    from scipy.stats import binom

    fewest = needed(target, delta)
    counts = np.arange(fewest, n // 2 + 1)
    enough_for_one = np.flatnonzero(binom.cdf(1, counts, target) <= delta)
    return int(counts[enough_for_one[0]]) if len(enough_for_one) else fewest


def surest(held: Predictions) -> tuple[Floats, NDArray[np.uint8]]:
    """How sure each answer is (probability of the answer, float32 ``[n]``) and whether it is wrong (0 or 1, ``[n]``),
    labelled pictures only, surest first.

    Raises:
        UsageError: several labels each.
        NotEnoughData: no labelled picture, or one class only.
        DataError: logits that are NaN or infinite.
    """
    if held.task == "multilabel":
        raise UsageError(
            "abstaining where pictures have several labels", allowed="one class for each picture", next="visum evaluate"
        )
    known = enough(held, 1, "to find out when to abstain")
    said = decisions(known)
    sure = probabilities(known)[np.arange(len(said)), said]
    order = np.argsort(-sure, kind="stable")
    return sure[order], (said != known.labels)[order].astype(np.uint8)


def threshold(sure: Floats, wrong: NDArray[np.uint8], target: float, delta: float = DELTA) -> Abstention:
    """The lowest threshold whose promise holds.

    Args:
        sure, wrong: of ``surest``.
        target: share of wrong answers, in (0, 1).
        delta: in (0, 1).

    Raises:
        UsageError: a target outside of (0, 1).
        NotEnoughData: too few validation pictures, with the number needed; or too many mistakes among the surest.
    """
    from scipy.stats import beta, binom

    if not 0 < target < 1:
        raise UsageError(
            f"a target error of {100 * target:g} %", allowed="more than 0 % and less than 100 %", next="2%"
        )
    n, fewest = len(sure), needed(target, delta)
    words = f"at most {100 * target:g} % wrong answers, in {100 * (1 - delta):g} % of such promises"
    if n < fewest:
        raise NotEnoughData(
            f"{n} validation images to promise {words}",
            allowed=f"{fewest} or more",
            next=f"{fewest - n} more, or a larger target",
        )
    count = np.arange(1, n + 1)
    mistakes = np.cumsum(wrong, dtype=np.int64)
    edge = np.append(sure[1:] < sure[:-1], True)  # equal ones are answered together or not at all
    first = _start(n, target, delta)
    tried = count[(count >= first) & edge]
    passed = binom.cdf(mistakes[tried - 1], tried, target) <= delta
    reached = len(passed) if passed.all() else int(np.argmin(passed))
    if not reached:
        seen = int(tried[0])
        found = int(mistakes[seen - 1])
        raise NotEnoughData(
            f"{words}: {found} of the surest {seen} of {n} validation images {'is' if found == 1 else 'are'} answered wrongly",
            allowed="fewer mistakes, or more images",
            next="a larger target error, or better training",
        )
    best = int(tried[reached - 1])
    m = int(mistakes[best - 1])
    bound = float(beta.ppf(1 - delta, m + 1, best - m)) if m < best else 1.0
    cut = -1.0 if best == n else float(sure[best])
    return Abstention(target, delta, cut, best / n, m / best, bound, n)
