"""How alike two representations of the same pictures are: centred kernel alignment with the linear kernel.

CKA (Kornblith et al. 2019, arXiv:1905.00414, section 3) is HSIC(X, Y) / sqrt(HSIC(X, X) · HSIC(Y, Y)): 1 for representations that
are each other's rotation and scaling, whatever their widths. The usual estimate of HSIC is biased upwards where there are few
pictures and many columns; with the unbiased one (Song et al. 2012, eq. 4; Nguyen et al. 2021, eq. 3) unrelated representations
come out around 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEWEST = 4
"""Pictures without which the unbiased estimate does not exist."""


def linear_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """The biased estimate in its cheap form, ||Yᵀ X||² / (||Xᵀ X|| ||Yᵀ Y||) of centred columns: 0 … 1.

    Args:
        x, y: ``[N, D]`` and ``[N, E]`` of the same N pictures. NaN where one of them does not vary.
    """
    a, b = _centred(x), _centred(y)
    below = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(b.T @ a) ** 2 / below) if below > 0 else float("nan")


def unbiased_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """With HSIC₁: at most 1, around 0 (also below) for what has nothing to do with each other.

    Raises:
        ValueError: fewer than four pictures.
    """
    return float(matrix([x], [y])[0, 0])


def matrix(rows: Sequence[NDArray[Any]], columns: Sequence[NDArray[Any]] | None = None) -> Array:
    """Unbiased CKA of every pair, float64 ``[R, C]``; NaN where a representation does not vary.

    Args:
        rows, columns: representations ``[N, …]`` of the same N >= 4 pictures; without ``columns``, of the rows with each other.
    """
    left = np.stack([_gram(x).ravel() for x in rows])
    right = left if columns is None else np.stack([_gram(y).ravel() for y in columns])
    own, other = (np.einsum("ij,ij->i", side, side) for side in (left, right))
    below = np.sqrt(np.outer(own, other))
    return np.asarray(np.divide(left @ right.T, below, out=np.full(below.shape, np.nan), where=below > 0), np.float64)


def _centred(x: NDArray[Any]) -> Array:
    plain = np.asarray(x, np.float64)
    return np.asarray(plain - plain.mean(axis=0), np.float64)


def _gram(x: NDArray[Any]) -> Array:
    """U-centred Gram matrix ``[N, N]`` (Székely and Rizzo 2014, eq. 2.7): the sum of products of two of these, over N (N - 3), is
    HSIC₁. Centring columns first changes nothing but rounding."""
    n = len(x)
    if n < FEWEST:
        raise ValueError(f"{n} pictures where {FEWEST} are needed")
    centred = _centred(x)
    k = centred @ centred.T
    np.fill_diagonal(k, 0)
    sums = k.sum(axis=0)
    k -= (sums[:, None] + sums[None, :]) / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    return k
