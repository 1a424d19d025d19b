"""CKA: naive HSIC, known values and the invariances that the measure was made for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.explain import similarity

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(40, 7)), DRAW.normal(size=(40, 11))
Y[:, :3] += X[:, :3]


def rotation(d: int) -> NDArray[np.float64]:
    return np.linalg.qr(np.random.default_rng(3).normal(size=(d, d)))[0]


def naive(x: NDArray[np.float64], y: NDArray[np.float64], unbiased: bool) -> float:
    """HSIC by its sums over pairs, triples and quadruples of pictures (Song et al. 2012), or by trace(K H L H)."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    if not unbiased:
        h = np.eye(n) - 1 / n
        return float(np.trace(k @ h @ m @ h) / (n - 1) ** 2)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    pairs = np.trace(k @ m)
    quadruples = k.sum() * m.sum() / ((n - 1) * (n - 2))
    triples = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float((pairs + quadruples - triples) / (n * (n - 3)))


@pytest.mark.parametrize("unbiased", [False, True])
def test_closed_form_is_naive_hsic(unbiased: bool) -> None:
    ours = similarity.unbiased_cka(X, Y) if unbiased else similarity.linear_cka(X, Y)
    theirs = naive(X, Y, unbiased) / np.sqrt(naive(X, X, unbiased) * naive(Y, Y, unbiased))
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("cka", [similarity.linear_cka, similarity.unbiased_cka])
def test_rotation_and_scaling_change_nothing_and_other_maps_do(cka: object) -> None:
    assert callable(cka)
    assert cka(X, X) == pytest.approx(1)
    assert cka(X, 3 * X @ rotation(7) + 5) == pytest.approx(1)
    assert cka(X @ rotation(7), 0.1 * Y) == pytest.approx(cka(X, Y))
    assert cka(X, X * np.geomspace(1, 50, 7)) < 0.95


def test_unrelated_features_are_near_zero_only_without_bias() -> None:
    wide, other = DRAW.normal(size=(2, 30, 200))
    assert similarity.linear_cka(wide, other) > 0.7
    assert abs(similarity.unbiased_cka(wide, other)) < 0.1


def test_matrix_is_every_pair_and_what_does_not_vary_is_nan() -> None:
    found = similarity.matrix([X, Y], [Y, X, np.ones((40, 2))])
    assert found.shape == (2, 3)
    assert found[0, 0] == pytest.approx(similarity.unbiased_cka(X, Y))
    assert found[1, 0] == pytest.approx(1)
    assert np.isnan(found[:, 2]).all()
    with pytest.raises(ValueError, match="3 pictures where 4"):
        similarity.matrix([X[:3]])
