"""What attacks climb: each is a function of logits ``[B, K]`` that is large where the answer is wrong, ``[B]``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-12


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Of the true class, in nats.

    As log(1 + sum of exp(z_k - z_y)): the usual form subtracts a probability from 1, which in float32 leaves nothing, or a slope
    in a wrong direction, where the classifier is sure.
    """
    ahead = logits - logits.gather(1, y[:, None])
    return functional.softplus(ahead.scatter(1, y[:, None], -torch.inf).logsumexp(1))


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the true class leads the best other one; below 0 the answer is wrong. ``[B]``."""
    true = logits.gather(1, y[:, None])[:, 0]
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return true - others


def dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratio (Croce & Hein 2020, eq. 7): how far a target leads, whatever the scale of the logits.

    Its denominator needs four classes; with fewer it is the plain difference.
    """
    lead = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]
    if logits.shape[1] < 4:
        return lead
    top = logits.topk(4, dim=1).values
    return lead / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + _TINY)
