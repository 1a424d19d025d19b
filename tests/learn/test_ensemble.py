"""Soups: the mean of weights, its laws, and the greedy recipe against what it may and may not keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from visum.errors import ModelError
from visum.learn import probe
from visum.learn.ensemble import Weights, difference, greedy_soup, uniform_soup

Arrays = dict[str, NDArray[Any]]


def drawn(seed: int, **more: Any) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "backbone.w": rng.normal(size=(3, 4)).astype(np.float32),
        "backbone.half": rng.normal(size=5).astype(np.float16),
        "backbone.seen": np.array(seed, np.int64),
        **more,
    }


def same(a: Weights, b: Weights) -> None:
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


def test_a_soup_of_copies_is_the_original() -> None:
    one = drawn(0)
    for copies in (1, 2, 3, 7):
        same(uniform_soup([one] * copies), one)
        same(greedy_soup([one] * copies, lambda w: 0.5).weights, one)


def test_a_uniform_soup_is_the_mean_whatever_the_order() -> None:
    members = [drawn(seed) for seed in range(3)]
    soup = uniform_soup(members)
    np.testing.assert_allclose(soup["backbone.w"], np.mean([m["backbone.w"] for m in members], axis=0), rtol=1e-6)
    assert soup["backbone.half"].dtype == np.float16
    assert soup["backbone.seen"] == 0
    for name in ("backbone.w", "backbone.half"):
        np.testing.assert_allclose(uniform_soup(members[::-1])[name], soup[name], rtol=1e-6, atol=1e-6)


def test_the_greedy_soup_begins_with_the_best_and_keeps_what_does_no_harm() -> None:
    """The target is 0; members at 1, -1.2, 9: the best, then its opposite, and not the one far off."""
    members: list[Arrays] = [{"w": np.array([v], np.float32)} for v in (9.0, -1.2, 1.0)]
    asked: list[float] = []

    def score(weights: Weights) -> float:
        asked.append(float(weights["w"][0]))
        return -abs(asked[-1])

    soup = greedy_soup(members, score)
    assert soup.kept == (2, 1)
    assert soup.weights["w"] == pytest.approx(-0.1)
    assert soup.score == pytest.approx(-0.1)
    assert soup.alone == pytest.approx((-9, -1.2, -1))
    assert asked == pytest.approx([9, -1.2, 1, -0.1, (1 - 1.2 + 9) / 3])


def test_a_tie_is_kept_and_less_is_not() -> None:
    members: list[Arrays] = [{"w": np.array([v], np.float32)} for v in (0.0, 1.0, 2.0)]
    assert greedy_soup(members, lambda w: 1.0).kept == (0, 1, 2)
    assert greedy_soup(members, lambda w: 1.0 if w["w"][0] == 0 else 0.9).kept == (0,)


def test_a_greedy_soup_of_real_heads_scores_at_least_what_its_best_member_does() -> None:
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    heads: list[Arrays] = []
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(600)[:60]
        heads.append(dict(probe.fit(x[rows], y[rows], 10)))

    def accuracy(w: Weights) -> float:
        return float(((x[600:1200] @ w["weight"] + w["bias"]).argmax(1) == y[600:1200]).mean())

    soup = greedy_soup(heads, accuracy)
    assert soup.score == accuracy(soup.weights) >= max(soup.alone) == max(map(accuracy, heads))
    assert soup.kept[0] == int(np.argmax(soup.alone))
    turned = greedy_soup(heads[::-1], accuracy)
    assert [3 - number for number in turned.kept] == list(soup.kept)


@pytest.mark.parametrize(("other", "words"), [
    ({"backbone.w": np.zeros((3, 5), np.float32)}, r"tensor backbone\.w is float32 \[3, 4\] in one and float32 \[3, 5\]"),
    ({"backbone.w": np.zeros((3, 4), np.float16)}, r"tensor backbone\.w is float32 .* float16 \[3, 4\] in the other"),
    ({"head.bias": np.zeros(3, np.float32)}, r"tensor head\.bias is in one of them only"),
])  # fmt: skip
def test_other_networks_are_refused_by_the_tensor(other: Arrays, words: str) -> None:
    one, another = drawn(0), drawn(1, **other)
    assert difference(one, drawn(1)) == ""
    with pytest.raises(ModelError, match=f"members 0 and 1 cannot be averaged: {words}"):
        uniform_soup([one, another])

    def never(weights: Weights) -> float:
        raise AssertionError("scored")

    with pytest.raises(ModelError, match="cannot be averaged"):
        greedy_soup([one, another], never)
    with pytest.raises(ModelError, match="a soup of no network"):
        uniform_soup([])
