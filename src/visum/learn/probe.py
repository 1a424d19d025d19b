"""The probe: a linear head on embeddings, by multinomial (or, multilabel, K times binary) logistic regression.

The loss is convex, so that L-BFGS finds *the* answer and not *an* answer: no learning rate, no epochs, no seed. Columns are
standardised first and the standardisation is folded into the result, so that a head is ``x @ weight + bias`` and nothing else.

Two things make it quick without changing the answer. Steps are taken in the metric of the columns' covariance (one Cholesky
factor a problem), and what a solution has taught about curvature is handed to the next strength, whose loss bends almost
alike. All folds of ``out_of_fold`` are columns of one problem: one pass over the rows serves them all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.learn.lbfgs import Curvature, minimise
from visum.types import Floats, Integers

STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 penalties that ``search`` tries, strongest first: each solution starts the next, which is close by."""

Vectors = NDArray[np.floating[Any]]
Arrays = dict[str, Floats]
_BLOCK = 4096  # rows that are float32 at a time: memory stays flat while embeddings are mapped float16
_RESIDENT = 1 << 29  # bytes of standardised rows kept in memory; above it they are made anew in each pass
_CLOSE = (
    1e-4  # times the strength: nats above the minimum; then |W - W*| <= sqrt(2 · 1e-4) = 0.014 in standardised columns
)
_CLOSE_ENOUGH = 3e-4  # the same where only the order of rows matters
_PASSES = 200
_PAIRS, _PAIR_BYTES = 30, 1 << 28  # curvature kept, and the memory it may take
_MOST_SQUARE = 4096  # columns whose covariance is still factored: 64 MB and 0.4 s of one core
_SAMPLE = 8192  # rows that the covariance is estimated from; it decides how fast the answer comes, not what it is
_FOLDED = 1 << 22  # entries of the heads of several folds that are solved for together


def fit(
    x: Vectors,
    y: Integers | Floats,
    classes: int,
    *,
    strength: float = 0.03,
    weights: Floats | None = None,
    shares: bool = False,
) -> Arrays:
    """The head that minimises mean log loss + strength / 2 · ||W||² over standardised columns (the bias is free).

    Args:
        x: embeddings ``[N, D]``.
        y: int64 ``[N]`` class numbers, or 0/1 ``[N, K]`` when multilabel.
        classes: K; a class without rows gets a bias far below the others, and no weight.
        strength: > 0.
        weights: float32 ``[N]`` >= 0, how much each row counts; all alike if omitted.
        shares: ``y`` is float32 ``[N, K]``, rows that sum to 1 over classes that exclude each other: what a teacher answers.

    Returns:
        ``{"weight": float32 [D, K], "bias": float32 [K]}``.
    """
    problem = _Problem(x, y, classes, np.ones(len(x), np.float32) if weights is None else weights, shares=shares)
    return problem.head(problem.solve(strength))


