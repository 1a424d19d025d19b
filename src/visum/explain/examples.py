"""Examples as explanation: the pictures nearest to one, and those that stand for a class or fall out of it. Pure.

Prototypes and criticisms are MMD-critic's (Kim, Khanna and Koyejo 2016, Examples are not Enough, Learn to Criticize!): prototypes
are picked greedily so that their distribution comes closest to that of the class (maximum mean discrepancy), criticisms where
the two still differ most and which are unlike each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers

Array = NDArray[np.float64]
Vectors = NDArray[Any]


def moments(x: Vectors) -> tuple[Floats, Floats]:
    """Mean of each column, and 1 / its deviation; 0 for columns that hardly move: float32 ``[D]`` each."""
    plain = np.asarray(x, np.float32)
    deviation = plain.std(axis=0)
    still = deviation <= 1e-3 * max(float(np.median(deviation)), 1e-12)
    scale = np.where(still, 0, 1 / np.where(still, 1, deviation))
    return np.asarray(plain.mean(axis=0), np.float32), np.asarray(scale, np.float32)


def standardised(x: Vectors, by: Vectors) -> Floats:
    """Columns with mean 0 and deviation 1 over the rows of ``by``, float32; those that hardly move there become 0."""
    mean, scale = moments(by)
    return np.asarray((np.asarray(x, np.float32) - mean) * scale, np.float32)


def nearest(
    queries: Vectors, bank: Vectors, count: int, left_out: NDArray[np.bool_] | None = None
) -> tuple[Integers, Floats]:
    """For each query the rows of the bank at the smallest cosine distance: their numbers and distances, nearest first.

    Args:
        queries, bank: ``[Q, D]`` and ``[N, D]``.
        count: how many; fewer where the bank has fewer.
        left_out: ``[Q, N]``, True where a row is not for a query, e.g. because it is the same file. Their distance is inf.

    Returns:
        int64 and float32 ``[Q, count]``, distances 0 (same direction) … 2 (opposite).
    """
    far = np.asarray(1 - _unit(queries) @ _unit(bank).T, np.float32)
    if left_out is not None:
        far[left_out] = np.inf
    order = np.argsort(far, axis=1, kind="stable")[:, :count]
    return order.astype(np.int64), np.take_along_axis(far, order, axis=1)


def _unit(x: Vectors) -> Floats:
    plain = np.asarray(x, np.float32)
    return np.asarray(plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12), np.float32)


def kernel(x: Vectors) -> Array:
    """exp(-d² / median d²) of every two rows, float64 ``[N, N]``: 1 on the diagonal."""
    plain = np.asarray(x, np.float64)
    squares = np.einsum("ij,ij->i", plain, plain)
    far = np.maximum(squares[:, None] + squares[None, :] - 2 * plain @ plain.T, 0)
    np.fill_diagonal(far, 0)
    apart = far[np.triu_indices(len(plain), 1)]
    middle = float(np.median(apart)) if len(apart) else 0.0
    return np.asarray(np.exp(-far / (middle or 1.0)), np.float64)


def prototypes(k: Array, count: int) -> Integers:
    """Rows that stand for all, the most telling first (eq. 3, greedily): int64 ``[min(count, N)]``.

    Args:
        k: kernel ``[N, N]`` of the rows with each other.
    """
    n = len(k)
    typical, own = k.mean(axis=1), np.diag(k)
    picked: list[int] = []
    among, covered, inside = np.zeros(n), 0.0, 0.0
    for size in range(1, min(count, n) + 1):
        # J(S) = 2/m sum of typical(s) - 1/m² sum of k(s, t), of S with each row added
        worth = 2 * (covered + typical) / size - (inside + 2 * among + own) / size**2
        worth[picked] = -np.inf
        best = int(worth.argmax())
        picked.append(best)
        covered += typical[best]
        inside += 2 * among[best] + own[best]
        among += k[best]
    return np.array(picked, np.int64)


def criticisms(k: Array, chosen: Integers, count: int) -> Integers:
    """Rows that the prototypes do not stand for (eq. 4 with the log-determinant, greedily), the worst served first.

    Args:
        k: kernel ``[N, N]``.
        chosen: the prototypes.

    Returns:
        int64, none of ``chosen``; fewer than ``count`` where there are no more rows.
    """
    witness = np.abs(k.mean(axis=1) - k[:, chosen].mean(axis=1))
    picked: list[int] = []
    taken = set(chosen.tolist())
    while len(picked) < min(count, len(k) - len(chosen)):
        spread = np.diag(k).copy()
        if picked:
            block = k[np.ix_(picked, picked)] + 1e-9 * np.eye(len(picked))
            spread -= np.einsum("ij,ji->i", k[:, picked], np.linalg.solve(block, k[picked]))
        worth = witness + np.log(np.maximum(spread, 1e-12))
        worth[[*taken, *picked]] = -np.inf
        picked.append(int(worth.argmax()))
    return np.array(picked, np.int64)
