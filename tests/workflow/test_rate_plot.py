"""The picture of a range test: curves where the numbers are, round numbers at the axes."""

from __future__ import annotations

import numpy as np
import pytest

from visum.workflow.rate_plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ends, rate_plot, rate_text, scale

BLUE = np.array([0x17, 0x56, 0x8C])


def test_the_smoothed_curve_and_the_mark_are_where_their_numbers_are() -> None:
    rates = np.geomspace(1e-5, 1e-1, 201)
    smoothed = 2 + np.abs(np.log10(rates) + 2.5)  # lowest at 10^-2.5
    page = rate_plot(rates, smoothed + 0.2, smoothed, 1e-3, "t", "n").astype(int)
    assert page.shape == (HEIGHT, WIDTH, 3)
    lines = scale(*ends(smoothed + 0.2, smoothed))
    for rate in (1e-4, 2e-3, 10**-2.5):
        x = round(LEFT + (WIDTH - LEFT - RIGHT) * (np.log10(rate) + 5) / 4)
        blue = np.flatnonzero(np.abs(page[TOP : HEIGHT - BOTTOM, x] - BLUE).sum(1) < 40)
        y = (HEIGHT - TOP - BOTTOM) * (lines[-1] - (2 + abs(np.log10(rate) + 2.5))) / (lines[-1] - lines[0])
        assert blue.mean() == pytest.approx(y, abs=3)
    dark = (page[TOP + 40 : HEIGHT - BOTTOM] < 120).all(2).sum(0)
    marked = LEFT + (WIDTH - LEFT - RIGHT) * 0.5
    assert int(dark.argmax()) == pytest.approx(marked, abs=1)
    plain = rate_plot(rates, smoothed + 0.2, smoothed, None, "t", "n").astype(int)
    assert (plain[TOP + 40 : HEIGHT - BOTTOM] < 120).all(2).sum(0).max() < dark.max() / 4


def test_a_loss_that_breaks_does_not_press_the_rest_flat() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    smoothed = np.r_[np.linspace(3, 1, 90), np.geomspace(1, 1e6, 10)]
    low, high = ends(smoothed, smoothed)
    assert (low, high) == (1.0, 5.0)
    page = rate_plot(rates, smoothed, smoothed, 0.01, "t", "n")
    paper = np.array([0xFD, 0xFD, 0xFC])
    assert (page[100 : TOP - 32] == paper).all(), "nothing is drawn over the title's room"
    calm = np.linspace(2, 1.9, 100)
    assert ends(calm, calm) == (1.9, 2.0)


@pytest.mark.parametrize(
    ("low", "high"), [(0.9, 1.47), (0.0, 0.0), (2.0, 2.0), (1e-4, 3e-4), (0.1, 1e6), (-3.0, -1.0), (1.0, 1.0000001)]
)
def test_axes_are_round_and_hold_everything(low: float, high: float) -> None:
    found = scale(low, high)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-9
    assert 2 <= len(found) <= 9
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-2


@pytest.mark.parametrize(
    ("rate", "text"), [(7.1e-5, "7.1e-5"), (0.00213, "0.0021"), (1.0, "1"), (0.1, "0.1"), (1e-6, "1e-6"), (10.0, "10")]
)
def test_rates_are_short_and_can_be_typed(rate: float, text: str) -> None:
    assert rate_text(rate) == text
    assert float(text) == pytest.approx(rate, rel=0.05)
