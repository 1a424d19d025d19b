"""Splits against scikit-learn's stratified shuffle and the measure of Sechidis et al., and the laws of leak-free splits."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit

from visum.data.split import FRACTIONS, describe, split
from visum.errors import DataError, NotEnoughData, UsageError
from visum.types import SPLITS, Manifest, Task, column, manifest, rows, targets

CLOTHING = {  # images of each class in the train folder of the clothing photos
    "dress": 241, "hat": 123, "longsleeve": 455, "outwear": 184, "pants": 468,
    "shirt": 290, "shoes": 198, "shorts": 202, "skirt": 112, "t-shirt": 795,
}  # fmt: skip


def table_of(labels: list[tuple[int, ...]], task: Task = "multiclass", **columns: list[str]) -> Manifest:
    classes = [str(k) for k in range(max((k for label in labels for k in label), default=0) + 1)]
    return manifest("/data", task, classes, [f"{at:06d}.png" for at in range(len(labels))], labels, **columns)


def single(y: NDArray[np.int64] | list[int], **columns: list[str]) -> Manifest:
    return table_of([(int(k),) if k >= 0 else () for k in y], **columns)


def alone(table: Manifest) -> NDArray[np.int64]:
    """Clusters where nothing is a copy of anything."""
    return np.arange(len(table))


def counts(table: Manifest) -> NDArray[np.int64]:
    """Images of each class in train, validation and test: int64 ``[3, K]``."""
    hot = np.zeros((len(table), len(table.classes)), np.int64)
    for row, label in enumerate(table.labels):
        hot[row, list(label)] = 1
    return np.array([hot[table.splits == name].sum(0) for name in SPLITS])


def sizes(table: Manifest) -> list[int]:
    return [int((table.splits == name).sum()) for name in SPLITS]


def components(clusters: list[int], groups: list[str]) -> list[int]:
    """Units by the plainest search there is, to hold the quick one to."""
    unit = list(range(len(clusters)))
    for _ in unit:
        for a in range(len(unit)):
            for b in range(len(unit)):
                if clusters[a] == clusters[b] or (groups[a] and groups[a] == groups[b]):
                    unit[a] = unit[b] = min(unit[a], unit[b])
    return unit


@st.composite
def tables(draw: st.DrawFn) -> tuple[Manifest, NDArray[np.int64]]:
    n = draw(st.integers(1, 24))
    multi = draw(st.booleans())
    label = st.sets(st.integers(0, 3), max_size=3) if multi else st.sets(st.integers(0, 3), max_size=1)
    labels = [tuple(sorted(draw(label))) for _ in range(n)]
    names = draw(st.sampled_from([("",), ("", "", "train", "test"), ("train", "test"), ("train",), (*SPLITS, "")]))
    splits = [draw(st.sampled_from(names)) for _ in range(n)]
    groups = [draw(st.sampled_from(["", "", "", "a", "b", "c"])) for _ in range(n)]
    clusters = np.array([draw(st.integers(0, at)) for at in range(n)])
    clusters = np.where([draw(st.booleans()) for _ in range(n)], np.arange(n), clusters)
    table = manifest(
        "/data", "multilabel" if multi else "multiclass", list("0123"), [f"{at}.png" for at in range(n)], labels,
        splits=splits, groups=groups,
    )  # fmt: skip
    return table, clusters


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(0, 3), st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.2, 0.0), (0.2, 0.4, 0.4)]))
def test_laws(case: tuple[Manifest, NDArray[np.int64]], seed: int, fractions: tuple[float, float, float]) -> None:
    table, clusters = case
    try:
        made = split(table, clusters, fractions=fractions, seed=seed)
    except NotEnoughData:
        made = None
    order = np.random.default_rng(seed).permutation(len(table))
    moved = rows(table, order)
    if made is None:
        with pytest.raises(NotEnoughData):
            split(moved, clusters[order], fractions=fractions, seed=seed)
        return
    again = split(moved, clusters[order], fractions=fractions, seed=seed)
    assert (again.splits == made.splits[order]).all(), "the order of rows changes nothing"
    assert set(made.splits) <= set(SPLITS), "every row has a split"
    assert all(s in made.splits for s, f in zip(SPLITS, fractions, strict=True) if f)
    missing = [s for s in SPLITS if s not in table.splits]
    for was, now in zip(table.splits, made.splits, strict=True):
        assert now == was or was == "" or (was == "train" and now in missing), "what is given stays"
    units = components(clusters.tolist(), table.groups.tolist())
    for unit in set(units):
        mine = np.array(units) == unit
        before, after = set(table.splits[mine]) - {""}, set(made.splits[mine])
        if len(before) < 2:
            assert len(after) == 1, "a unit is in one split, unless it was given in several"
        else:
            assert after == before, "a unit that was given in several keeps them and gets no other"
    if not (table.splits != "").any():
        assert ((counts(made)[0] > 0) == (counts(made).sum(0) > 0)).all(), "every class is in train"


def test_clothing_counts_are_as_even_as_scikit_learns() -> None:
    y = np.repeat(np.arange(len(CLOTHING)), list(CLOTHING.values()))
    made = split(single(y), np.arange(len(y)))
    wanted = np.outer(FRACTIONS, np.bincount(y))
    error = np.abs(counts(made) - wanted)
    assert error.max() < 1
    first = StratifiedShuffleSplit(1, train_size=0.7, random_state=0)
    train, rest = next(first.split(y, y))
    part, last = next(StratifiedShuffleSplit(1, train_size=0.5, random_state=0).split(rest, y[rest]))
    reference = np.array([np.bincount(y[at]) for at in (train, rest[part], rest[last])])
    assert error.sum() <= np.abs(reference - wanted).sum()
    assert np.abs(np.array(sizes(made)) - np.multiply(FRACTIONS, len(y))).max() <= 5
    chosen = np.flatnonzero(made.splits[y == 9] == "test") / CLOTHING["t-shirt"]
    assert 0.4 < chosen.mean() < 0.6, "chosen at random, not from one end"


@pytest.mark.parametrize("seed", range(3))
def test_digits_with_copies(seed: int) -> None:
    y = load_digits().target
    clusters = np.arange(len(y))
    clusters[1::5] -= 1
    clusters = clusters[clusters]
    made = split(single(y), clusters, seed=seed)
    assert (made.splits == made.splits[clusters]).all()
    assert np.abs(counts(made) - np.outer(FRACTIONS, np.bincount(y))).max() <= 2
    other = split(single(y), clusters, seed=seed + 1)
    assert 0.3 < (other.splits != made.splits).mean() < 0.6, "another seed, another split"


def distance(table: Manifest) -> float:
    """Label distribution, the measure of Sechidis et al. 2011, section 4.3: 0 where splits have the odds of the whole."""
    hot = targets(table)
    whole = hot.sum(0) / (len(hot) - hot.sum(0))
    parts = [hot[table.splits == name] for name in SPLITS]
    return float(np.mean([np.abs(p.sum(0) / (len(p) - p.sum(0)) - whole) for p in parts]))


def test_multilabel_is_much_evener_than_chance() -> None:
    random = np.random.default_rng(7)
    share = np.geomspace(0.004, 0.4, 20)
    hot = random.random((2000, 20)) < share
    hot[:, 1] |= hot[:, 0]  # labels that go together
    table = table_of([tuple(np.flatnonzero(row).tolist()) for row in hot], "multilabel")
    made = split(table, alone(table))
    assert sizes(made) == pytest.approx([1400, 300, 300], abs=12)
    chance = [
        distance(replace(table, splits=column(random.choice(SPLITS, len(table), p=FRACTIONS).tolist())))
        for _ in range(20)
    ]
    assert distance(made) < min(chance) / 2
    wanted = np.outer(FRACTIONS, hot.sum(0))
    assert (np.abs(counts(made) - wanted) <= np.maximum(1.5, 0.05 * wanted)).all()


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, [1, 0, 0]), (2, [2, 0, 0]), (4, [2, 1, 1]), (7, [5, 1, 1]), (10, None), (20, [14, 3, 3])],
)
def test_small_classes(n: int, expected: list[int] | None) -> None:
    made = split(single([0] * 100 + [1] * n), np.arange(100 + n))
    ours = counts(made)[:, 1].tolist()
    assert ours == expected if expected else sorted(ours) == [1, 2, 7]


def test_a_class_of_large_groups_reaches_every_split() -> None:
    groups = ["a"] * 40 + ["b"] * 30 + ["c"] * 30 + [""] * 300
    made = split(single([0] * 100 + [1] * 300, groups=groups), np.arange(400))
    assert sorted(counts(made)[:, 0].tolist()) == [30, 30, 40]
    assert np.abs(counts(made)[:, 1] - [210, 45, 45]).max() < 1


def test_series_of_many_lengths_are_evened_out() -> None:
    random = np.random.default_rng(3)
    lengths = np.sort(random.geometric(0.05, 300))  # photo series of 1 to about 100 pictures, of four classes
    groups = [str(at) for at, n in enumerate(lengths) for _ in range(n)]
    y = np.repeat(np.arange(300) % 4, lengths)
    made = split(single(y, groups=groups), np.arange(len(y)))
    assert np.abs(counts(made) - np.outer(FRACTIONS, np.bincount(y))).max() <= 2
    assert len(set(zip(groups, made.splits, strict=True))) == 300


def test_unlabelled_rows_are_spread_too() -> None:
    made = split(single([0] * 100 + [-1] * 100), np.arange(200))
    unlabelled = Counter(made.splits[100:])
    assert [unlabelled[name] for name in SPLITS] == [70, 15, 15]


def test_given_validation_is_left_alone_and_rest_is_filled() -> None:
    y = [0] * 200 + [1] * 200
    given_splits = (["validation"] * 30 + [""] * 170) * 2
    made = split(single(y, splits=given_splits), np.arange(400))
    assert counts(made).tolist() == [[140, 140], [30, 30], [30, 30]]
    assert all(now == was for was, now in zip(given_splits, made.splits, strict=True) if was)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (("train", "test"), [255, 45, 100]),
        (("train", "validation"), [255, 100, 45]),
        (("train",), [280, 60, 60]),
        (SPLITS, [200, 100, 100]),
    ],
)
def test_a_missing_split_is_cut_out_of_train_alone(present: tuple[str, ...], expected: list[int]) -> None:
    splits = ["train"] * (400 - 100 * (len(present) - 1)) + [name for name in present[1:] for _ in range(100)]
    table = single(np.arange(400) % 2, splits=splits)
    made = split(table, alone(table))
    assert sizes(made) == pytest.approx(expected, abs=1)
    assert np.ptp(counts(made), axis=1).max() <= 1, "both classes alike"
    for name in present[1:]:
        assert (made.splits[table.splits == name] == name).all()


def test_train_rows_with_a_copy_in_test_are_not_moved_to_validation() -> None:
    splits = ["train"] * 80 + ["test"] * 20
    clusters = np.arange(100)
    clusters[80:] = np.arange(20)
    made = split(single([0] * 100, splits=splits), clusters)
    assert (made.splits[:20] == "train").all()
    assert sizes(made) == [68, 12, 20]


def test_rows_without_a_split_follow_their_copies() -> None:
    splits = ["train", "validation", "test", "test", "train"] + [""] * 5 + ["train"] * 20
    clusters = np.arange(30)
    clusters[5:8] = [0, 1, 2]
    table = single([0] * 30, splits=splits, groups=["", "", "", "g", "g", "", "", "", "g", "", *[""] * 20])
    made = split(table, clusters)
    assert made.splits[5:9].tolist() == ["train", "validation", "test", "test"]


def test_impossible_requests() -> None:
    table = single([0] * 10)
    for fractions in [(0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.8, 0, 0.2), (1.2, -0.1, -0.1), (0.7, float("nan"), 0.3)]:
        with pytest.raises(UsageError, match="sum to 1: train > 0, validation > 0, test >= 0"):
            split(table, alone(table), fractions=fractions)
    with pytest.raises(UsageError, match="9 cluster numbers for 10 images"):
        split(table, np.arange(9))
    with pytest.raises(DataError, match="'valid'"):
        split(single([0, 0], splits=["train", "valid"]), np.arange(2))
    with pytest.raises(NotEnoughData, match="none of the 3 images is for training"):
        split(single([0] * 3, splits=["test"] * 3), np.arange(3))
    with pytest.raises(NotEnoughData, match="no image is left for validation: 10 images make 1 units"):
        split(table, np.zeros(10, np.int64))
    with pytest.raises(NotEnoughData):
        split(rows(table, np.zeros(10, bool)), np.zeros(0, np.int64))


def test_description() -> None:
    table = single([0] * 4000, splits=["train"] * 3000 + ["validation"] * 1000)
    made = split(table, alone(table))
    assert describe(made, table) == "2,550 train (given), 1,000 validation (given) and 450 test (made)."
    assert describe(made) == "2,550 train, 1,000 validation and 450 test."
    assert describe(table) == "3,000 train and 1,000 validation."
    some = single([0] * 100, splits=["train"] * 10 + [""] * 90)
    assert describe(split(some, alone(some)), some).startswith("70 train (10 of them given), 15 validation (made)")
    assert describe(some) == "10 train and 90 without a split."
    assert describe(rows(some, np.zeros(100, bool))) == "No images."


def test_sixty_thousand_rows_take_two_seconds() -> None:
    random = np.random.default_rng(0)
    table = single(random.integers(0, 10, 60_000))
    split(rows(table, np.arange(100)), np.arange(100))  # imports
    begin = time.process_time()
    made = split(table, alone(table))
    assert time.process_time() - begin < 2
    assert sizes(made) == pytest.approx([42_000, 9_000, 9_000], abs=5)


def test_the_real_clothing_folders(clothing: Path) -> None:
    found = sorted((p.parent.parent.name, p.parent.name, p.name) for p in clothing.glob("*/*/*.jpg"))
    classes = sorted({label for _, label, _ in found})
    table = manifest(
        clothing, "multiclass", classes, ["/".join(parts) for parts in found],
        [(classes.index(label),) for _, label, _ in found], splits=[s for s, _, _ in found],
    )  # fmt: skip
    assert {
        c: int(((table.splits == "train") & (targets(table) == k)).sum()) for k, c in enumerate(classes)
    } == CLOTHING
    kept = split(table, alone(table))
    assert (kept.splits == table.splits).all()
    assert describe(kept, table) == "3,068 train (given), 341 validation (given) and 372 test (given)."
    two = rows(table, table.splits != "validation")
    made = split(two, alone(two))
    assert sizes(made) == pytest.approx([0.85 * 3068, 0.15 * 3068, 372], abs=5)
    assert np.abs(counts(made)[1] - 0.15 * np.array(list(CLOTHING.values()))).max() < 1
