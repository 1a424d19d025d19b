"""Four kinds of drift, each by its own name: three streams that raise their own alarm and no other, estimates, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drifted import CLASSES, blurred, digits, referred, said, seen, shifted
from numpy.typing import NDArray

from visum.errors import DataError, UsageError
from visum.judge.drift import accuracy, classes, power, separate, stream, unknown, words
from visum.judge.drift.sample import Reference, Sample, pick, reference, sample
from visum.types import Predictions

DRAWS = 199


def drawn(seed: int) -> tuple[Reference, NDArray[np.int64], np.random.Generator]:
    """A reference of 500 digits and the rows of the others."""
    d, rng = digits(), np.random.default_rng(seed)
    rows = rng.permutation(len(d.labels))
    return referred(d, rows[:500]), rows[500:], rng


def window(kind: str, against: Reference, rest: NDArray[np.int64], rng: np.random.Generator) -> Sample:
    """200 labelled pictures with one kind of drift."""
    d = digits()
    rows = rest[:200]
    if kind == "covariate":
        return seen(d, against, blurred(d.images[rows]), d.labels[rows])
    if kind == "label":
        rows = shifted(d.labels, rest, np.array([4, 1, 4, 1, 4, 1, 1, 1, 2, 1]) / 20, 200, rng)
        return seen(d, against, d.images[rows], d.labels[rows])
    if kind == "concept":  # a quarter of them is called by other names
        truth, some = d.labels[rows].copy(), rng.random(200) < 0.25
        truth[some] = rng.permutation(truth[some])
        return seen(d, against, d.images[rows], truth)
    if kind == "unknown":  # noise that looks like no digit
        images = d.images[rows].copy()
        images[:30] = rng.random((30, 8, 8))
        truth = np.where(np.arange(200) < 30, -1, d.labels[rows])
        return seen(d, against, images, truth)
    return seen(d, against, d.images[rows], d.labels[rows])


def alarms(kind: str, seed: int) -> list[str]:
    against, rest, rng = drawn(seed)
    found = separate.judge(against, window(kind, against, rest, rng), alpha=0.01, draws=DRAWS, seed=seed)
    return [name for name, v in found.verdicts.items() if v.status == "alarm"]


@pytest.mark.parametrize("kind", separate.KINDS)
def test_each_stream_raises_its_own_alarm_and_no_other(kind: str) -> None:
    assert alarms(kind, 0) == [kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", separate.KINDS)
def test_six_streams_raise_their_own_alarm_and_hardly_another(kind: str) -> None:
    found = [alarms(kind, seed) for seed in range(6)]
    assert all(kind in each for each in found), found
    assert sum(len(each) - 1 for each in found) <= 2, found  # 18 others at 0.01 each


def test_no_drift_raises_none() -> None:
    assert sum(map(len, (alarms("none", seed) for seed in range(2)))) <= 1


@pytest.mark.slow
def test_whole_windows_without_drift_ring_as_often_as_promised() -> None:
    d, rng, rings = digits(), np.random.default_rng(0), dict.fromkeys(separate.KINDS, 0)
    for seed in range(120):
        rows = rng.permutation(len(d.labels))
        against = referred(d, rows[:200])
        part = seen(d, against, d.images[rows[200:260]], d.labels[rows[200:260]])
        for kind, v in separate.judge(against, part, draws=59, seed=seed).verdicts.items():
            rings[kind] += v.status == "alarm"
    assert max(rings.values()) <= 12, rings  # 99 % of binomial(120, 0.05)
    assert min(rings.values()) >= 1, rings


def test_the_share_of_strangers_is_within_its_interval() -> None:
    against, rest, rng = drawn(0)
    part = window("unknown", against, rest, rng)
    strata = np.concatenate([against.sample.answers, part.answers])
    scores = np.concatenate([against.sample.strange, part.strange])
    value, low, high = unknown.share(scores, strata, np.arange(len(strata)) >= 500)
    assert low <= 0.15 <= high
    assert low < value < high
    assert high - low < 0.15


@pytest.mark.slow
def test_accuracy_is_estimated_without_labels() -> None:
    inside, errors = [], []
    for seed in range(12):
        against, rest, rng = drawn(seed)
        part = window("label" if seed % 2 else "none", against, rest, rng)
        found = separate.judge(against, part, draws=99, seed=seed)
        true = float((part.answers == part.labels).mean())
        for each in found.estimates:
            inside.append(each.low <= true <= each.high)
            errors.append(abs(each.value - true))
    assert np.mean(inside) > 0.8
    assert np.mean(errors) < 0.03


def test_thresholded_confidence_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    known, new, right = (
        rng.random(200).astype(np.float32),
        rng.random(150).astype(np.float32),
        np.zeros(200, np.float32),
    )
    right[:130] = 1
    threshold = np.sort(known)[::-1][129]  # 65 % of the reference lies at or above it
    found = accuracy.by_threshold(new, known, right)
    assert found.value == pytest.approx((new >= threshold).mean())
    assert found.low < found.value < found.high
    assert accuracy.by_confidence(new, known, right).value == pytest.approx(
        new.mean() + right.mean() - known.mean(), abs=1e-6
    )


def test_a_class_that_drifted_is_named_with_pictures_of_it() -> None:
    d = digits()
    against, rest, _ = drawn(1)
    rows = rest[:400]
    images = np.where((d.labels[rows] == 0)[:, None, None], blurred(d.images[rows], 0.9), d.images[rows])
    part = seen(d, against, images)
    found = {each.name: each for each in classes.by_class(against, part)}
    assert found["0"].p <= 0.05
    assert sum(each.p <= 0.05 for each in found.values()) <= 2
    assert all(part.answers[row] == 0 for row in found["0"].examples)
    assert sum(each.share for each in found.values()) == pytest.approx(1)


def test_too_few_pictures_say_how_many_are_needed() -> None:
    against, rest, _ = drawn(2)
    d = digits()
    few = seen(d, against, d.images[rest[:19]], d.labels[rest[:19]])
    for n in (0, 1, 9, 19):
        found = separate.judge(against, pick(few, np.arange(n)))
        assert {v.status for v in found.verdicts.values()} <= {"too_few", "not_judged", "quiet"}
        v = found.verdicts["covariate"]
        assert words.sentence(v, found, CLASSES, against.prior) == f"{n} pictures are too few to say: 20 are needed."


def test_what_cannot_be_judged_is_said() -> None:
    d, (against, rest, _) = digits(), drawn(3)
    found = separate.judge(against, seen(d, against, d.images[rest[:60]]))
    assert found.verdicts["concept"].status == "not_judged"
    one = rest[d.labels[rest] == 4]
    alone = separate.judge(against, seen(d, against, d.images[one], d.labels[one]))  # one class alone
    assert alone.verdicts["label"].status == "alarm"
    assert alone.shares.argmax() == 4
    assert alone.verdicts["covariate"].status == "quiet"
    with pytest.raises(DataError, match=r"answers of 1 of 3 pictures are NaN"):
        sample(against, np.array([[0.0], [np.nan], [1.0]]), np.zeros((3, 10), np.float32))


def test_several_labels_a_picture_are_judged_without_shares() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 5)).astype(np.float32)
    y = (x[:, :3] + 0.5 * rng.standard_normal((400, 3)) > 0).astype(np.int64)
    tall = Predictions(np.array(list("a" * 200), object), 3 * x[:200, :3], y[:200], ("a", "b", "c"), "multilabel")
    against = reference(x[:200], tall, x[200:260])
    quiet = separate.judge(against, sample(against, x[260:], 3 * x[260:, :3], y[260:]))
    assert {k: v.status for k, v in quiet.verdicts.items()} == {
        "covariate": "quiet",
        "label": "not_judged",
        "concept": "quiet",
        "unknown": "quiet",
    }
    other = separate.judge(against, sample(against, x[260:] + 1, 3 * x[260:, :3], 1 - y[260:]))
    assert other.verdicts["covariate"].status == "alarm"
    assert other.verdicts["concept"].status == "unclear"


def test_windows_cut_a_stream_in_order_and_lose_nothing() -> None:
    times = np.array([30.0, 10, 20, 100, 90, 50, np.nan])
    parts = stream.cut(times, 3)
    assert [part.rows.tolist() for part in parts] == [[1, 2, 0], [5, 4, 3, 6]]
    hours = stream.cut(times[:6] * 60, 3600.0)
    assert [len(part.rows) for part in hours] == [4, 2]
    assert [part.start for part in hours] == [0, 3600]
    gap = stream.cut(np.array([0.0, 4 * 3600]), 3600.0)
    assert [len(part.rows) for part in gap] == [1, 0, 0, 0, 1]
    with pytest.raises(UsageError, match="1 of 7 pictures have no time"):
        stream.cut(times, 60.0)
    with pytest.raises(UsageError, match="at most 400"):
        stream.cut(np.array([0.0, 1e9]), 60.0)


@pytest.mark.parametrize(
    ("text", "size"), [("200", 200), ("30m", 1800.0), ("6h", 21600.0), ("1d", 86400.0), ("2w", 1209600.0)]
)
def test_lengths_of_windows(text: str, size: float) -> None:
    assert stream.length(text) == size
    assert isinstance(stream.length(text), type(size))


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "1y", "day", "nan"])
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"Allowed: a number of pictures \(200\), or a time"):
        stream.length(text)


def test_a_stream_is_judged_at_a_share_of_alpha_and_finds_the_windows_that_changed() -> None:
    d, (against, rest, _) = digits(), drawn(4)
    rows = rest[:360]
    images = d.images[rows].copy()
    images[240:] = blurred(images[240:], 1.0)
    whole = seen(d, against, images)
    windows = stream.cut(np.arange(360.0), 60)
    found = stream.judge(against, whole, windows)
    rings = [each.verdicts["covariate"].status == "alarm" for each in found]
    assert rings[4:] == [True, True]
    assert sum(rings[:4]) <= 1
    empty = stream.judge(
        against, pick(whole, np.arange(60)), [*stream.cut(np.arange(60.0), 60), stream.Window(0, 0, np.arange(0))]
    )
    assert empty[1].verdicts["covariate"].status == "too_few"
    assert stream.draws(0.05 / 100) >= 100 / 0.05


@pytest.mark.slow
def test_the_self_check_says_how_large_a_drift_would_be_seen() -> None:
    d, (against, rest, _) = digits(), drawn(5)
    many = power.self_check_block(
        against, d.points(d.images[rest[:300]]), said(d, d.images[rest[:300]], d.labels[rest[:300]])
    )
    assert set(many["power"]) == set(separate.KINDS)
    assert many["n"] == 300
    few = seen(d, against, d.images[rest[:40]], d.labels[rest[:40]])
    less = power.seen_sizes(against, few)
    for kind in ("covariate", "unknown"):
        assert (less[kind]["size"] or math.inf) >= many["power"][kind]["size"]
    assert many["power"]["covariate"]["size"] < 0.5
    assert many["accuracy"]["low"] <= many["accuracy"]["measured"] <= many["accuracy"]["high"]
    assert set(many["kinds"]) == set(separate.KINDS)
