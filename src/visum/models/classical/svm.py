"""The support vector machine with a Gaussian kernel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.classes import Arrays
from visum.runtime import threads
from visum.types import Floats

C = 10.0
GAMMA = 1.0  # rows have mean squared length 1: scikit-learn's "scale"
STEEP = 4.0  # log odds that a margin of 1 stands for between two classes
MOST_ROWS = 6000  # the kernel has their square: 288 MB
CHUNK = 2048


def kernel(a: Floats, b: Floats) -> Floats:
    """``exp(-GAMMA |a - b|²)`` of all pairs: float32 ``[len(a), len(b)]``."""
    square = a @ b.T
    square *= 2
    square -= (a * a).sum(1)[:, None]
    square -= (b * b).sum(1)
    np.minimum(square, 0, out=square)
    square *= GAMMA
    return np.asarray(np.exp(square, out=square))


def fit(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """One machine for each pair of classes, or one a column; only support vectors are kept.

    The kernel is one product of matrices, which is
    many times faster than LIBSVM's own.

    Returns:
        support ``[S, D]`` (sorted by class when exclusive), counts int64 ``[P]`` of them in each class (0 when not), coefficients
        ``[P - 1, S]`` in LIBSVM's layout (``[P, S]``, one row a column, when not exclusive), intercepts, one a machine.
    """
    from sklearn.svm import SVC

    square = kernel(x, x).astype(np.float64)

    def machine(y: NDArray[Any]) -> Any:
        return SVC(C=C, kernel="precomputed", cache_size=100).fit(square, y)

    if exclusive:
        found = machine(table.argmax(1))
        sign = -1 if table.shape[1] == 2 else 1  # scikit-learn turns the one machine of two classes round
        support = x[found.support_]
        coefficients, intercepts, counts = sign * found.dual_coef_, sign * found.intercept_, found.n_support_
    else:
        with ThreadPoolExecutor(threads()) as pool:
            machines = list(pool.map(machine, table.T))
        used = np.unique(np.concatenate([m.support_ for m in machines]))
        coefficients = np.zeros((len(machines), len(used)))
        for row, m in zip(coefficients, machines, strict=True):
            row[np.searchsorted(used, m.support_)] = m.dual_coef_[0]
        intercepts = np.concatenate([m.intercept_ for m in machines])
        support, counts = x[used], np.zeros(len(machines))
    return {
        "support": np.ascontiguousarray(support, np.float32),
        "counts": counts.astype(np.int64),
        "coefficients": coefficients.astype(np.float32),
        "intercepts": intercepts.astype(np.float32),
    }


def logits(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    """Decision values of each column; exclusive: minus the log losses that a class has against each other one (loss-based
    decoding, Allwein et al. 2000). Counting votes is as accurate, but throws the margins away and with them probabilities."""
    out = [_chunk(arrays, x[at : at + CHUNK], exclusive) for at in range(0, len(x), CHUNK)]
    return np.concatenate(out) if out else np.zeros((0, len(arrays["counts"])), np.float32)


def _chunk(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    if not exclusive:
        return np.asarray(kernel(x, arrays["support"]) @ arrays["coefficients"].T + arrays["intercepts"], np.float32)
    p = len(arrays["counts"])
    out = np.zeros((len(x), p), np.float32)
    for (i, j), value in zip(zip(*np.triu_indices(p, 1), strict=True), pairwise(arrays, x).T, strict=True):
        out[:, i] -= np.logaddexp(0, -STEEP * value)
        out[:, j] -= np.logaddexp(0, STEEP * value)
    return out


def pairwise(arrays: Arrays, x: Floats) -> Floats:
    """Decision values of all pairs of classes i < j, float32 ``[M, P (P - 1) / 2]``: positive for class i."""
    ends = np.cumsum(arrays["counts"])
    similar = kernel(x, arrays["support"])
    parts = [
        similar[:, begin:end] @ arrays["coefficients"][:, begin:end].T
        for begin, end in zip(ends - arrays["counts"], ends, strict=True)
    ]
    pairs = zip(*np.triu_indices(len(ends), 1), strict=True)
    values = [parts[i][:, j - 1] + parts[j][:, i] for i, j in pairs]
    return np.asarray(np.stack(values, 1) + arrays["intercepts"], np.float32)
