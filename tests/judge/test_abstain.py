"""When to say nothing: the promised error is exceeded no more often than allowed, on known and on real error rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from scipy import stats

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import abstain
from visum.types import decisions, probabilities

DRAWS = 1000


@pytest.mark.slow
def test_the_promise_holds_where_the_error_rate_is_known() -> None:
    """Sure by s, uniform in 0.5 … 1, and wrong with probability 1 - s: above t the share of wrong ones is (1 - t) / 2."""
    draw, target, broken, answered = np.random.default_rng(0), 0.1, 0, []
    for _ in range(DRAWS):
        sure = np.sort(draw.uniform(0.5, 1, 400).astype(np.float32))[::-1]
        wrong = (draw.random(400) > sure).astype(np.uint8)
        try:
            found = abstain.threshold(sure, wrong, target, 0.1)
        except NotEnoughData:
            continue
        broken += (1 - max(found.threshold, 0.5)) / 2 > target
        answered.append(found.answered)
    assert broken / DRAWS <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / DRAWS)
    assert broken > 0  # else the bound would be much too wide, and the promise dear
    assert np.sum(answered) > 0.1 * DRAWS  # of the 0.4 that an oracle would answer


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.03, 0.08])
def test_the_promise_holds_on_real_predictions(target: float) -> None:
    """Draws of 400 from 797 real answers, whose true error at any threshold is thereby known."""
    sure, wrong = abstain.surest(predictions("multiclass"))
    draw, broken, made = np.random.default_rng(3), 0, 0
    for _ in range(DRAWS):
        some = np.sort(draw.integers(0, 797, 400))  # surest first, since all of them are
        try:
            found = abstain.threshold(sure[some], wrong[some], target)
        except NotEnoughData:
            continue
        made += 1
        broken += wrong[sure > found.threshold].mean() > target
    assert made > DRAWS / 4
    assert broken / DRAWS <= abstain.DELTA + 3 * np.sqrt(abstain.DELTA / DRAWS)


def test_the_bound_is_clopper_pearsons() -> None:
    sure, wrong = abstain.surest(predictions("multiclass"))
    found = abstain.threshold(sure, wrong, 0.05)
    on = sure > found.threshold
    assert (found.answered, found.error, found.n) == (on.mean(), wrong[on].mean(), 797)
    test = stats.binomtest(int(wrong[on].sum()), int(on.sum()), alternative="less")
    assert found.bound == pytest.approx(test.proportion_ci(1 - abstain.DELTA, "exact").high, abs=1e-9)
    assert found.bound <= 0.05


def test_surest_first_and_only_labelled_ones() -> None:
    held = predictions("binary")
    labels = held.labels.copy()
    labels[:100] = -1
    sure, wrong = abstain.surest(replace(held, labels=labels))
    said = decisions(held)[100:]
    assert (np.diff(sure) <= 0).all()
    assert len(sure) == 697
    assert wrong.sum() == (said != held.labels[100:]).sum()
    p = probabilities(held)[100:]
    assert np.allclose(np.sort(sure), np.sort(p[np.arange(697), said]))


def test_pictures_that_are_equally_sure_are_answered_together() -> None:
    sure = np.repeat(np.float32([0.9, 0.8, 0.7]), 200)
    wrong = np.zeros(600, np.uint8)
    wrong[395:410] = 1  # within the second block and at the beginning of the third
    wrong[450:] = 1
    found = abstain.threshold(sure, wrong, 0.05)
    assert found.threshold == pytest.approx(0.7)
    assert found.answered == pytest.approx(400 / 600)


def test_everything_is_answered_where_nothing_is_wrong() -> None:
    sure = np.linspace(1, 0.5, 300).astype(np.float32)
    found = abstain.threshold(sure, np.zeros(300, np.uint8), 0.02)
    assert (found.threshold, found.answered, found.error) == (-1, 1, 0)


@pytest.mark.parametrize("target", [0.01, 0.02, 0.1])
def test_too_few_pictures_are_said_with_the_number_needed(target: float) -> None:
    least = abstain.needed(target)
    level = abstain.DELTA
    assert (1 - target) ** least <= level < (1 - target) ** (least - 1)  # binomial, no mistake
    sure, wrong = np.linspace(1, 0.5, least).astype(np.float32), np.zeros(least, np.uint8)
    assert abstain.threshold(sure, wrong, target).answered == 1
    with pytest.raises(NotEnoughData, match=f"{least} or more"):
        abstain.threshold(sure[1:], wrong[1:], target)


def test_what_cannot_be_promised() -> None:
    held = predictions("multiclass")
    with pytest.raises(UsageError, match="several labels"):
        abstain.surest(predictions("multilabel"))
    with pytest.raises(DataError, match="NaN"):
        abstain.surest(replace(held, logits=np.full_like(held.logits, np.nan)))
    with pytest.raises(NotEnoughData, match="two classes"):
        abstain.surest(replace(held, labels=np.zeros(797, np.int64)))
    sure = np.linspace(1, 0.5, 500).astype(np.float32)
    with pytest.raises(NotEnoughData, match="of the surest 93 of 500 validation images are answered wrongly"):
        abstain.threshold(sure, np.ones(500, np.uint8), 0.05)
    for wrong in (0.0, 1.0, 2.0):
        with pytest.raises(UsageError, match="target"):
            abstain.threshold(sure, np.zeros(500, np.uint8), wrong)
