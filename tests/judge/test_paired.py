"""Differences of two classifiers on the same images."""

from __future__ import annotations

import numpy as np
import pytest

from visum.judge.paired import difference, holm, mcnemar, swapped


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


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 1), (3, 3), (5, 0), (6, 0), (23, 21), (17, 77), (400, 480)])
def test_mcnemar_is_the_binomial_test(better: int, worse: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(worse, better) == mcnemar(better, worse)


def test_swaps_of_right_and_wrong_are_mcnemars_test() -> None:
    """Each possible swap once, for ten images on which two disagree, is what the binomial counts."""
    first = np.array([[1.0]] * 2 + [[0.0]] * 8 + [[1.0]] * 20)
    second = np.array([[0.0]] * 2 + [[1.0]] * 8 + [[1.0]] * 20)
    p = swapped(lambda sums: sums[:, 0], first, second, draws=20_000)
    assert p == pytest.approx(mcnemar(8, 2), abs=0.01)
    assert swapped(lambda sums: sums[:, 0], second, first, draws=20_000) == p


def test_swaps_of_a_mean_are_scipys_permutation_test() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(3)
    first = rng.gamma(1, 1, 40)
    second = first * rng.uniform(0.5, 1.2, 40)
    p = swapped(lambda sums: sums[:, 0] / 40, first[:, None], second[:, None], draws=4000)
    expected = permutation_test(
        (first, second),
        lambda x, y, axis: (y - x).mean(axis),
        permutation_type="samples",
        n_resamples=4000,
        vectorized=True,
    ).pvalue
    assert p == pytest.approx(expected, abs=0.02)
    assert 0.001 < p < 0.2


def test_holm_as_published() -> None:
    """Holm 1979 as R's ``p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.005), "holm")`` gives it."""
    assert holm((0.01, 0.02, 0.03, 0.04, 0.005)) == pytest.approx((0.04, 0.06, 0.06, 0.06, 0.025))
    assert holm((0.7,)) == (0.7,)
    assert holm((0.5, 0.9)) == (1.0, 1.0)
    assert holm(()) == ()
