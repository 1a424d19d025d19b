"""Slices: names of bins, exact tests as references, and laws over simulated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from visum.judge import slices
from visum.judge.slices import Group
from visum.types import column


def test_quarters_have_words_and_ranges() -> None:
    values = np.arange(100.0)
    cuts = slices.edges(values)
    names = slices.quarters(values, cuts, slices.WORDS["size"], "px")
    assert names[0] == "smallest (under 24.8 px)"
    assert names[-1] == "largest (from 74.2 px)"
    assert [(names == name).sum() for name in dict.fromkeys(names)] == [25, 25, 25, 25]


def test_equal_values_make_fewer_bins_and_none_where_all_are_equal() -> None:
    values = np.array([1.0] * 10 + [5.0] * 90)
    names = slices.quarters(values, slices.edges(values), slices.WORDS["size"])
    assert dict.fromkeys(names) == {"smallest (under 5)": None, "largest (from 5)": None}
    assert (names[:10] == "smallest (under 5)").all()
    flat = np.full(20, 3.0)
    assert (slices.quarters(flat, slices.edges(flat), slices.WORDS["size"]) == "").all()


def test_what_is_not_known_is_in_no_bin() -> None:
    values = np.append(np.arange(40.0), np.nan)
    assert slices.quarters(values, slices.edges(values), slices.WORDS["size"])[-1] == ""
    assert not len(slices.edges(np.full(3, np.nan)))


def test_groups_leave_out_columns_that_say_nothing_new() -> None:
    kind = column(["a", "a", "b", "b", ""])
    found = slices.groups(
        {"class": kind, "folder": column(["x/a", "x/a", "x/b", "x/b", ""]), "format": column(["JPEG"] * 5)}
    )
    assert [(group.by, group.name, int(group.mask.sum())) for group in found] == [("class", "a", 2), ("class", "b", 2)]


def test_deficits_are_hypergeometric() -> None:
    right = np.arange(60) < 45
    mask = np.arange(60) % 5 == 0
    mean, deviation = slices.deficits(right, mask[None].astype(np.float32), np.zeros(60, np.int64))
    exact = hypergeom(60, 45, int(mask.sum()))
    assert mean[0] == pytest.approx(exact.mean(), abs=1e-9)
    assert deviation[0] == pytest.approx(exact.std(), abs=1e-9)


def test_one_group_has_the_p_value_of_fishers_exact_test() -> None:
    right = np.ones(80, bool)
    right[:9] = False
    mask = (np.arange(80) < 6) | (np.arange(80) > 65)  # 6 of its 20 are wrong
    exact = hypergeom(80, 71, 20).cdf(int(right[mask].sum()))
    _, p = slices.dealt(right, mask[None].astype(np.float32), np.zeros(80, np.int64), 3)
    assert p[0] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / slices.DRAWS))


def _draw(rng: np.random.Generator, n: int = 90, chance: float = 0.8) -> tuple[np.ndarray, list[Group]]:
    """Right answers that depend on nothing, and overlapping groups."""
    right = rng.random(n) < chance
    groups = [Group("class", str(k), rng.permutation(n) < n // 6) for k in range(8)]
    return right, groups


def test_no_group_is_called_worse_where_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "DRAWS", 199)
    monkeypatch.setattr(slices, "SHUFFLED", 0)
    rng, alarms = np.random.default_rng(0), 0
    for seed in range(120):
        block = slices.slices(*_draw(rng), seed=seed)
        alarms += min(group["p"] for group in block["groups"]) <= 0.05
    assert alarms <= 13  # binomial with 0.05: more than 13 three times in 1,000


def test_the_interval_of_the_worst_holds_though_it_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "dealt", lambda right, masks, strata, seed: _without_deals(right, masks))
    rng, together, alone = np.random.default_rng(1), 0, 0
    for _ in range(200):
        block = slices.slices(*_draw(rng))
        worst = min(block["groups"], key=lambda group: group["accuracy"])
        together += worst["all_low"] <= 0.8 <= worst["all_high"]
        alone += worst["low"] <= 0.8 <= worst["high"]
    assert together >= 0.95 * 200
    assert alone < 0.9 * 200  # which is why it is not the one to state


def _without_deals(right: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation = slices.deficits(right, masks, np.zeros(len(right), np.int64))
    return (mean - masks @ right.astype(np.float32)) / deviation, np.ones(len(masks))


def test_a_group_that_is_bad_is_found_and_one_that_holds_a_hard_class_is_told_apart() -> None:
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1], 150)
    right = rng.random(300) < np.where(strata == 0, 0.5, 0.95)
    hard = Group(
        "size", "small", (strata == 0) & (rng.random(300) < 0.8)
    )  # all of the hard class, and right as often as it
    block = slices.slices(right, [Group("class", "a", strata == 0), Group("class", "b", strata == 1), hard], strata)
    by_size = next(group for group in block["groups"] if group["by"] == "size")
    assert by_size["p"] < 0.01 < 0.05 < by_size["p_within"]
    dark = Group("brightness", "dark", np.arange(300) % 3 == 0)
    worse = right & ~(dark.mask & (rng.random(300) < 0.5))
    block = slices.slices(worse, [dark, hard], strata)
    assert block["groups"][0]["p_within"] < 0.01
    assert block["groups"][block["worst"]]["by"] == "brightness"


def test_small_groups_are_counted_and_not_judged() -> None:
    right = np.arange(40) % 4 > 0
    block = slices.slices(
        right, [Group("class", "rare", np.arange(40) < 9), Group("class", "rest", np.arange(40) >= 9)]
    )
    assert block["few"] == [{"by": "class", "name": "rare", "n": 9}]
    assert [group["name"] for group in block["groups"]] == ["rest"]


def test_where_all_are_right_no_group_is_worst() -> None:
    block = slices.slices(np.ones(40, bool), [Group("class", "a", np.arange(40) < 20)])
    assert block["worst"] is None
    assert block["groups"][0]["p"] == 1
