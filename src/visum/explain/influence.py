"""What a linear probe would say had one training picture not been there, without training again.

Koh and Liang 2017 (Understanding Black-box Predictions via Influence Functions, eq. 2): leaving row i out moves the optimum by
H⁻¹ ∇ℓᵢ / n to first order, and a prediction's loss by ∇ℓ · H⁻¹ ∇ℓᵢ / n. For a probe the loss is convex and H⁻¹ ∇ℓ is a linear
system, solved by conjugate gradients on products with H, so that nothing is sampled. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers, Task

Array = NDArray[np.float64]
_RIDGE = 1e-6
"""On the biases, which a common shift of all of them leaves undetermined."""
_CLOSE, _MOST = 1e-4, 400


def effects(
    x: Floats,
    y: Integers,
    weight: NDArray[Any],
    bias: NDArray[Any],
    strength: float,
    queries: Floats,
    answers: Integers,
    task: Task,
) -> Floats:
    """How much the loss of each query would rise, in nats, were one row left out and the probe fitted again.

    Positive: the row helps the answer; negative: it speaks against it.

    Args:
        x: rows that the probe was fitted to, standardised, ``[N, D]``.
        y: int64 ``[N]``, or 0/1 ``[N, K]`` when multilabel.
        weight, bias: ``[D, K]`` and ``[K]``: the minimum of mean log loss + strength / 2 · ||W||² over these rows.
        queries: standardised by the same numbers, ``[Q, D]``.
        answers: like ``y`` of the queries: what is taken as right.

    Returns:
        float32 ``[Q, N]``.
    """
    n, k = len(x), weight.shape[1]
    several = task == "multilabel"
    rows, asked = _with_one(x), _with_one(queries)
    theta = np.concatenate([np.asarray(weight, np.float32), np.asarray(bias, np.float32)[None]])
    p = _probabilities(rows @ theta, several)
    error, wrong = p - _targets(y, k), _probabilities(asked @ theta, several) - _targets(answers, k)
    decay = np.full((len(theta), 1), strength, np.float32)
    decay[-1] = _RIDGE
    q = len(queries)

    def bent(v: Floats) -> Floats:
        """H times Q matrices side by side, ``[D + 1, Q, K]``."""
        z = (rows @ v.reshape(len(v), -1)).reshape(n, q, k)
        share = p[:, None, :]
        z = share * (1 - share) * z if several else share * (z - (share * z).sum(axis=2, keepdims=True))
        back = (rows.T @ z.reshape(n, -1)).reshape(v.shape) / np.float32(n)
        return np.asarray(back + decay[:, :, None] * v, np.float32)

    gradients = np.asarray(asked.T[:, :, None] * wrong[None], np.float32)
    solved = _solve(bent, gradients)
    moved = (rows @ solved.reshape(len(solved), -1)).reshape(n, q, k)
    # a mean over one row less: where the penalty and all rows balanced, a part of the penalty's own pull is left beside the row's
    pull = np.einsum("dqk,dk->q", solved[:-1], np.asarray(weight, np.float32)) * strength
    return np.asarray((np.einsum("nqk,nk->qn", moved, error) + pull[:, None]) / max(n - 1, 1), np.float32)


def _with_one(x: Floats) -> Floats:
    return np.concatenate([np.asarray(x, np.float32), np.ones((len(x), 1), np.float32)], axis=1)


def _targets(y: Integers, k: int) -> Floats:
    return np.asarray(y, np.float32) if y.ndim == 2 else np.eye(k, dtype=np.float32)[y]


def _probabilities(z: Floats, several: bool) -> Floats:
    if several:
        return np.asarray(0.5 * (1 + np.tanh(z / 2)), np.float32)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def _solve(bent: Any, right: Floats) -> Floats:
    """Conjugate gradients for Q systems at once, each with steps of its own (Hestenes and Stiefel 1952)."""

    def dot(a: Floats, b: Floats) -> Array:
        return np.asarray(np.einsum("dqk,dqk->q", a, b, dtype=np.float64), np.float64)

    found, rest = np.zeros_like(right), right.copy()
    step, size = rest.copy(), dot(rest, rest)
    enough = np.maximum(_CLOSE**2 * size, 1e-30)
    for _ in range(_MOST):
        open_ = size > enough
        if not open_.any():
            break
        ahead = bent(step)
        length = np.where(open_, size / np.maximum(dot(step, ahead), 1e-30), 0).astype(np.float32)[:, None]
        found += length * step
        rest -= length * ahead
        new = dot(rest, rest)
        step = rest + (new / np.maximum(size, 1e-30)).astype(np.float32)[:, None] * step
        size = np.where(open_, new, size)
    return found