def search(
    x: Vectors,
    y: Integers | Floats,
    classes: int,
    judge: Callable[[Arrays], float],
    *,
    strengths: Sequence[float] = STRENGTHS,
    shares: bool = False,
) -> tuple[Arrays, float, list[tuple[float, float]]]:
    """The head of the strength that ``judge`` likes best, with one pass of warm starts from strong to weak.

    Args:
        x, y, classes, shares: as in ``fit``.
        judge: head → loss on validation rows, smaller is better. The search ends after two strengths in a row that
            are worse than the best so far.
        strengths: strongest first.

    Returns:
        The head, its strength, and every ``(strength, loss)`` that was tried.
    """
    problem = _Problem(x, y, classes, np.ones(len(x), np.float32), shares=shares)
    best: tuple[float, Arrays, float] | None = None
    tried: list[tuple[float, float]] = []
    worse = 0
    for strength in strengths:
        head = problem.head(problem.solve(strength))
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

    Columns are standardised over all rows, which looks at no label.

    Args:
        x, y, classes, strength: as in ``fit``.
        folds: int64 ``[N]``, 0 … F-1; copies of one picture belong into one fold.
    """
    out = np.empty((len(x), classes), np.float32)
    numbers = np.unique(folds)
    together = max(1, _FOLDED // ((x.shape[1] + 1) * classes))
    for at in range(0, len(numbers), together):
        some = numbers[at : at + together]
        problem = _Problem(x, y, classes, np.ones(len(x), np.float32), np.asarray(folds[:, None] != some))
        head = problem.head(problem.solve(strength, _CLOSE_ENOUGH))
        for column, fold in enumerate(some):
            mine = slice(column * classes, (column + 1) * classes)
            inside = np.flatnonzero(folds == fold)
            out[inside] = logits({"weight": head["weight"][:, mine], "bias": head["bias"][mine]}, x[inside])
    return out


class _Problem:
    """Standardised rows, their targets, and the loss over them, for G heads at once that differ in what rows count.

    Heads lie side by side: a solution is float32 ``[D + 1, G K]``, biases in its last row.

    Args:
        x, y, classes, shares: as in ``fit``.
        weights: float32 ``[N]`` >= 0, how much each row counts.
        inside: bool ``[N, G]``, which rows each head learns from; columns are standardised over all rows.
    """

    def __init__(
        self,
        x: Vectors,
        y: Integers | Floats,
        classes: int,
        weights: Floats,
        inside: NDArray[np.bool_] | None = None,
        *,
        shares: bool = False,
    ) -> None:
        self.x, self.several, self.k = x, y.ndim == 2 and not shares, classes
        if y.ndim == 1 and len(y) and (y.min() < 0 or y.max() >= classes):
            raise ValueError(f"class numbers from {y.min()} to {y.max()} where 0 to {classes - 1} are expected")
        self.weights = np.asarray(weights / max(float(weights.sum(dtype=np.float64)), 1e-30), np.float32)
        share = self.weights[:, None] if inside is None else self.weights[:, None] * inside
        self.share = share / np.maximum(share.sum(0), np.float32(1e-30))
        self.y = np.asarray(y, np.float32) if y.ndim == 2 else np.eye(classes, dtype=np.float32)[y]
        self.seen = self.share.T @ self.y > 0  # [G, K]
        self.mean, self.scale = self._moments()
        self.rows: Floats | None = None
        if x.shape[0] * x.shape[1] * 4 <= _RESIDENT:
            rows = np.empty(x.shape, np.float32)
            for at in range(0, len(x), _BLOCK):
                rows[at : at + _BLOCK] = self._block(at)
            self.rows = rows
        self.theta = np.zeros((x.shape[1] + 1, self.share.shape[1] * classes), np.float32)
        self.curvature: Curvature = deque(maxlen=max(3, min(_PAIRS, _PAIR_BYTES // (8 * self.theta.size))))
        self.precondition: Callable[[Floats], Floats] | None = None

    def _moments(self) -> tuple[Floats, Floats]:
        """Mean of each column, and 1 / its deviation."""
        blocks = range(0, len(self.x), _BLOCK)
        # about the first row, not about zero: columns that lie far from it would lose their deviations to rounding
        mean = np.asarray(self.x[:1], np.float32).sum(0)
        for square in (False, True):
            total = np.zeros(self.x.shape[1])
            for at in blocks:
                block = np.asarray(self.x[at : at + _BLOCK], np.float32) - mean
                total += self.weights[at : at + _BLOCK] @ (block * block if square else block)
            if not square:
                mean = (mean + total).astype(np.float32)
        deviation = np.sqrt(total)
        # a column that hardly moves carries rounding, not knowledge; blowing it up to unit variance would hand it a vote
        still = deviation <= 1e-3 * max(float(np.median(deviation)), 1e-12)
        return mean, np.where(still, 0, 1 / np.where(still, 1, deviation)).astype(np.float32)

    def _block(self, at: int) -> Floats:
        if self.rows is not None:
            return self.rows[at : at + _BLOCK]
        return (np.asarray(self.x[at : at + _BLOCK], np.float32) - self.mean) * self.scale

    def loss(self, theta: Floats, strength: float) -> tuple[float, Floats]:
        """Value, summed over heads, and gradient at ``theta``."""
        w, b = theta[:-1], theta[-1]
        value, gradient = 0.0, np.zeros_like(theta)
        for at in range(0, len(self.y), _BLOCK):
            x, y, share = self._block(at), self.y[at : at + _BLOCK, None], self.share[at : at + _BLOCK, :, None]
            z = (x @ w + b).reshape(len(x), -1, self.k)
            if self.several:
                soft = np.logaddexp(0, z)
                value += float((share * (soft - y * z)).sum(dtype=np.float64))
                error = np.exp(z - soft) - y
            else:
                own = (y * z).sum(2, keepdims=True)
                z = np.where(self.seen, z, -1e30)
                top = z.max(2, keepdims=True)
                e = np.exp(z - top)
                total = e.sum(2, keepdims=True)
                value += float((share * (np.log(total) + top - own)).sum(dtype=np.float64))
                error = e / total - y
            error = (error * share).reshape(len(x), -1)
            gradient[:-1] += x.T @ error
            gradient[-1] += error.sum(0)
        gradient[:-1] += np.float32(strength) * w
        value += 0.5 * strength * float(np.vdot(w, w))
        return value, gradient

    def solve(self, strength: float, close: float = _CLOSE) -> Floats:
        """The minimum, in standardised columns; starts from the solution before, with what was learnt on the way to it."""
        if self.precondition is None:
            self.precondition = self._metric(strength)
        self.theta = minimise(
            lambda theta: self.loss(theta, strength),
            self.theta,
            self.precondition,
            self.curvature,
            close=close * strength * self.share.shape[1],
            most=_PASSES,
        )
        return self.theta

    def _metric(self, strength: float) -> Callable[[Floats], Floats]:
        """Gradient → step by the inverse of (bend · covariance + strength), the same for every class.

        ``bend``: half of p (1 - p) at zero; it falls as rows are learnt, and half serves the way as a whole best (measured).
        """
        n, d = self.x.shape
        p = 0.5 if self.several else 1 / max(2.0, float(self.seen.sum(1).mean()))
        bend = np.float32(p * (1 - p) / 2)
        if d > _MOST_SQUARE or not n:
            typical = np.float32(1 / (bend * np.sqrt(d) + strength))
            return lambda gradient: np.concatenate([typical * gradient[:-1], gradient[-1:] / bend])
        from scipy.linalg import cho_factor, cho_solve

        some = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
        rows = self.rows if self.rows is not None else self.x
        sample = np.asarray(rows[some], np.float32)
        if self.rows is None:
            sample = (sample - self.mean) * self.scale
        share = self.weights[some]
        sample *= np.sqrt(share / max(float(share.sum()), 1e-30))[:, None]
        square = bend * (sample.T @ sample)
        square[np.diag_indices(d)] += np.float32(max(strength, 1e-4 * float(bend)))
        factor = cho_factor(square, lower=True, overwrite_a=True, check_finite=False)

        def precondition(gradient: Floats) -> Floats:
            step = np.empty_like(gradient)
            step[:-1] = cho_solve(factor, gradient[:-1], check_finite=False)
            step[-1] = gradient[-1] / bend
            return step

        return precondition

    def head(self, theta: Floats) -> Arrays:
        """Standardisation folded in; unseen classes far below the rest."""
        weight = theta[:-1] * self.scale[:, None]
        bias = theta[-1] - self.mean @ weight
        if not self.several:
            seen = self.seen.ravel()
            weight, bias = np.where(seen, weight, 0), np.where(seen, bias, -30)
        return {"weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}
