"""New shares of the classes: beside likelihood and closed forms, and on resampled digits."""

from __future__ import annotations

import numpy as np
import pytest
from drifted import digits, referred, seen
from scipy.optimize import minimize

from visum.errors import NotEnoughData
from visum.judge.calibrate import temperature
from visum.judge.drift import labels


def test_em_finds_the_most_likely_shares() -> None:
    rng = np.random.default_rng(0)
    p, prior = rng.dirichlet(np.ones(3) * 0.5, 200), np.array([0.2, 0.3, 0.5])

    def loss(q: np.ndarray) -> float:
        return -float(np.log((p / prior) @ q).sum())

    bound = {"type": "eq", "fun": lambda q: q.sum() - 1}
    best = minimize(loss, prior, bounds=[(1e-9, 1)] * 3, constraints=bound, tol=1e-12).x
    assert labels.em(p, prior) == pytest.approx(best, abs=1e-4)


def test_em_of_counts_is_em_of_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    p, prior = rng.dirichlet(np.ones(4), 50), np.full(4, 0.25)
    counts = rng.multinomial(50, np.full(50, 1 / 50), 3).astype(float)
    together = labels.em(p, prior, counts)
    for row, count in zip(together, counts, strict=True):
        assert row == pytest.approx(labels.em(np.repeat(p, count.astype(int), axis=0), prior), abs=1e-3)


def test_black_box_shift_is_solved_exactly() -> None:
    given = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.2, 0.7]])  # answers (rows) given the truth
    prior, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
    assert labels.bbse(given * prior, given @ q) == pytest.approx(q, abs=1e-9)
    nobody = labels.bbse(given * prior, given @ np.array([0, 0.5, 0.5]))
    assert nobody == pytest.approx([0, 0.5, 0.5], abs=1e-9)


def test_corrected_probabilities_are_bayes() -> None:
    """Two kinds of picture, seen 6 and 1 times of 8 in class 0, 1 and 2 times of 8 in class 1."""
    given, prior, q = np.array([[6.0, 1.0], [1.0, 2.0]]) / 8, np.array([0.8, 0.2]), np.array([0.1, 0.9])

    def told(shares: np.ndarray) -> np.ndarray:
        return given * shares / (given * shares).sum(1, keepdims=True)

    assert labels.corrected(told(prior), prior, q) == pytest.approx(told(q))


def test_bias_correction_makes_mean_probabilities_the_shares_and_loses_nothing() -> None:
    d = digits()
    z, y = d.logits(d.images[:500]), d.labels[:500]
    z = z + np.linspace(-1, 1, 10, dtype=np.float32)  # a bias to be found
    t, bias = labels.bias_corrected(z, y)
    p = labels.calibrated(z, t, bias)
    assert p.mean(0) == pytest.approx(np.bincount(y) / 500, abs=0.004)
    alone = labels.calibrated(z, temperature(z, y, "multiclass"), np.zeros(10))
    rows = np.arange(500)
    assert -np.log(p[rows, y]).mean() < -np.log(alone[rows, y]).mean() - 0.01
    with pytest.raises(NotEnoughData):
        labels.bias_corrected(z[:0], y[:0])


@pytest.mark.parametrize(("fresh", "within"), [(False, 0.03), (True, 0.06)])
def test_em_recovers_new_shares_and_correction_helps(fresh: bool, within: float) -> None:
    """Within 0.03 (sum of absolute errors) where pictures of a class are what they were; where window and reference are
    different pictures, few of each class, also what these few do not share counts."""
    d, rng, far = digits(40, 1.0), np.random.default_rng(2), []
    for _ in range(6):
        rows = rng.permutation(len(d.labels))
        against = referred(d, rows[:600] if fresh else rows)
        pool = rows[600:] if fresh else rows
        shares = rng.dirichlet(np.ones(10) * 0.4)
        weight = shares[d.labels[pool]] / np.bincount(d.labels[pool], minlength=10)[d.labels[pool]]
        picked = rng.choice(pool, 3000, p=weight / weight.sum())
        window = seen(d, against, d.images[picked], d.labels[picked])
        true = np.bincount(window.labels, minlength=10) / len(window)
        q = labels.em(window.p, against.prior)
        assert np.abs(against.prior - true).sum() > 0.5
        far.append(float(np.abs(q - true).sum()))
        corrected = labels.corrected(window.p, against.prior, q).argmax(1)
        assert (corrected == window.labels).mean() > (window.p.argmax(1) == window.labels).mean()
    assert np.median(far) < within, far
    assert max(far) < 0.1, far


def test_thinned_pictures_have_the_new_mixture_within_each_answer() -> None:
    rng = np.random.default_rng(3)
    y, answer = rng.integers(0, 3, 30_000), rng.integers(0, 3, 30_000)
    ratio = np.array([3.0, 1.0, 0.5])
    kept = labels.thinned(y, answer, ratio, rng)
    for k in range(3):
        now = np.bincount(y[kept & (answer == k)], minlength=3)
        assert now / now.sum() == pytest.approx(ratio / ratio.sum(), abs=0.02)
