"""L-BFGS (Nocedal and Wright 2006, algorithm 7.5) for smooth, strictly convex losses of one matrix.

SciPy's minimiser takes neither a preconditioner nor the curvature learnt at a neighbouring problem; for a probe the two
together save three quarters of the passes over the data. No Wolfe conditions are needed: a strictly convex loss has
positive curvature along every step, so that halving a step that fails to descend is enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from visum.types import Floats

Curvature = deque[tuple[Floats, Floats]]
"""(step, change of the gradient along it), oldest first; its ``maxlen`` is how much is remembered."""

_LEAST_STEP = 1e-3


def minimise(
    loss: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    precondition: Callable[[Floats], Floats],
    curvature: Curvature,
    *,
    close: float,
    most: int,
) -> Floats:
    """The matrix at which ``loss`` is about ``close`` above its minimum.

    Args:
        loss: matrix → value and gradient.
        start: float32 matrix.
        precondition: gradient → about the Newton step; any symmetric positive map.
        curvature: of earlier steps, on this problem or a close one; new pairs are appended.
        close: ends when the decrease that the current model of the loss promises is less than this.
        most: evaluations of ``loss``.
    """
    theta = start
    value, gradient = loss(theta)
    for _ in range(most - 1):
        step = _direction(gradient, precondition, curvature)
        slope = _dot(gradient, step)
        if slope < 2 * close:
            break
        length = 1.0
        while True:
            trial = theta - np.float32(length) * step
            trial_value, trial_gradient = loss(trial)
            if trial_value <= value - 1e-4 * length * slope:
                break
            length /= 2
            if length < _LEAST_STEP:  # rounding, not the loss, is in the way
                return theta
        moved, bent = trial - theta, trial_gradient - gradient
        if _dot(moved, bent) > 0:
            curvature.append((moved, bent))
        theta, value, gradient = trial, trial_value, trial_gradient
    return theta


def _direction(gradient: Floats, precondition: Callable[[Floats], Floats], curvature: Curvature) -> Floats:
    """Gradient → the step against it, by the two loops over remembered curvature."""
    q, shares = gradient.copy(), []
    for moved, bent in reversed(curvature):
        share = _dot(moved, q) / _dot(moved, bent)
        q -= np.float32(share) * bent
        shares.append(share)
    step = precondition(q)
    for (moved, bent), share in zip(curvature, reversed(shares), strict=True):
        step += np.float32(share - _dot(bent, step) / _dot(moved, bent)) * moved
    return step


def _dot(a: Floats, b: Floats) -> float:
    return float(np.vdot(a, b))
