"""The probe: a linear head on embeddings, by multinomial (or, multilabel, K times binary) logistic regression.

The loss is convex, so that L-BFGS finds *the* answer and not *an* answer: no learning rate, no epochs, no seed. Columns are
standardised first and the standardisation is folded into the result, so that a head is ``x @ weight + bias`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers

STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 penalties that ``search`` tries, strongest first: each solution starts the next, which is close by."""

Vectors = NDArray[np.floating[Any]]
Arrays = dict[str, Floats]
_BLOCK = 4096  # rows that are float32 at a time: memory stays flat while embeddings are mapped float16
_ITERATIONS = 60
_RESIDENT = 1 << 29  # bytes of standardised rows kept in memory; above it they are made anew in each pass


def fit(
    x: Vectors,
    y: Integers,
    classes: int,
    *,
    strength: float = 0.03,
    start: Floats | None = None,
    weights: Floats | None = None,
) -> Arrays:
    """The head that minimises mean log loss + strength / 2 · ||W||² over standardised columns (the bias is free).

    Args:
        x: embeddings ``[N, D]``.
        y: int64 ``[N]`` class numbers, or 0/1 ``[N, K]`` when multilabel.
        classes: K; a class without rows gets a bias far below the others, and no weight.
        strength: > 0.
        start: float32 ``[D + 1, K]`` in standardised columns, as ``path`` hands on; zeros if omitted.
        weights: float32 ``[N]`` >= 0, how much each row counts; all alike if omitted.

    Returns:
        ``{"weight": float32 [D, K], "bias": float32 [K]}``.
    """
    problem = _Problem(x, y, classes, weights)
    return problem.head(problem.solve(strength, start))


def search(
    x: Vectors,
    y: Integers,
    classes: int,
    judge: Callable[[Arrays], float],
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Arrays, float, list[tuple[float, float]]]:
    """The head of the strength that ``judge`` likes best, with one pass of warm starts from strong to weak.

    Args:
        x, y, classes: as in ``fit``.
        judge: head → loss on validation rows, smaller is better. The search ends after two strengths in a row that
            are worse than the best so far.
        strengths: strongest first.

    Returns:
        The head, its strength, and every ``(strength, loss)`` that was tried.
    """
    problem = _Problem(x, y, classes, None)
    theta: Floats | None = None
    best: tuple[float, Arrays, float] | None = None
    tried: list[tuple[float, float]] = []
    worse = 0
    for strength in strengths:
        theta = problem.solve(strength, theta)
        head = problem.head(theta)
        loss = judge(head)
        tried.append((strength, loss))
        if best is None or loss < best[0]:
            best, worse = (loss, head, strength), 0
        else:
            worse += 1
        if worse == 2:
            break
    if best is None:
        raise ValueError("strengths is empty")
    return best[1], best[2], tried


def logits(head: Arrays | dict[str, NDArray[Any]], x: Vectors) -> Floats:
    """``x @ weight + bias``, float32 ``[N, K]``, in blocks."""
    out = np.empty((len(x), head["weight"].shape[1]), np.float32)
    for at in range(0, len(x), _BLOCK):
        out[at : at + _BLOCK] = np.asarray(x[at : at + _BLOCK], np.float32) @ head["weight"]
    return out + head["bias"]


def out_of_fold(x: Vectors, y: Integers, classes: int, folds: Integers, *, strength: float) -> Floats:
    """Logits of each row by a head that never saw its fold, float32 ``[N, K]``.

    Args:
        x, y, classes, strength: as in ``fit``.
        folds: int64 ``[N]``, 0 … F-1; copies of one picture belong into one fold.
    """
    out = np.empty((len(x), classes), np.float32)
    for fold in np.unique(folds):
        inside = folds == fold
        head = fit(x[~inside], y[~inside], classes, strength=strength)
        out[inside] = logits(head, x[inside])
    return out


