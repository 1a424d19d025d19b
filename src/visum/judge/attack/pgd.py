"""FGSM and PGD: along the gradient, once or many times."""

from __future__ import annotations

import torch
from torch import Tensor

from visum.judge.attack import losses
from visum.judge.attack.ball import Ball, Classifier, answers, generator, gradient, holds


def fgsm(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 1, seed: int = 0) -> Tensor:
    """One step of the whole radius uphill on the cross entropy (Goodfellow, Shlens & Szegedy 2015; l2: the gradient's direction).

    Args:
        classifier: with gradients.
        x: pixels float32 ``[B, 3, S, S]``, 0 … 255.
        y: int64 ``[B]``, true classes.
        ball: what may be done.
        steps, seed: not used; all attacks take the same arguments.

    Returns:
        Pixels like ``x``, inside the ball and 0 … 255; where the attack failed they are still answered rightly.
    """
    slope, _, _ = gradient(classifier, x, lambda logits: losses.cross_entropy(logits, y))
    return ball.inside(x, x + ball.radius * ball.uphill(slope))


def pgd(
    classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 10, seed: int = 0, restarts: int = 1
) -> Tensor:
    """Projected gradient ascent on the cross entropy from a random start in the ball (Madry et al. 2018).

    Steps are 2.5 radius / ``steps`` long, so that any point of the ball can be reached and left. A picture leaves as soon as
    it is answered wrongly: what its neighbours do is not changed by that.

    Args:
        classifier, x, y, ball: as for ``fgsm``.
        steps: gradients, each followed by a step.
        seed: of the starts.
        restarts: from other points, for pictures that held.

    Returns:
        As ``fgsm``.
    """
    draw, out, size = generator(seed), x.clone(), 2.5 * ball.radius / steps
    left = torch.arange(len(x))
    for _ in range(restarts):
        if not len(left):
            break
        at, here = left, ball.anywhere(x[left], draw)
        for _ in range(steps):
            slope, _, logits = gradient(classifier, here, lambda logits, at=at: losses.cross_entropy(logits, y[at]))  # type: ignore[misc]
            out[at] = here
            stay = holds(logits, y[at])
            at, here, slope = at[stay], here[stay], slope[stay]
            if not len(at):
                break
            here = ball.inside(x[at], here + size * ball.uphill(slope))
        if len(at):
            out[at] = here
            at = at[holds(answers(classifier, here), y[at])]
        left = at
    return out
