"""Certificates against closed forms: Clopper and Pearson by definition, smoothing of a linear classifier, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from visum.errors import ModelError
from visum.judge import certify
from visum.judge.certify import ABSTAIN, Certificate
from visum.types import Floats, Pixels

SIDE, SIGMA = 6, 0.1
WEIGHTS = np.random.default_rng(3).normal(size=(SIDE, SIDE, 3)).astype(np.float32)
WEIGHTS /= np.float32(np.linalg.norm(WEIGHTS))
GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)


def half_space(offset: float) -> certify.Ask:
    """Class 1 on one side of a plane that is ``offset`` (black to white is 1) away from grey, class 0 on the other."""

    def ask(squares: Pixels) -> Floats:
        across = ((squares.astype(np.float32) - GREY) / 255 * WEIGHTS).sum((1, 2, 3)) + offset
        return np.stack([-across, across], 1).astype(np.float32)

    return ask


@pytest.mark.parametrize(("k", "n", "alpha"), [(990, 1000, 0.001), (1, 7, 0.05), (100, 100, 0.001), (50, 100, 0.01)])
def test_the_bound_is_clopper_and_pearsons(k: int, n: int, alpha: float) -> None:
    low = certify.lower_bound(k, n, alpha)
    assert low == pytest.approx(beta.ppf(alpha, k, n - k + 1), rel=1e-12)
    assert binom.sf(k - 1, n, low) == pytest.approx(alpha, rel=1e-9)  # what defines it: just as unlikely as alpha
    assert certify.lower_bound(0, n, alpha) == 0
    assert certify.lower_bound(n, n, alpha) == pytest.approx(alpha ** (1 / n))


def test_the_bound_is_below_the_truth_as_often_as_promised() -> None:
    for truth in (0.55, 0.9, 0.99):
        draws = np.arange(201)
        below = np.array([certify.lower_bound(int(k), 200, 0.05) <= truth for k in draws])
        assert binom.pmf(draws, 200, truth)[below].sum() >= 0.95


def test_radius_is_the_papers() -> None:
    assert certify.radius(0.5, 0.99) == pytest.approx(0.5 * norm.ppf(0.99))
    assert certify.radius(0.5, 0.5) == certify.radius(0.5, 0.2) == 0
    # Cohen et al. 2019, section 3.2.2: 1,000 draws that all agree prove 2.46 sigma at 0.001
    assert certify.largest(1.0, 1000, 0.001) == pytest.approx(norm.ppf(0.001 ** (1 / 1000)))


def test_of_a_half_space_the_radius_is_its_distance_from_below() -> None:
    """Smoothing leaves a half space as it is: the proven radius may not exceed the distance, and comes near it."""
    found = [
        certify.certify(half_space(0.12), GREY, sigma=SIGMA, classes=2, draw=np.random.default_rng(seed), n=2000)
        for seed in range(20)
    ]
    assert all(each.answer == 1 for each in found)
    assert max(each.radius for each in found) <= 0.12
    assert np.mean([each.radius for each in found]) > 0.105


def test_beyond_the_radius_the_answer_does_change() -> None:
    ask, draw = half_space(0.12), np.random.default_rng(0)
    settings = {"sigma": SIGMA, "classes": 2, "draw": draw, "n": 400}
    proven = certify.certify(ask, GREY, **settings).radius  # type: ignore[arg-type]
    inside, outside = (GREY - 255 * far * WEIGHTS for far in (0.9 * proven, 0.2))
    assert certify.predict(ask, GREY, **settings) == 1  # type: ignore[arg-type]
    assert certify.predict(ask, inside, **settings) in (1, ABSTAIN)  # type: ignore[arg-type]
    assert certify.predict(ask, outside, **settings) == 0  # type: ignore[arg-type]


def test_on_the_boundary_it_abstains() -> None:
    settings = {"sigma": SIGMA, "classes": 2, "draw": np.random.default_rng(0), "n": 500}
    assert certify.certify(half_space(0.0), GREY, **settings).answer == ABSTAIN  # type: ignore[arg-type]
    assert certify.predict(half_space(0.0), GREY, **settings) == ABSTAIN  # type: ignore[arg-type]


def test_noise_has_its_deviation_and_is_rounded() -> None:
    made = certify.noisy(GREY, 0.1, 400, np.random.default_rng(0))
    assert made.dtype == np.uint8
    assert made.shape == (400, SIDE, SIDE, 3)
    assert made.std() == pytest.approx(25.5, rel=0.02)
    assert made.mean() == pytest.approx(128, abs=0.3)
    light = certify.noisy(np.full((2, 2, 3), 254.4, np.float32), 0.001, 50, np.random.default_rng(0))
    assert set(np.unique(light)) <= {253, 254, 255}


def test_every_draw_is_counted_once() -> None:
    asked: list[int] = []

    def ask(squares: Pixels) -> Floats:
        asked.append(len(squares))
        return np.eye(3, dtype=np.float32)[np.arange(len(squares)) % 3]

    found = certify.counts(ask, GREY, SIGMA, 600, np.random.default_rng(0), 3)
    assert found.sum() == 600 == sum(asked)
    assert len(asked) > 1


def test_the_curve_falls_from_the_share_that_is_right() -> None:
    found = [Certificate(1, 0.5, 0.9), Certificate(0, 0.9, 0.9), Certificate(1, 0.2, 0.9), Certificate(ABSTAIN, 0, 0.4)]
    radii, shares = certify.curve(found, np.array([1, 1, 1, 1]))
    np.testing.assert_allclose(radii, [0, 0.2, 0.5])
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.25])


def test_logits_that_are_no_numbers() -> None:
    with pytest.raises(ModelError, match="noisy pictures are not numbers"):
        certify.certify(
            lambda squares: np.full((len(squares), 2), np.nan, np.float32),
            *(GREY,),
            sigma=SIGMA,
            classes=2,
            draw=np.random.default_rng(0),
        )