class _Problem:
    """Standardised rows, their targets, and the loss over them."""

    def __init__(self, x: Vectors, y: Integers, classes: int, weights: Floats | None) -> None:
        self.x, self.several, self.k = x, y.ndim == 2, classes
        n, d = x.shape
        share = np.full(n, 1.0 / n, np.float32) if weights is None else weights / np.float32(weights.sum())
        self.share = np.asarray(share, np.float32)
        self.y = np.asarray(y, np.float32) if self.several else np.eye(classes, dtype=np.float32)[y]
        self.seen = (self.y * self.share[:, None]).sum(0) > 0
        first, second = np.zeros(d), np.zeros(d)
        for at in range(0, n, _BLOCK):
            block = np.asarray(x[at : at + _BLOCK], np.float32)
            first += self.share[at : at + _BLOCK] @ block
            second += self.share[at : at + _BLOCK] @ (block * block)
        deviation = np.sqrt(np.maximum(second - first**2, 0))
        # a column that hardly moves carries rounding, not knowledge; blowing it up to unit variance would hand it a vote
        scale = np.where(
            deviation > 1e-3 * max(float(np.median(deviation)), 1e-12), 1 / np.maximum(deviation, 1e-12), 0
        )
        self.mean, self.scale = first.astype(np.float32), scale.astype(np.float32)
        self.rows: Floats | None = None
        if n * d * 4 <= _RESIDENT:
            self.rows = np.concatenate([self._block(at) for at in range(0, n, _BLOCK)])

    def _block(self, at: int) -> Floats:
        if self.rows is not None:
            return self.rows[at : at + _BLOCK]
        return (np.asarray(self.x[at : at + _BLOCK], np.float32) - self.mean) * self.scale

    def loss(self, flat: NDArray[np.float64], strength: float) -> tuple[float, NDArray[np.float64]]:
        """Value and gradient at ``flat``, float64 ``[(D + 1) K]``."""
        theta = flat.reshape(-1, self.k).astype(np.float32)
        w, b = theta[:-1], theta[-1]
        value, gradient = 0.0, np.zeros_like(theta)
        for at in range(0, len(self.y), _BLOCK):
            x, y, share = self._block(at), self.y[at : at + _BLOCK], self.share[at : at + _BLOCK, None]
            z = x @ w + b
            if self.several:
                soft = np.logaddexp(0, z)
                value += float((share * (soft - y * z)).sum(dtype=np.float64))
                error = np.exp(z - soft) - y
            else:
                z = np.where(self.seen, z, -np.inf)
                top = z.max(1, keepdims=True)
                e = np.exp(z - top)
                total = e.sum(1, keepdims=True)
                own = np.where(y > 0, z, 0).sum(1, keepdims=True)
                value += float((share * (np.log(total) + top - own)).sum(dtype=np.float64))
                error = e / total - y
            error *= share
            gradient[:-1] += x.T @ error
            gradient[-1] += error.sum(0)
        gradient[:-1] += np.float32(strength) * w
        value += 0.5 * strength * float((w.astype(np.float64) ** 2).sum())
        return value, gradient.astype(np.float64).ravel()

    def solve(self, strength: float, start: Floats | None) -> Floats:
        """The minimum, float32 ``[D + 1, K]`` in standardised columns."""
        from scipy.optimize import minimize

        theta = np.zeros((self.x.shape[1] + 1, self.k)) if start is None else start
        options = {"maxiter": _ITERATIONS, "gtol": 1e-4, "ftol": 1e-6, "maxcor": 10}
        found = minimize(
            self.loss, np.ravel(theta).astype(np.float64), (strength,), "L-BFGS-B", jac=True, options=options
        )
        return np.asarray(found.x.reshape(-1, self.k), np.float32)

    def head(self, theta: Floats) -> Arrays:
        """Standardisation folded in; unseen classes far below the rest."""
        weight = theta[:-1] * self.scale[:, None]
        bias = theta[-1] - self.mean @ weight
        if not self.several:
            weight, bias = np.where(self.seen, weight, 0), np.where(self.seen, bias, -30)
        return {"weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}
