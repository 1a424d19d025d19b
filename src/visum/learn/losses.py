"""Losses: how wrong logits are, one number a row.

A target is always float32 ``[B, K]``: one-hot, soft (mixup, teachers) or multi-hot. Every loss here is linear in its target,
so that the loss of a mixed picture is the mixture of the losses, and everything is computed in float32 whatever arrives, so
that bfloat16 networks lose nothing in their last step. Multilabel losses are means over labels: a learning rate that suits
five labels suits eighty.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from visum.errors import UsageError
from visum.learn import settings as named
from visum.types import Task

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(logits [B, K], target [B, K]) -> float32 [B]``, every row >= 0."""

Counts = NDArray[Any]
"""``[K]`` numbers >= 0: training images of each class, or images that have each label when multilabel."""

OneLabel = Literal["binary", "multiclass"]
ManyLabels = Literal["multilabel"]
Smoothing = Annotated[float, Field(ge=0, lt=1)]
Focus = Annotated[float, Field(ge=0, le=20)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

_SMALLEST = (
    1e-30  # in place of 0 below an exponent under 1, whose slope at 0 is infinite; 1e-30 ** -1 still fits float32
)


def cross_entropy(*, task: OneLabel, counts: Counts, images: int, label_smoothing: Smoothing = 0.0) -> Loss:
    """-sum_k t_k log softmax(z)_k.

    Args:
        label_smoothing: share of the target that is spread over all K classes (Szegedy et al. 2016, section 7).
    """
    return _one_label(smoothing=label_smoothing)


def focal(*, task: Task, counts: Counts, images: int, gamma: Focus = 2.0, alpha: Share | None = None) -> Loss:
    """-alpha_k (1 - p_k) ** gamma log p_k: rows that are right already count less (Lin et al. 2017, eq. 5).

    Softmax probabilities where a picture has one label, sigmoid ones when multilabel; ``gamma=0`` is cross-entropy.

    Args:
        gamma: how fast the weight of easy rows falls.
        alpha: weight of the positive side, 1 - alpha that of the other (class 1 and class 0 when binary; present and absent
            when multilabel); None: both count 1.

    Raises:
        UsageError: alpha with more than two classes, which have no positive side.
    """
    if task == "multilabel":
        return _many_labels(gamma, gamma, positive=alpha, negative=None if alpha is None else 1 - alpha)
    if alpha is not None and task != "binary":
        raise UsageError(
            f"alpha = {alpha} of the focal loss weighs two sides, and a multiclass task has more",
            allowed="gamma alone",
            next="class_balanced with beta and gamma, which weighs each class by its images",
        )
    return _one_label(gamma, weight=None if alpha is None else np.array([1 - alpha, alpha]))


def class_balanced(
    *,
    task: Task,
    counts: Counts,
    images: int,
    beta: BelowOne = 0.999,
    gamma: Focus = 0.0,
    label_smoothing: Smoothing = 0.0,
) -> Loss:
    """Cross-entropy (binary when multilabel) or, with gamma, the focal loss, weighed by class: see ``effective_weights``."""
    weight = effective_weights(counts, beta)
    if task == "multilabel":
        return _many_labels(gamma, gamma, positive=weight, negative=weight, smoothing=label_smoothing)
    return _one_label(gamma, weight=weight, smoothing=label_smoothing)


def binary_cross_entropy(
    *, task: ManyLabels, counts: Counts, images: int, label_smoothing: Smoothing = 0.0, balanced: bool = False
) -> Loss:
    """Mean over labels of -t log p - (1 - t) log(1 - p) with p = sigmoid(z).

    Args:
        label_smoothing: share of each target that is moved to 1/2.
        balanced: weigh the presence of a label by absent / present images, so that both sides count alike. Probabilities
            then lean to the rare labels until they are calibrated.
    """
    return _many_labels(positive=positive_weights(counts, images) if balanced else None, smoothing=label_smoothing)


def asymmetric(
    *,
    task: ManyLabels,
    counts: Counts,
    images: int,
    gamma_neg: Focus = 4.0,
    gamma_pos: Focus = 0.0,
    clip: BelowOne = 0.05,
) -> Loss:
    """The focal loss with an exponent for each side, and absent labels below ``clip`` left in peace.

    Mean over labels of -t (1 - p) ** gamma_pos log p - (1 - t) q ** gamma_neg log(1 - q) with q = max(p - clip, 0)
    (Ridnik et al. 2021, eq. 4 to 7).
    """
    return _many_labels(gamma_pos, gamma_neg, clip=clip)


LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "class_balanced": class_balanced,
    "binary_cross_entropy": binary_cross_entropy,
    "asymmetric": asymmetric,
}
"""Name → ``builder(*, task, counts, images, **settings) -> loss``; the annotation of ``task`` says which tasks it fits."""

