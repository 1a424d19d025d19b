"""What an explainer asks: a model that answers, and, where there is one, the same model with gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.explain.occlusion import log_odds
from visum.types import Floats, Integers, Pixels, Task

if TYPE_CHECKING:
    import torch

    from visum.models.differentiable import Differentiable


@dataclass(frozen=True, eq=False)
class Subject:
    """A model under questions.

    Attributes:
        answer: squares uint8 ``[N, S, S, 3]``, any N → logits float32 ``[N, K]``; the compiled engine.
        task: as in the bundle.
        fill: RGB 0 … 255 of what is hidden.
        network: the same with gradients; None for a model that has none.
        layer: of the network, for class activation maps; "" before ``attribution.resolve`` chose one.
        seed: of methods that draw.
    """

    answer: Callable[[Pixels], Floats]
    task: Task
    fill: tuple[int, int, int]
    network: Differentiable | None = None
    layer: str = ""
    seed: int = 0


def evidence(logits: Floats, target: int, contrast: int, task: Task) -> Floats:
    """What methods without gradients explain: log-odds of the target, or how far its logit lies above that of ``contrast``.

    Args:
        logits: float32 ``[N, K]``.
        contrast: -1 for none.

    Returns:
        float64 ``[N]``.
    """
    if contrast >= 0:
        return np.asarray(logits[:, target].astype(np.float64) - logits[:, contrast])
    return log_odds(logits, target, task)


def score(logits: torch.Tensor, targets: Integers, contrast: Integers) -> torch.Tensor:
    """What methods with gradients explain: the logit of each row's target, less that of its ``contrast`` where that is not -1."""
    import torch

    def column(which: Any) -> torch.Tensor:
        return logits.gather(1, torch.from_numpy(np.maximum(which, 0)).reshape(-1, 1))[:, 0]

    return column(targets) - column(contrast) * torch.from_numpy(contrast >= 0)
