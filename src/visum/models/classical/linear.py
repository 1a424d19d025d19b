"""Linear classifiers: logistic regression and the linear support vector machine, by one optimiser.

Minimised is ``|W|² / 2 + C * sum of losses``; the bias is free. The problem is convex, so the answer depends on no seed.
L-BFGS needs hundreds of steps on descriptors, whose columns are strongly correlated. It runs in the variables in which a fixed
quadratic of the same curvature, ``I + a C X'X`` (a: the usual second derivative of the loss), is the identity: one Cholesky
factor, then about 20 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.classes import Arrays
from visum.types import Floats

Loss = Callable[[Floats, Floats], tuple[float, Floats]]
"""``(scores [N, P], table 0/1 [N, P]) -> (sum of losses, its derivative [N, P])``."""

LOGISTIC_C, SVM_C = (
    5.0,
    0.5,
)  # for rows of mean squared length 1; flat optima on five descriptors of garments and digits
STEPS, TOLERANCE = 200, 1e-6
SMALL = (
    1 << 23
)  # numbers up to which one thread takes each step: on a busy machine, waiting for others costs more than they save
WIDEST = 4096  # columns up to which the factor is affordable (64 MB)


def logistic(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """Multinomial logistic regression, or one logistic regression a column: ``weight [D, P]``, ``bias [P]``."""
    weight, bias = minimum(x, table, cross_entropy if exclusive else binary_entropy, LOGISTIC_C, 0.1)
    return {"weight": weight, "bias": bias}


def linear_svm(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """One L2-regularised squared-hinge machine a class against the rest (LIBLINEAR's default): ``weight``, ``bias``."""
    weight, bias = minimum(x, table, squared_hinge, SVM_C, 1.0)
    return {"weight": weight, "bias": bias}


def logits(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    """``x @ weight + bias``."""
    return np.asarray(x @ arrays["weight"] + arrays["bias"], np.float32)


def cross_entropy(z: Floats, table: Floats) -> tuple[float, Floats]:
    """Of the softmax of each row."""
    z = z - z.max(1, keepdims=True)
    e = np.exp(z)
    total = e.sum(1, keepdims=True)
    value = np.log(total).sum(dtype=np.float64) - (z * table).sum(dtype=np.float64)
    return float(value), np.asarray(e / total - table, np.float32)


def binary_entropy(z: Floats, table: Floats) -> tuple[float, Floats]:
    """Of the sigmoid of each entry."""
    value = np.logaddexp(np.float32(0), np.where(table > 0, -z, z)).sum(dtype=np.float64)
    return float(value), np.asarray(0.5 + 0.5 * np.tanh(0.5 * z) - table, np.float32)


def squared_hinge(z: Floats, table: Floats) -> tuple[float, Floats]:
    """``max(0, 1 - s z)²`` with s = 1 where the table has 1, else -1."""
    sign = 2 * table - 1
    slack = np.maximum(1 - sign * z, 0)
    return float((slack * slack).sum(dtype=np.float64)), np.asarray(-2 * sign * slack, np.float32)


def minimum(
    x: Floats, table: Floats, loss: Loss, c: float, curvature: float, tolerance: float = TOLERANCE
) -> tuple[Floats, Floats]:
    """Where ``|W|² / 2 + c * loss(x @ W + b, table)`` is least: W float32 ``[D, P]``, b float32 ``[P]``.

    Args:
        x: float32 ``[N, D]``.
        table: 0/1 float32 ``[N, P]``.
        c: > 0.
        curvature: typical second derivative of the loss, > 0; sets the speed only.
        tolerance: relative decrease of the objective at which to stop.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    d, p = x.shape[1], table.shape[1]
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)  # the last row of W is the bias
    if d < WIDEST:
        gram = (c * curvature) * (x.T @ x)
        gram[np.diag_indices(d + 1)] += 1
        factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    else:
        factor = np.diag(np.ones(0, np.float32))

    def turn(v: Floats, back: bool) -> Floats:
        """The factor's inverse times v, transposed on the way back to W."""
        if not len(factor):
            return v
        out = solve_triangular(factor, v, lower=True, trans="T" if back else "N", check_finite=False)
        return np.asarray(out, np.float32)

    rows = np.ascontiguousarray(turn(np.ascontiguousarray(x.T), back=False).T)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        v = flat.reshape(d + 1, p).astype(np.float32)
        w = turn(v, back=True).copy()
        w[-1] = 0  # the bias is free
        value, slope = loss(rows @ v, table)
        gradient = c * (slope.T @ rows).T + turn(w, back=False)
        return c * value + 0.5 * float((w.astype(np.float64) ** 2).sum()), gradient.astype(np.float64).ravel()

    options = {"maxiter": STEPS, "ftol": tolerance, "gtol": 0.0}
    with threadpool_limits(1 if rows.size < SMALL else None):
        found = minimize(objective, np.zeros((d + 1) * p), jac=True, method="L-BFGS-B", options=options)
    w = turn(found.x.reshape(d + 1, p).astype(np.float32), back=True)
    return np.ascontiguousarray(w[:-1]), w[-1].copy()
