"""How much a set of images can show: against simulated tests, and against the published approximation."""

from __future__ import annotations

import numpy as np
import pytest

from visum.judge.paired import mcnemar
from visum.judge.power import needed, power, smallest


@pytest.mark.parametrize(("n", "difference", "discordance"), [(60, 0.15, 0.3), (372, 0.05, 0.12), (372, 0.0, 0.1)])
def test_power_is_how_often_the_test_finds_it(n: int, difference: float, discordance: float) -> None:
    rng = np.random.default_rng(0)
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    cells = rng.multinomial(n, [better, worse, 1 - discordance], 4000)
    table, where = np.unique(cells[:, :2], axis=0, return_inverse=True)
    found = np.array([mcnemar(int(b), int(c)) <= 0.05 for b, c in table])[where]
    assert power(n, difference, discordance) == pytest.approx(found.mean(), abs=0.025)


def test_equal_classifiers_are_called_different_no_more_often_than_the_level() -> None:
    for n in (10, 50, 372, 5000):
        for discordance in (0.01, 0.1, 0.5):
            assert power(n, 0.0, discordance) <= 0.05


def test_connors_approximation_is_near() -> None:
    """Connor 1987 for level 5 % and power 80 %; the exact test takes a few images more."""
    for difference, discordance in ((0.02, 0.1), (0.05, 0.1), (0.1, 0.3)):
        z = 1.959964 * discordance**0.5 + 0.841621 * (discordance - difference**2) ** 0.5
        published = (z / difference) ** 2
        found = needed(difference, discordance)
        assert found is not None
        assert published * 0.97 <= found <= published * 1.15 + 10
        assert needed(-difference, discordance) == found
        assert power(found, difference, discordance) >= 0.8


def test_smallest_and_needed_are_each_others_inverse() -> None:
    for n in (100, 372, 2000):
        d = smallest(n, 0.2)
        assert needed(d, 0.2) == pytest.approx(n, rel=0.05)
        assert power(n, d, 0.2) >= 0.8 > power(n, 0.95 * d, 0.2)


def test_what_cannot_be_shown() -> None:
    assert needed(0.0, 0.1) is None
    assert smallest(5, 0.2) == 1.0
    never_apart = smallest(372, 0.0)
    assert 0.01 < never_apart < 0.03
    assert smallest(372, 0.001) == never_apart


def test_many_images_take_no_longer() -> None:
    assert needed(1e-4, 0.05) == pytest.approx(0.05 * (1.96 + 0.8416) ** 2 / 1e-8, rel=0.01)
    assert smallest(10**7, 0.05) == pytest.approx(0.2236 * 2.8016 / 10**3.5, rel=0.01)


def test_smaller_levels_need_more() -> None:
    few, more = needed(0.05, 0.1), needed(0.05, 0.1, alpha=0.05 / 6)
    assert few is not None
    assert more is not None
    assert more > 1.3 * few
