"""Have the shares of the classes changed? Their new shares from unlabelled pictures, and probabilities that know of them.

All of it takes pictures of one class to look as they did (label shift): q(x | y) = p(x | y) with new shares q(y).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.errors import NotEnoughData
from visum.judge.drift.exchange import Flags, contrasts
from visum.types import Floats, Integers

Array = NDArray[np.float64]
ROUNDS = 1000
LEAST = 1e-6
LEAN = 0.02
"""Pull of a bias towards 0, in pictures: enough for classes without any."""


def log_softmax(z: NDArray[np.floating]) -> Array:
    """Row-wise, float64 ``[N, K]``."""
    z = z.astype(np.float64) - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def bias_corrected(logits: Floats, labels: Integers) -> tuple[float, Array]:
    """Bias-corrected temperature scaling (Alexandari et al. 2020, eq. 3): T > 0 and biases ``[K]`` of softmax(z / T + b).

    A temperature alone leaves each class's mean probability off its share, and that error is what EM would take for a shift.
    At the optimum they agree. Biases are drawn a little towards 0 (``LEAN``).

    Args:
        logits: float ``[N, K]`` of reference pictures.
        labels: int64 ``[N]``, all >= 0.

    Raises:
        NotEnoughData: no picture.
    """
    from scipy.optimize import minimize

    n, k = logits.shape
    if not n:
        raise NotEnoughData("no labelled reference picture", allowed="one or more", next="more validation images")
    z, hit = logits.astype(np.float64), np.eye(k)[labels]

    def loss(x: Array) -> tuple[float, Array]:
        scale, bias = np.exp(-x[0]), x[1:]
        log_p = log_softmax(z * scale + bias)
        over = (np.exp(log_p) - hit) / n
        value = -float((log_p * hit).sum()) / n + LEAN * float(bias @ bias) / (2 * n)
        return value, np.concatenate([[-(over * z).sum() * scale], over.sum(0) + LEAN * bias / n])

    bounds = [(np.log(0.05), np.log(20.0)), *[(-10.0, 10.0)] * k]
    found = minimize(loss, np.zeros(k + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0])), found.x[1:] - found.x[1:].mean()


def calibrated(logits: Floats, t: float, bias: Array) -> Array:
    """softmax(z / t + bias), float64 ``[N, K]``."""
    return np.exp(log_softmax(logits / t + bias))


def em(
    p: Array, prior: Array, counts: Array | None = None, *, start: Array | None = None, rounds: int = ROUNDS
) -> Array:
    """New shares of the classes by expectation maximisation (Saerens et al. 2002, Neural Computation 14:21).

    Args:
        p: calibrated probabilities float ``[N, K]`` of new pictures, N >= 1.
        prior: shares that these probabilities go by, float ``[K]``.
        counts: how often each picture counts, ``[B, N]``, for B estimates at once (a bootstrap).
        start: shares to begin with; None: ``prior``.
        rounds: at most.

    Returns:
        Shares summing to 1: ``[K]``, or ``[B, K]``.
    """
    ratio = p / np.maximum(prior, LEAST)
    weights = np.ones((1, len(p))) if counts is None else counts
    q = np.broadcast_to(np.maximum(prior if start is None else start, LEAST), (len(weights), p.shape[1]))
    total = weights.sum(1, keepdims=True)
    for _ in range(rounds):
        inner = np.maximum(q @ ratio.T, 1e-300)
        after = q * ((weights / inner) @ ratio) / total
        done = float(np.abs(after - q).max()) < 1e-7
        q = after
        if done:
            break
    q = q / q.sum(1, keepdims=True)
    return np.asarray(q[0] if counts is None else q)


def bbse(confusion: Array, answered: Array) -> Array:
    """New shares by black-box shift estimation (Lipton et al. 2018, ICML): solve C w = answered for w >= 0; shares = w * prior.

    Args:
        confusion: joint shares on reference pictures, float ``[K, K]``: rows what was answered, columns the truth; sums to 1.
        answered: shares of the answers to new pictures, ``[K]``.
    """
    from scipy.optimize import nnls

    w, _ = nnls(confusion, answered, maxiter=100 * len(answered))
    q = w * confusion.sum(0)
    return np.asarray(q / q.sum() if q.sum() > 0 else confusion.sum(0))


def corrected(p: Array, prior: Array, q: Array) -> Array:
    """Probabilities under new shares: p(y | x) q(y) / p(y), rows summing to 1 (Saerens et al. 2002, eq. 4)."""
    out = p * (q / np.maximum(prior, LEAST))
    return np.asarray(out / np.maximum(out.sum(1, keepdims=True), 1e-300))


def statistic(p: Array, split: Flags) -> Array:
    """Distance between mean probabilities of new and old pictures in units of their spread (Hotelling), of each split ``[B]``.

    If the confusion matrix can be inverted, mean answers differ exactly if the shares of the classes do (Lipton et al. 2018), and
    of several two-sample tests this one sees most kinds of shift (Rabanser et al. 2019, "BBSDs").
    """
    x = np.asarray(p, np.float64)
    spread = np.cov(x.T).reshape(x.shape[1], -1)
    inverse = np.linalg.pinv(spread, rcond=1e-4, hermitian=True)
    moved = contrasts(split, np.zeros(len(x), np.int64)).astype(np.float64) @ x
    return np.asarray(np.einsum("bk,bk->b", moved @ inverse, moved))


def thinned(labels: Integers, answers: Integers, ratio: Array, rng: np.random.Generator) -> Flags:
    """Which old pictures to keep so that true classes are mixed within each answer as under new shares: bool ``[M]``.

    A picture of class y is kept with probability ratio[y] / (largest ratio among pictures of the same answer).

    Args:
        labels, answers: int64 ``[M]``.
        ratio: new over old shares, float ``[K]``.
    """
    weight = ratio[labels]
    top = np.zeros(int(answers.max(initial=0)) + 1)
    np.maximum.at(top, answers, weight)
    return np.asarray(rng.random(len(labels)) * top[answers] <= weight)
