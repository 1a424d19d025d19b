"""Distillation: a target that carries a teacher's softened answer beside the label, and the loss that asks for both.

The answer travels in the target, so that mixed pictures have mixed answers, in the same shares as labels, and every objective can
ask for it. Teaching then costs the teacher one pass over the pictures, however many epochs there are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from visum.learn.losses import Loss
from visum.types import Task


def softened(logits: Tensor, task: Task, temperature: float) -> Tensor:
    """The answer of a teacher at a temperature: softmax(z / T), sigmoid(z / T) when multilabel; float32 ``[N, K]``.

    Args:
        logits: ``[N, K]``.
        temperature: > 0; 1 leaves probabilities as they are, more tells more of what the classes have in common.
    """
    z = logits.float() / temperature
    return z.sigmoid() if task == "multilabel" else z.softmax(1)


def beside(target: Tensor, answers: Tensor) -> Tensor:
    """Labels ``[N, K]`` and softened answers ``[N, K]`` as one target float32 ``[N, 2K]``."""
    return torch.cat([target, answers], 1)


def taught(loss: Loss, *, task: Task, share: float, temperature: float) -> Loss:
    """share · T² · KL(teacher || student) + (1 - share) · loss of the label (Hinton et al. 2015, section 2).

    Both distributions are softened by T. The soft part is scaled by T², so that its gradients keep their size whatever T is.
    When multilabel it is the mean over labels of the divergence of two Bernoulli distributions.

    Args:
        loss: ``(logits [B, K], labels [B, K]) -> [B]``.
        share: 0 … 1.
        temperature: > 0, that of ``softened``.

    Returns:
        ``(logits [B, K], target [B, 2K] of beside) -> [B]``. It is 0 at share 1 where student and teacher agree. As a function
        of the target it is linear but for a term without gradient, the entropy of the answer.
    """

    def both(logits: Tensor, target: Tensor) -> Tensor:
        label, answer = target.chunk(2, 1)
        z = logits.float() / temperature
        if task == "multilabel":
            yes, no = _divergence(functional.logsigmoid(z), answer), _divergence(functional.logsigmoid(-z), 1 - answer)
            soft = (yes + no).mean(1)
        else:
            soft = _divergence(z.log_softmax(1), answer).sum(1)
        return share * temperature**2 * soft + (1 - share) * loss(logits, label)

    return both


def _divergence(log_q: Tensor, p: Tensor) -> Tensor:
    """p (log p - log q), 0 where p is 0."""
    return functional.kl_div(log_q, p, reduction="none")
