"""Maps from gradients at the pixels: integrated gradients, SmoothGrad and expected gradients (gradient SHAP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from visum.explain.subject import Subject, score
from visum.models.differentiable import pixels
from visum.types import Floats, Integers, Pixels

if TYPE_CHECKING:
    import torch

STEPS, DRAWS, AT_ONCE = 50, 50, 8
NOISE = 0.1 * 255
"""Standard deviation of SmoothGrad's noise: within the 10 to 20 % of the range that Smilkov et al. 2017 advise."""


def slopes(subject: Subject, x: torch.Tensor, target: int, contrast: int) -> torch.Tensor:
    """Gradient of the explained score at each of these points, float32 ``[N, 3, S, S]``."""
    import torch

    assert subject.network is not None
    x = x.detach().requires_grad_(True)
    rows = np.full(len(x), target), np.full(len(x), contrast)
    with torch.enable_grad():
        total = score(subject.network(x), *rows).sum()
    return torch.autograd.grad(total, x)[0]


def _parts(count: int) -> Iterator[slice]:
    return (slice(at, min(at + AT_ONCE, count)) for at in range(0, count, AT_ONCE))


def integrated_gradients(subject: Subject, square: Pixels, target: int, contrast: int, steps: int = STEPS) -> Floats:
    """Gradients along the straight way from a blank picture, times the way (Sundararajan et al. 2017, eq. 1).

    The integral is Gauss and Legendre's sum of ``steps`` points. Pixels sum to score(picture) - score(blank).

    Args:
        square: uint8 ``[S, S, 3]``.

    Returns:
        float32 ``[S, S]`` in logits, summed over colours.
    """
    import torch

    at, weight = np.polynomial.legendre.leggauss(steps)
    x = pixels(square[None])
    base = torch.tensor(subject.fill, dtype=torch.float32).view(1, 3, 1, 1).expand_as(x)
    along, share = (torch.from_numpy(each.astype(np.float32)).view(-1, 1, 1, 1) for each in ((at + 1) / 2, weight / 2))
    total = torch.zeros_like(x)
    for part in _parts(steps):
        total += (slopes(subject, base + along[part] * (x - base), target, contrast) * share[part]).sum(0, keepdim=True)
    return np.asarray(((x - base) * total).sum(1)[0].numpy(), np.float32)


def smoothgrad(subject: Subject, square: Pixels, target: int, contrast: int, draws: int = DRAWS // 2) -> Floats:
    """The mean gradient over noisy copies (Smilkov et al. 2017), its largest size over colours: float32 ``[S, S]``, >= 0."""
    import torch

    draw = torch.Generator().manual_seed(subject.seed)
    x = pixels(square[None])
    total = torch.zeros_like(x)
    for part in _parts(draws):
        noise = NOISE * torch.randn((part.stop - part.start, *x.shape[1:]), generator=draw)
        total += slopes(subject, x + noise, target, contrast).sum(0, keepdim=True)
    return np.asarray((total / draws).abs().amax(1)[0].numpy(), np.float32)


def gradient_shap(subject: Subject, square: Pixels, target: int, contrast: int, draws: int = DRAWS) -> Floats:
    """Integrated gradients from many blanks, each a shade of grey, at random points of the way (Erion et al. 2021, eq. 3).

    Returns:
        float32 ``[S, S]`` in logits, summed over colours; sums to about score(picture) - mean score of the blanks.
    """
    import torch

    draw = torch.Generator().manual_seed(subject.seed)
    x = pixels(square[None])
    total = torch.zeros_like(x)
    for part in _parts(draws):
        count = part.stop - part.start
        base = 255 * torch.rand((count, 1, 1, 1), generator=draw)
        along = torch.rand((count, 1, 1, 1), generator=draw)
        total += ((x - base) * slopes(subject, base + along * (x - base), target, contrast)).sum(0, keepdim=True)
    return np.asarray((total / draws).sum(1)[0].numpy(), np.float32)


def each(one: Callable[[Subject, Pixels, int, int], Floats]) -> Callable[[Subject, Pixels, Integers, Integers], Floats]:
    """A method of one picture as an explainer of several."""
    return lambda subject, squares, targets, contrast: np.stack(
        [one(subject, square, int(t), int(v)) for square, t, v in zip(squares, targets, contrast, strict=True)]
    )
