"""Comparisons of real classifiers on the same digits: laws of the tests and the intervals, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import intervals, metrics, paired, power
from visum.judge.compare import compare
from visum.judge.sound import case, taken
from visum.judge.sums import COMPARED, names
from visum.types import Predictions, Task, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@cache
def other(task: Task) -> Predictions:
    """The same images answered by something a little worse: logits with noise."""
    given = predictions(task)
    noise = np.random.default_rng(1).normal(0, 0.35, given.logits.shape)
    return replace(given, logits=(given.logits + noise).astype(np.float32))


@pytest.mark.parametrize("task", TASKS)
def test_sums_give_scikit_learns_scores(task: Task) -> None:
    given = predictions(task)
    y, said = given.labels, decisions(given)
    expected = {
        "accuracy": reference.accuracy_score(y, said),
        "macro_f1": reference.f1_score(y, said, average="macro"),
        "log_loss": metrics.log_loss(probabilities(given), y, said, task),
        "brier": metrics.brier(probabilities(given), y, said, task),
    }
    if task == "multilabel":
        expected["micro_f1"] = reference.f1_score(y, said, average="micro")
    assert set(names(task)) == set(expected)
    for name, value in expected.items():
        parts = COMPARED[name].parts(case(given))
        assert COMPARED[name].value(parts.sum(0)[None])[0] == pytest.approx(value, abs=1e-9)


def test_a_class_without_images_counts_as_it_does_elsewhere() -> None:
    given = case(taken(predictions("multiclass"), np.flatnonzero(predictions("multiclass").labels != 8)))
    assert (given[2] == 8).any()
    found = COMPARED["macro_f1"].value(COMPARED["macro_f1"].parts(given).sum(0)[None])[0]
    assert found == pytest.approx(metrics.METRICS["macro_f1"](*given), abs=1e-9)


def test_what_is_told_of_three() -> None:
    best, worse = predictions("multiclass"), other("multiclass")
    twin = replace(best, model="again")
    found = compare({"worse": worse, "best": best, "twin": twin})
    assert (found.best, found.n, found.metric, found.pairs) == ("best", 797, "accuracy", 3)
    assert [each.name for each in found.others] == ["worse", "twin"]
    bad, same = found.others
    right = [decisions(each) == each.labels for each in (best, worse)]
    assert (bad.both, bad.only_best, bad.only_this, bad.neither) == (
        (right[0] & right[1]).sum(),
        (right[0] & ~right[1]).sum(),
        (~right[0] & right[1]).sum(),
        (~right[0] & ~right[1]).sum(),
    )
    assert set(bad.apart[0]) == set(best.ids[right[0] & ~right[1]])
    assert set(bad.apart[1]) == set(best.ids[~right[0] & right[1]])
    for each in bad.differences:
        assert each.different
        assert each.p <= each.adjusted
        assert each.low <= each.value <= each.high
        values = [found.scores[name][each.metric].value for name in ("worse", "best")]
        assert each.value == pytest.approx(values[0] - values[1], abs=1e-6)
    accuracy = bad.differences[0]
    assert accuracy.p == paired.mcnemar(bad.only_this, bad.only_best)
    assert accuracy.method == "agresti-min"
    assert accuracy.resampled == pytest.approx((accuracy.low, accuracy.high), abs=0.01)
    assert all(not each.different and each.value == 0 and each.adjusted == 1 for each in same.differences)
    assert same.needed is None
    assert 0 < same.smallest < bad.smallest < 0.1
    assert bad.smallest == power.smallest(797, (bad.only_best + bad.only_this) / 797, 0.05 / 3)
    assert bad.needed is not None
    assert bad.needed < 797


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_other_tasks(task: Task) -> None:
    found = compare({"a": other(task), "b": predictions(task)})
    assert found.metric == ("micro_f1" if task == "multilabel" else "accuracy")
    assert [each.metric for each in found.others[0].differences] == list(names(task))


def swapped_answers(count: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` draws of n images; each image's two answers change sides by a coin, so that the two are equally good."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 797, (count, n)), rng.random((count, n)) < 0.5


def test_equal_models_are_called_different_in_at_most_5_of_100_draws() -> None:
    """500 draws of 200 images; McNemar's exact test on accuracy."""
    right = np.stack(
        [metrics.right(each[1], each[2]) for each in map(case, (predictions("multiclass"), other("multiclass")))]
    )
    rows, coin = swapped_answers(500, 200, 0)
    one, two = np.where(coin, right[0][rows], right[1][rows]), np.where(coin, right[1][rows], right[0][rows])
    called = [
        paired.mcnemar(int(b), int(c)) <= 0.05 for b, c in zip((two & ~one).sum(1), (one & ~two).sum(1), strict=True)
    ]
    assert np.mean(called) <= 0.05
    assert np.mean(called) > 0


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
def test_swaps_keep_the_level_too(metric: str) -> None:
    """At most 5 %, give or take two standard errors of 500 draws."""
    sums = COMPARED[metric]
    parts = [
        np.asarray(p.todense() if hasattr(p, "todense") else p)
        for p in (sums.parts(case(e)) for e in (predictions("multiclass"), other("multiclass")))
    ]
    rows, coin = swapped_answers(500, 100, 1)
    called = []
    for draw, (at, side) in enumerate(zip(rows, coin, strict=True)):
        one = np.where(side[:, None], parts[0][at], parts[1][at])
        two = np.where(side[:, None], parts[1][at], parts[0][at])
        called.append(paired.swapped(sums.value, one, two, draws=199, seed=draw) <= 0.05)
    assert 0.02 <= np.mean(called) <= 0.07


