"""Differences of two classifiers on the same images."""

from __future__ import annotations

import numpy as np
import pytest

from visum.judge.paired import difference


def test_as_published() -> None:
    """Agresti and Min 2005: approval of a prime minister in two surveys of 1,600 people, 944 and 880 of whom approve."""
    value, low, high = difference(86, 150, 1600)
    assert value == pytest.approx(-0.04)
    assert (low, high) == pytest.approx((-0.0587, -0.0212), abs=2e-4)


def test_it_has_a_width_where_nobody_disagrees() -> None:
    value, low, high = difference(0, 0, 100)
    assert value == 0
    assert low == pytest.approx(-high)
    assert 0.01 < high < 0.03


def test_it_turns_around_with_the_two() -> None:
    value, low, high = difference(3, 17, 200)
    other, low2, high2 = difference(17, 3, 200)
    assert (value, low, high) == pytest.approx((-other, -high2, -low2))


def test_it_covers_what_is_true() -> None:
    """Of 2,000 draws of 150 pairs, 95 in 100 intervals hold the true difference, give or take."""
    rng = np.random.default_rng(0)
    cells = rng.multinomial(150, [0.7, 0.12, 0.05, 0.13], 2000)
    held = [low <= 0.07 <= high for _, low, high in (difference(int(b), int(c), 150) for _, b, c, _ in cells)]
    assert 0.94 < np.mean(held) < 0.97


def test_ends_stay_shares() -> None:
    assert difference(5, 0, 5)[2] <= 1
    assert difference(0, 1, 1)[1] >= -1
