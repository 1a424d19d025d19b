"""Embeddings on a sheet of paper: two axes by PCA or t-SNE, how much of the truth they keep, and cells that do not overlap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Integers

Array = NDArray[np.float64]
NEAR = 10
"""Neighbours by which a map is judged."""


def pca(x: NDArray[Any], seed: int = 0) -> Array:
    """The two directions of largest variance, float64 ``[N, 2]``; each points to where its longest arm is."""
    centred = np.asarray(x, np.float64) - np.mean(x, axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    two = np.zeros((len(centred), 2))
    two[:, : min(2, len(s))] = (u * s)[:, :2]
    signs = np.sign(two[np.abs(two).argmax(axis=0), [0, 1]])
    return two * np.where(signs == 0, 1, signs)


def tsne(x: NDArray[Any], seed: int = 0) -> Array:
    """t-SNE (van der Maaten and Hinton 2008) by scikit-learn, from the first 50 principal components; float64 ``[N, 2]``.

    Near points are near; how far apart groups lie, and how large they are, means nothing.
    """
    from sklearn.manifold import TSNE

    centred = np.asarray(x, np.float64) - np.mean(x, axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    some = (u * s)[:, :50]
    made = TSNE(2, perplexity=max(2.0, min(30.0, (len(x) - 1) / 3)), init="pca", random_state=seed, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its libraries, about themselves
        return np.asarray(made.fit_transform(np.ascontiguousarray(some, np.float32)), np.float64)


PROJECTIONS: dict[str, Callable[..., Array]] = {"tsne": tsne, "pca": pca}
"""Name → (embeddings ``[N, D]``, seed) → places ``[N, 2]``."""


def kept(x: NDArray[Any], places: Array, near: int = NEAR) -> float:
    """Share of each picture's ``near`` nearest neighbours that are still among its nearest on the map: 0 … 1."""
    near = min(near, len(x) - 1)
    before, after = (_nearest(np.asarray(each, np.float64), near) for each in (x, places))
    return float(np.mean([len(set(a) & set(b)) / near for a, b in zip(before.tolist(), after.tolist(), strict=True)]))


def agreed(places: Array, labels: Integers, near: int = NEAR) -> Array:
    """Share of each picture's nearest neighbours that have its label, float64 ``[N]``."""
    near = min(near, len(places) - 1)
    return np.asarray(
        (labels[_nearest(np.asarray(places, np.float64), near)] == labels[:, None]).mean(axis=1), np.float64
    )


def _nearest(x: Array, near: int) -> Integers:
    squares = np.einsum("ij,ij->i", x, x)
    far = squares[:, None] + squares[None, :] - 2 * x @ x.T
    np.fill_diagonal(far, np.inf)
    return np.asarray(np.argsort(far, axis=1, kind="stable")[:, :near], np.int64)


def cells(places: Array, columns: int, rows: int) -> Integers:
    """Each picture in a cell of its own, as near to its place as all together allow: int64 ``[N, 2]`` (column, row).

    Args:
        places: ``[N, 2]`` with N <= columns · rows.
    """
    from scipy.optimize import linear_sum_assignment

    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / np.maximum(high - low, 1e-12) * [columns - 1, rows - 1]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"), axis=-1).reshape(-1, 2)
    far = np.square(scaled[:, None] - grid[None]).sum(axis=2)
    order, chosen = linear_sum_assignment(far)
    return np.asarray(grid[chosen[np.argsort(order)]], np.int64)