DEFAULT: dict[Task, str] = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy",
}


def fitting(task: Task) -> tuple[str, ...]:
    """Names of the losses that a task can be trained with."""
    return tuple(
        name for name, builder in LOSSES.items() if task in typing.get_args(typing.get_type_hints(builder)["task"])
    )


def check(name: str, task: Task, **settings: Any) -> dict[str, Any]:
    """The settings of a loss with their defaults, once name, task and ranges are known to agree.

    Raises:
        UsageError: unknown name, a loss that does not fit the task, settings that are unknown or out of range.
    """
    named.known_name("loss", name, LOSSES)
    if name not in (fit := fitting(task)):
        labels = "any number of labels" if task == "multilabel" else "exactly one label"
        raise UsageError(
            f"the loss {name} does not fit a {task} task, whose pictures have {labels}",
            allowed=", ".join(fit),
            next=f"{DEFAULT[task]}, the default",
        )
    chosen = named.checked("loss", LOSSES, name, settings)
    LOSSES[name](task=task, counts=np.ones(2), images=2, **chosen)  # some settings depend on each other and on the task
    return chosen


def effective_weights(counts: Counts, beta: float) -> NDArray[np.float64]:
    """(1 - beta) / (1 - beta ** n) for a class of n images, scaled to mean 1 (Cui et al. 2019, eq. 4).

    1 for all at beta = 0, 1 / n in the limit of beta = 1. Classes without images are left out of the mean and get 1.

    Args:
        counts: ``[K]``.
        beta: 0 <= beta < 1.

    Returns:
        float64 ``[K]``.
    """
    n = np.asarray(counts, np.float64)
    weights = (1 - beta) / (1 - np.power(beta, np.maximum(n, 1)))
    seen = n > 0
    return np.where(seen, weights / (weights[seen].mean() if seen.any() else 1), 1)


def positive_weights(counts: Counts, images: int) -> NDArray[np.float64]:
    """Absent / present images of each label, float64 ``[K]``; 1 for labels that all images have or none."""
    n = np.asarray(counts, np.float64)
    both = (n > 0) & (n < images)
    return np.where(both, (images - n) / np.where(both, n, 1), 1)


def _one_label(gamma: float = 0.0, *, weight: NDArray[np.float64] | None = None, smoothing: float = 0.0) -> Loss:
    """-sum_k w_k t_k (1 - p_k) ** gamma log p_k, p = softmax(z)."""
    weights = _tensor(weight)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p = functional.log_softmax(logits.float(), 1)
        terms = _smooth(target, smoothing, 1 / logits.shape[1]) * log_p
        if gamma:
            terms = terms * _power(-torch.expm1(log_p), gamma)
        if weights is not None:
            terms = terms * weights.to(terms.device)
        return -terms.sum(1)

    return loss


def _many_labels(
    gamma_pos: float = 0.0,
    gamma_neg: float = 0.0,
    *,
    positive: NDArray[np.float64] | float | None = None,
    negative: NDArray[np.float64] | float | None = None,
    clip: float = 0.0,
    smoothing: float = 0.0,
) -> Loss:
    """Mean over labels of -w+ t (1 - p) ** gamma_pos log p - w- (1 - t) q ** gamma_neg log(1 - q), p = sigmoid(z)."""
    present, absent = _tensor(positive), _tensor(negative)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        z, t = logits.float(), _smooth(target, smoothing, 0.5)
        yes = t * functional.logsigmoid(z)
        no = (1 - t) * (torch.log((torch.sigmoid(-z) + clip).clamp(max=1)) if clip else functional.logsigmoid(-z))
        if gamma_pos:
            yes = yes * _power(torch.sigmoid(-z), gamma_pos)
        if gamma_neg:
            no = no * _power(torch.sigmoid(z) - clip, gamma_neg)
        if present is not None:
            yes = yes * present.to(z.device)
        if absent is not None:
            no = no * absent.to(z.device)
        return -(yes + no).mean(1)

    return loss


def _smooth(target: Tensor, share: float, toward: float) -> Tensor:
    return target.float() * (1 - share) + share * toward if share else target.float()


def _power(base: Tensor, exponent: float) -> Tensor:
    """base ** exponent where base is at least 0, with a finite slope everywhere."""
    return base.clamp(min=_SMALLEST) ** exponent


def _tensor(values: NDArray[np.float64] | float | None) -> Tensor | None:
    return None if values is None else torch.as_tensor(np.asarray(values), dtype=torch.float32)
