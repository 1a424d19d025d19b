"""Does a map change when the model does? Weights are drawn anew, from the head down (Adebayo et al. 2018, section 3).

A map that stays alike shows the picture (its edges, say) and nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from visum.explain.subject import Subject
from visum.models.differentiable import Differentiable
from visum.types import Floats, Integers, Pixels

CHANCE = 0.5
"""Mean size of the likeness above which a method does not look at the weights."""


def likeness(one: Floats, other: Floats) -> float:
    """Rank correlation of two maps, -1 … 1; 0 where one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


@contextmanager
def weights_drawn_anew(network: Differentiable, seed: int) -> Iterator[Callable[[str], None]]:
    """Gives a function that shuffles the weights of everything whose name begins so, each tensor in itself; all are as they were
    in the end. Shuffling keeps the sizes, so that the network still answers in its usual range."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    before = {}

    def shuffle(start: str) -> None:
        for name, tensor in network.forward.state_dict(keep_vars=True).items():
            if (name == start or name.startswith(f"{start}.")) and name not in before and tensor.is_floating_point():
                before[name] = tensor.detach().clone()
                with torch.no_grad():
                    tensor.copy_(tensor.flatten()[torch.randperm(tensor.numel(), generator=draw)].view_as(tensor))

    try:
        yield shuffle
    finally:
        with torch.no_grad():
            for name, tensor in network.forward.state_dict(keep_vars=True).items():
                if name in before:
                    tensor.copy_(before[name])


def cascade(
    run: Callable[[Subject, Pixels, Integers, Integers], Floats],
    subject: Subject,
    squares: Pixels,
    targets: Integers,
    contrast: Integers,
) -> dict[str, float]:
    """Mean likeness of maps to those of the trained network, after each stage from the head down has lost its weights too.

    Args:
        run: an explainer; it needs gradients.
        squares: uint8 ``[B, S, S, 3]``, a few.

    Returns:
        Stage → -1 … 1; "head" comes first, everything that lies below the first stage is "all" at the end.
    """
    network = subject.network
    assert network is not None
    trained, found = run(subject, squares, targets, contrast), {}
    inside = next(name for name, module in network.forward.named_modules() if module is network.network)
    with weights_drawn_anew(network, subject.seed) as shuffle:
        for stage in ("head", *reversed(network.stages), "all"):
            for start in {"head": ("weight", "bias"), "all": (inside,)}.get(stage, (f"{inside}.{stage}",)):
                shuffle(start)
            now = run(subject, squares, targets, contrast)
            found[stage] = float(np.mean([likeness(a, b) for a, b in zip(trained, now, strict=True)]))
    return found