@pytest.mark.slow
def test_the_best_of_five_equal_models_is_seldom_called_better() -> None:
    """That the best one was chosen on the same images is allowed for: of 500 draws, at most 5 in 100 call any difference one."""
    pool = np.random.default_rng(4)
    base = metrics.right(*case(predictions("multiclass"))[1:3])
    called = 0
    for _ in range(500):
        rows = pool.integers(0, 797, 200)
        flips = pool.random((5, 200)) < 0.1
        right = base[rows] ^ flips
        p = {
            (a, b): paired.mcnemar(int((right[b] & ~right[a]).sum()), int((right[a] & ~right[b]).sum()))
            for a in range(5)
            for b in range(a)
        }
        called += min(paired.holm(list(p.values()))) <= 0.05
    assert called <= 25


@pytest.mark.parametrize(
    ("metric", "draws"), [("accuracy", 2000), ("log_loss", 1000), pytest.param("macro_f1", 500, marks=pytest.mark.slow)]
)
def test_intervals_hold_the_truth_in_93_to_97_of_100_draws(metric: str, draws: int) -> None:
    """Draws of 200 images from a population of 797, in which the true difference is known. All draws are resampled with the
    same weights: that ties their errors together, and leaves how often each holds the truth as it is."""
    sums, n = COMPARED[metric], 200
    cases = [case(each) for each in (predictions("multiclass"), other("multiclass"))]
    parts = [sums.parts(each) for each in cases]
    true = float((sums.value(parts[1].sum(0)[None]) - sums.value(parts[0].sum(0)[None]))[0])
    rows = np.random.default_rng(2).integers(0, 797, (draws, n))
    if metric == "accuracy":
        right = [metrics.right(each[1], each[2])[rows] for each in cases]
        cells = zip((right[1] & ~right[0]).sum(1), (right[0] & ~right[1]).sum(1), strict=True)
        ends = np.array([paired.difference(int(b), int(c), n)[1:] for b, c in cells]).T
    else:
        dense = [np.asarray(p.todense() if hasattr(p, "todense") else p) for p in parts]
        columns = dense[0].shape[1]
        wide = [p[rows].transpose(1, 0, 2).reshape(n, draws * columns) for p in dense]

        def statistic(weights: np.ndarray) -> np.ndarray:
            values = [sums.value((weights @ w.astype(np.float32)).reshape(-1, columns).astype(float)) for w in wide]
            return (values[1] - values[0]).reshape(len(weights), draws)

        ends = np.stack(intervals.expanded(intervals.resample(statistic, n, resamples=600, seed=1), n))
    held = (ends[0] <= true) & (true <= ends[1])
    assert 0.93 <= held.mean() <= 0.97


def test_what_is_refused() -> None:
    given = predictions("multiclass")
    with pytest.raises(UsageError, match="two or more"):
        compare({"a": given})
    with pytest.raises(NotEnoughData, match=r"20 labelled images to compare on. Allowed: 30 or more. Try: 10 more"):
        compare({"a": taken(given, np.arange(20)), "b": taken(given, np.arange(20))})
    with pytest.raises(DataError, match="a and b have other images"):
        compare({"a": given, "b": taken(given, np.arange(797)[::-1])})
    with pytest.raises(DataError, match="a and b have other labels"):
        compare({"a": given, "b": replace(given, labels=(given.labels + 1) % 10)})
    with pytest.raises(DataError, match="a and b have other classes"):
        compare({"a": given, "b": replace(given, classes=tuple("abcdefghij"))})
    with pytest.raises(DataError, match="a and b have other task"):
        compare({"a": predictions("binary"), "b": predictions("multilabel")})
    broken = given.logits.copy()
    broken[5] = np.nan
    with pytest.raises(DataError, match=r"1 of 797 images are NaN.*0005"):
        compare({"a": given, "b": replace(given, logits=broken)})


def test_the_same_seed_gives_the_same_numbers() -> None:
    given = {"a": taken(predictions("multiclass"), np.arange(60)), "b": taken(other("multiclass"), np.arange(60))}
    assert compare(given, seed=3) == compare(given, seed=3)
    assert compare(given, seed=3) != compare(given, seed=4)
