"""Risk against coverage: beside naive loops and closed forms, and what it says of real classifiers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from judged import predictions

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import intervals
from visum.judge.risk import _score, area, aurc, curve, excess_aurc, measured, risk_block
from visum.judge.sound import taken
from visum.judge.uncertainty import DRAWN, MEASURES
from visum.storage import finite
from visum.types import Floats, Predictions, Task, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visum.judge.risk.RESAMPLES", (150, 150))


def wrong(given: Predictions) -> np.ndarray:
    off = decisions(given) != given.labels
    return (off.any(1) if off.ndim == 2 else off).astype(float)


@cache
def opinions(task: Task) -> Floats:
    """Five noisy views of the same logits, as probabilities."""
    given, rng = predictions(task), np.random.default_rng(2)
    return np.stack(
        [
            probabilities(
                replace(given, logits=(given.logits + rng.normal(0, 0.4, given.logits.shape)).astype(np.float32))
            )
            for _ in range(5)
        ]
    )


def naive(uncertainty: np.ndarray, loss: np.ndarray) -> list[float]:
    """Risk after 1, 2, … images, each by sorting and counting anew."""
    order = sorted(range(len(loss)), key=lambda row: uncertainty[row])
    return [sum(loss[row] for row in order[:count]) / count for count in range(1, len(loss) + 1)]


def test_a_naive_loop_says_the_same() -> None:
    given = predictions("multiclass")
    u = MEASURES["entropy"](probabilities(given), "multiclass")
    assert len(np.unique(u)) == len(u)
    coverage, risk = curve(u, wrong(given))
    expected = naive(u, wrong(given))
    assert risk == pytest.approx(expected, abs=1e-12)
    assert coverage == pytest.approx(np.arange(1, 798) / 797)
    assert aurc(u, wrong(given)) == pytest.approx(np.mean(expected), abs=1e-12)
    assert risk[-1] == pytest.approx(wrong(given).mean())


def test_equally_unsure_images_count_as_the_mean_of_all_orders() -> None:
    u, loss = np.array([2.0, 1, 1, 1, 2, 3]), np.array([1.0, 0, 1, 0, 0, 1])
    ways = [naive(u[list(p)], loss[list(p)]) for p in permutations(range(6))]
    assert curve(u, loss)[1] == pytest.approx(np.mean(ways, axis=0), abs=1e-12)


def test_closed_forms() -> None:
    """Equally unsure, or in an order at random: the risk of all. k of n wrong, best order: (k - (n - k)(H(n) - H(n - k))) / n."""
    loss = np.array([1.0] * 30 + [0.0] * 170)
    assert aurc(np.zeros(200), loss) == pytest.approx(0.15)
    rng = np.random.default_rng(0)
    assert np.mean([aurc(rng.random(200), loss) for _ in range(400)]) == pytest.approx(0.15, abs=0.005)
    harmonic = sum(1 / i for i in range(171, 201))
    assert aurc(loss, loss) == pytest.approx((30 - 170 * harmonic) / 200)
    assert excess_aurc(loss, loss) == 0
    assert aurc(-loss, loss) == pytest.approx(max(aurc(rng.random(200), loss), aurc(-loss, loss)))
    r = 0.15
    assert aurc(loss, loss) == pytest.approx(
        r + (1 - r) * np.log(1 - r), abs=0.002
    )  # Geifman et al. 2019, in the limit


def test_laws() -> None:
    """Any rising function of an uncertainty has the same curve, and so has any order of the files."""
    given = predictions("multiclass")
    u, loss = MEASURES["max_softmax"](probabilities(given).round(2), "multiclass"), wrong(given)
    order = np.random.default_rng(1).permutation(len(u))
    assert curve(np.exp(3 * u), loss)[1] == pytest.approx(curve(u, loss)[1], abs=1e-12)
    assert curve(u[order], loss[order])[1] == pytest.approx(curve(u, loss)[1], abs=1e-12)
    assert 0 < excess_aurc(u, loss) < loss.mean()


@pytest.mark.parametrize("digits", [1, 8])
def test_weights_are_repeated_images(digits: int) -> None:
    given = predictions("multiclass")
    u, loss = MEASURES["entropy"](probabilities(given), "multiclass").round(digits), wrong(given)
    weights = np.random.default_rng(0).multinomial(797, np.full(797, 1 / 797), 5).astype(np.float32)
    weights[0] = 1
    weights[1, ::2] = 0  # another total
    found = area(u, loss)(weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        assert value == pytest.approx(aurc(np.repeat(u, row), np.repeat(loss, row)), abs=1e-12)


@pytest.mark.slow
def test_intervals_hold_the_truth() -> None:
    """Of 300 draws of 150 images from a population of 797, 93 to 97 in 100."""
    given = predictions("multiclass")
    u, loss = MEASURES["max_softmax"](probabilities(given), "multiclass"), wrong(given)
    rng, held = np.random.default_rng(3), []
    large = rng.integers(0, 797, 200_000)
    true = aurc(u[large], loss[large])
    for draw in range(300):
        rows = rng.integers(0, 797, 150)
        values = intervals.resample(area(u[rows], loss[rows]), 150, resamples=300, seed=draw)
        found = _score("aurc", aurc(u[rows], loss[rows]), values[:, 0], 150)
        held.append(found["low"] <= true <= found["high"])
    assert 0.93 <= np.mean(held) <= 0.97


def test_nothing_wrong_has_no_interval() -> None:
    given = predictions("multiclass")
    found = risk_block(replace(given, labels=decisions(given)))
    assert found["measures"][0]["aurc"]["value"] == 0
    assert np.isnan(found["measures"][0]["aurc"]["low"])
    assert found["measures"][0]["aurc"]["method"] == ""
    json.dumps(finite(found), allow_nan=False)


def test_measures_have_their_ranges_and_extremes() -> None:
    sure, torn = np.array([[1.0, 0, 0]], np.float32), np.full((1, 3), 1 / 3, np.float32)
    for name, most in (("max_softmax", 2 / 3), ("margin", 1.0), ("entropy", np.log(3))):
        assert MEASURES[name](sure, "multiclass") == pytest.approx([0], abs=1e-6)
        assert MEASURES[name](torn, "multiclass") == pytest.approx([most], abs=1e-6)
    yes_no, even = np.array([[1.0, 0.0]], np.float32), np.full((1, 2), 0.5, np.float32)
    for name, most in (("max_softmax", 0.75), ("margin", 1.0), ("entropy", 2 * np.log(2))):
        assert MEASURES[name](yes_no, "multilabel") == pytest.approx([0], abs=1e-6)
        assert MEASURES[name](even, "multilabel") == pytest.approx([most], abs=1e-6)


def test_scipy_says_the_same_entropy() -> None:
    from scipy.stats import entropy

    p = probabilities(predictions("multiclass"))
    assert MEASURES["entropy"](p, "multiclass") == pytest.approx(entropy(p.astype(float), axis=1), abs=1e-6)


def test_opinions_that_agree_have_nothing_to_tell() -> None:
    p = probabilities(predictions("multiclass"))
    same = np.stack([p, p, p])
    assert DRAWN["information"](same, p.argmax(1), "multiclass") == pytest.approx(np.zeros(797), abs=1e-5)
    assert (DRAWN["variation"](same, p.argmax(1), "multiclass") == 0).all()
    assert DRAWN["mean_entropy"](same, p.argmax(1), "multiclass") == pytest.approx(
        MEASURES["entropy"](p, "multiclass"), abs=1e-5
    )
    two = np.stack([np.eye(10, dtype=np.float32)[p.argmax(1)], np.eye(10, dtype=np.float32)[(p.argmax(1) + 1) % 10]])
    assert DRAWN["information"](two, p.argmax(1), "multiclass") == pytest.approx(np.full(797, np.log(2)), abs=1e-5)
    assert (DRAWN["variation"](two, p.argmax(1), "multiclass") == 0.5).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_block(task: Task) -> None:
    given = predictions(task)
    found = risk_block(given, {"dropout": opinions(task)})
    json.dumps(finite(found), allow_nan=False)
    names = [each["name"] for each in found["measures"]]
    assert set(names) == set(MEASURES) | {f"dropout {kind}" for kind in DRAWN}
    assert set(names) == set(measured(given, {"dropout": opinions(task)}))
    assert found["best"] == names[0]
    values = [each["aurc"]["value"] for each in found["measures"]]
    assert values == sorted(values)
    assert found["risk"]["value"] == pytest.approx(wrong(given).mean())
    base = next(each for each in found["measures"] if each["name"] == "max_softmax")
    assert base["difference"] is None
    u = MEASURES["max_softmax"](probabilities(given), task)
    assert base["aurc"]["value"] == pytest.approx(aurc(u, wrong(given)), abs=1e-9)
    assert base["e_aurc"]["value"] == pytest.approx(excess_aurc(u, wrong(given)), abs=1e-9)
    for each in found["measures"]:
        for score in (each["aurc"], each["e_aurc"]):
            assert 0 <= score["low"] <= score["value"] <= score["high"]
        coverage, risk, low, high = np.array(each["curve"]).T
        assert (np.diff(coverage) > 0).all()
        assert coverage[-1] == 1
        assert risk[-1] == pytest.approx(found["risk"]["value"])
        assert ((low <= risk) & (risk <= high)).all()
        assert each["at"]["1"]["n"] == 797
        assert each["at"]["0.5"]["n"] == 398
        if each["difference"] is not None:
            assert each["difference"]["value"] == pytest.approx(each["aurc"]["value"] - base["aurc"]["value"])
    assert base["at"]["0.5"]["risk"] < found["risk"]["value"] - 0.05
    assert (u <= base["at"]["0.5"]["threshold"]).sum() >= 398


def test_noise_is_not_called_better_than_the_probability() -> None:
    given = predictions("multiclass")
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(10), (4, 797)).astype(np.float32)
    found = risk_block(given, {"noise": noise})
    assert found["best"] in MEASURES
    assert not found["better"]
    bad = next(each for each in found["measures"] if each["name"] == "noise information")
    assert bad["difference"]["low"] > 0


def test_what_knows_is_called_better() -> None:
    """A second opinion that is torn exactly where the answer is wrong."""
    given = predictions("multiclass")
    p = np.eye(10, dtype=np.float32)[probabilities(given).argmax(1)]
    other = p.copy()
    off = wrong(given) == 1
    other[off] = np.roll(p[off], 1, axis=1)
    found = risk_block(given, {"oracle": np.stack([p, other])})
    assert found["best"].startswith("oracle")
    assert found["better"]
    assert found["measures"][0]["aurc"]["value"] == pytest.approx(found["optimum"])


def test_doubts_that_are_worth_nothing_are_said() -> None:
    given = predictions("multiclass")
    rng = np.random.default_rng(0)
    found = risk_block(replace(given, labels=rng.integers(0, 10, 797)))
    assert "not" in found["advice"]
    assert "% of the images" in found["sentence"]


def test_unlabelled_images_are_left_out() -> None:
    given = predictions("multiclass")
    labels = given.labels.copy()
    labels[::2] = -1
    some = np.arange(1, 797, 2)
    half = risk_block(replace(given, labels=labels), {"dropout": opinions("multiclass")})
    assert half == risk_block(taken(given, some), {"dropout": opinions("multiclass")[:, some]})


def test_what_is_refused() -> None:
    given = predictions("multiclass")
    with pytest.raises(NotEnoughData, match=r"30 labelled images to weigh risk .* 50 or more"):
        risk_block(taken(given, np.arange(30)))
    with pytest.raises(NotEnoughData, match="all 797 images"):
        risk_block(replace(given, labels=np.zeros(797, np.int64)))
    with pytest.raises(
        UsageError, match=r"opinions of dropout of shape \[1, 797, 10\]. Allowed: \[2 or more, 797, 10\]"
    ):
        risk_block(given, {"dropout": opinions("multiclass")[:1]})
    with pytest.raises(DataError, match="opinions of dropout are NaN"):
        risk_block(given, {"dropout": np.full((2, 797, 10), np.nan, np.float32)})
    broken = given.logits.copy()
    broken[3, 3] = np.inf
    with pytest.raises(DataError, match="NaN or infinite"):
        risk_block(replace(given, logits=broken))
