"""Nearest pictures, prototypes and criticisms: the definitions written out, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.explain import examples

DRAW = np.random.default_rng(1)
X = np.concatenate([DRAW.normal(size=(30, 5)), DRAW.normal(size=(6, 5)) + 6]).astype(np.float32)


def discrepancy(k: NDArray[np.float64], s: list[int]) -> float:
    """MMD² between all rows and some, by its double sums (Kim et al. 2016, eq. 2)."""
    n, m = len(k), len(s)
    everything = sum(k[i, j] for i in range(n) for j in range(n)) / n**2
    between = sum(k[i, j] for i in range(n) for j in s) / (n * m)
    return float(everything - 2 * between + sum(k[i, j] for i in s for j in s) / m**2)


def test_nearest_is_scikit_learns_and_leaves_out_what_it_is_told() -> None:
    from sklearn.neighbors import NearestNeighbors

    rows, far = examples.nearest(X[:4], X, 5)
    theirs = NearestNeighbors(n_neighbors=5, metric="cosine").fit(X).kneighbors(X[:4])
    np.testing.assert_array_equal(rows, theirs[1])
    np.testing.assert_allclose(far, theirs[0], atol=1e-5)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    again, _ = examples.nearest(X[:4], X, 4, np.eye(4, len(X), dtype=bool))
    np.testing.assert_array_equal(again, rows[:, 1:])


def test_prototypes_are_the_greedy_minimum_of_the_discrepancy() -> None:
    k = examples.kernel(X)
    ours = examples.prototypes(k, 5).tolist()
    naive: list[int] = []
    for _ in range(5):
        rest = [row for row in range(len(k)) if row not in naive]
        naive.append(min(rest, key=lambda row: discrepancy(k, [*naive, row])))
    assert ours == naive
    shares = [discrepancy(k, ours[:m]) for m in range(1, 6)]
    assert shares[-1] < shares[0] / 3
    assert {row >= 30 for row in ours} == {True, False}  # both heaps are stood for


def test_criticisms_are_the_greedy_maximum_of_witness_and_spread() -> None:
    k = examples.kernel(X)
    chosen = examples.prototypes(k, 2)
    witness = [abs(k[i].mean() - k[i, chosen].mean()) for i in range(len(k))]
    naive: list[int] = []
    for _ in range(4):
        rest = [row for row in range(len(k)) if row not in {*chosen.tolist(), *naive}]

        def worth(row: int, picked: tuple[int, ...] = tuple(naive)) -> float:
            some = [*picked, row]
            return float(sum(witness[i] for i in some) + np.linalg.slogdet(k[np.ix_(some, some)])[1])

        naive.append(max(rest, key=worth))
    assert examples.criticisms(k, chosen, 4).tolist() == naive


def test_few_rows_give_few_examples() -> None:
    k = examples.kernel(X[:3])
    chosen = examples.prototypes(k, 9)
    assert sorted(chosen.tolist()) == [0, 1, 2]
    assert not len(examples.criticisms(k, chosen, 2))
    assert examples.kernel(X[:1]) == pytest.approx(1)


def test_standardised_columns_have_no_scale_and_constant_ones_no_say() -> None:
    raw = np.concatenate([X * 1000, np.ones((len(X), 1))], axis=1)
    found = examples.standardised(raw, raw)
    np.testing.assert_allclose(found[:, :5].std(axis=0), 1, rtol=1e-4)
    assert not found[:, 5].any()
