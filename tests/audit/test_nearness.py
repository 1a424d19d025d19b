"""Validation nearer to train than test: the statistics against SciPy, the alarm against random and against torn splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm
from sklearn.datasets import load_digits

from visum.audit import nearness
from visum.audit.nearness import findings, larger, nearest
from visum.types import Floats, Manifest, manifest

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def written() -> tuple[Floats, NDArray[np.int64]]:
    """scikit-learn's 1,797 real digits: pixels ``[N, 64]`` and what they are; 43 people wrote them, one after the other."""
    found = load_digits()
    return found.data.astype(np.float32), found.target


def table(labels: NDArray[np.int64], splits: NDArray[np.str_], task: str = "multiclass") -> Manifest:
    ids = [f"{number:04d}.png" for number in range(len(labels))]
    each = [(int(label),) for label in labels]
    return manifest("/data", task, [str(k) for k in range(10)], ids, each, splits=splits.tolist())  # type: ignore[arg-type]


def drawn(n: int, seed: int, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)) -> NDArray[np.str_]:
    return np.random.default_rng(seed).choice(PARTS, n, p=shares)


def jittered(x: Floats, rows: NDArray[np.int64], seed: int = 0) -> Floats:
    """The same digits, seen once more: a little ink more or less in each place."""
    return x[rows] + np.random.default_rng(seed).normal(0, 1.5, (len(rows), x.shape[1])).astype(np.float32)


def test_nearest_is_scipys(written: tuple[Floats, NDArray[np.int64]]) -> None:
    x = written[0]
    train, held = np.arange(0, 1500), np.arange(1500, 1797)
    centred = x - x[train].mean(axis=0)
    distance = cdist(centred[held], centred[train], "cosine")
    cosine, at = nearest(x, held, train)
    np.testing.assert_allclose(cosine, 1 - distance.min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(at, distance.argmin(axis=1))
    np.testing.assert_allclose(nearest(x.astype(np.float16), held, train)[0], 1 - distance.min(axis=1), atol=2e-3)
    shuffled = train[::-1]
    np.testing.assert_array_equal(nearest(x, held, shuffled)[1], at)


def test_one_stratum_is_mann_and_whitneys_test() -> None:
    draw = np.random.default_rng(0)
    for _ in range(5):
        a, b = draw.normal(0.3, 1, 40).astype(np.float32), draw.normal(0, 1, 55).astype(np.float32)
        same = np.array(["x"], object)
        share, deviations, pairs = larger(a, b, same.repeat(40), same.repeat(55))
        reference = mannwhitneyu(a, b, alternative="greater", method="asymptotic", use_continuity=False)
        assert (share, pairs) == (pytest.approx(reference.statistic / (40 * 55)), 40 * 55)
        assert norm.sf(deviations) == pytest.approx(reference.pvalue)


def test_strata_are_never_compared_with_each_other() -> None:
    """Simpson: in each class the numbers are alike, and yet validation has more of the class with large ones."""
    draw = np.random.default_rng(0)
    easy, hard = draw.normal(5, 1, 200).astype(np.float32), draw.normal(0, 1, 200).astype(np.float32)
    a, b = np.concatenate([easy[:150], hard[:50]]), np.concatenate([easy[150:], hard[50:]])
    first, second = np.array(["e"] * 150 + ["h"] * 50, object), np.array(["e"] * 50 + ["h"] * 150, object)
    together = np.array(["x"], object).repeat(200)
    assert larger(a, b, together, together)[1] > 8
    assert abs(larger(a, b, first, second)[1]) < 2
    assert larger(a, b, first, np.array(["z"], object).repeat(200)) == (0.5, 0.0, 0)
    assert larger(b, a, second, first)[0] == pytest.approx(1 - larger(a, b, first, second)[0])
    equal = np.ones(200, np.float32)
    assert larger(equal, equal, together, together)[:2] == (0.5, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_random_splits_raise_no_alarm(written: tuple[Floats, NDArray[np.int64]], seed: int) -> None:
    x, y = written
    assert findings(table(y, drawn(len(y), seed)), x) == []


def test_validation_that_shares_what_train_shows_is_told(written: tuple[Floats, NDArray[np.int64]]) -> None:
    """Every validation image is a train image seen once more, as in one photo session; test images are of nobody in train."""
    x, y = written
    train, test = np.arange(0, 900), np.arange(900, 1200)
    again = np.random.default_rng(1).permutation(train)[:300]
    vectors = np.concatenate([x[train], jittered(x, again), x[test]])
    splits = np.array(PARTS).repeat([900, 300, 300])
    labels = np.concatenate([y[train], y[again], y[test]])
    (found,) = findings(table(labels, splits), vectors)
    assert (found.kind, found.severity) == ("validation_nearer_to_train", "serious")
    assert "within a class" in found.message
    assert "--group-column" in found.message
    assert found.numbers["share"] > 0.8
    assert found.numbers["validation_cosine"] > found.numbers["test_cosine"]
    shown = [int(name[:4]) for name in found.ids]
    assert shown[::2] != shown[1::2]
    assert all(900 <= row < 1200 for row in shown[::2])
    assert np.mean([again[row - 900] == near for row, near in zip(shown[::2], shown[1::2], strict=True)]) > 0.9
    swapped = np.array(("train", "test", "validation")).repeat([900, 300, 300])
    assert findings(table(labels, swapped), vectors) == []
    several = replace(table(labels, splits), task="multilabel")
    assert [each.kind for each in findings(several, vectors)] == [found.kind]


def test_nothing_to_compare_is_no_finding(written: tuple[Floats, NDArray[np.int64]]) -> None:
    x, y = written
    for missing in (*PARTS, *("validation", "test")):
        splits = drawn(len(y), 0)
        splits[splits == missing] = ""
        assert findings(table(y, splits), x) == []
    assert findings(table(y, np.full(len(y), "")), x) == []
    few = np.array(["train"] * 1780 + ["validation"] * 9 + ["test"] * 8)
    assert findings(table(y, few), x) == []


def test_the_work_is_bounded(written: tuple[Floats, NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = written
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(nearness, "MOST_TRAIN", 500)
    monkeypatch.setattr(nearness, "MOST_HELD", 100)
    monkeypatch.setattr(
        nearness,
        "nearest",
        lambda _, held, train: asked.append((len(held), len(train))) or (np.zeros(len(held), np.float32), held),
    )
    findings(table(y, drawn(len(y), 0)), x)
    assert asked == [(100, 500)] * 2
