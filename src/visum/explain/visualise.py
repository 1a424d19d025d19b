"""Feature visualisation: the picture that a channel, or a class, answers to most, found by gradient ascent on the picture itself.

After Olah, Mordvintsev and Schubert 2017 (Feature Visualization, Distill): the picture is a sum of waves whose steps are evened
out over frequencies (``fourier``; ``pixels`` is the plain alternative), its colours are uncorrelated axes, and before each step
it is shifted, turned and scaled a little, so that nothing is drawn that only works at one place. Loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.errors import ModelError, UsageError
from visum.models import pools
from visum.models.differentiable import Differentiable, pixels
from visum.runtime import Step, no_step
from visum.types import Floats, Pixels

if TYPE_CHECKING:
    import torch

STEPS, RATE = 160, 0.05
CLASS = ""
"""Instead of a layer: the logits, whose channels are the classes."""
# square root of the covariance of RGB over ImageNet, scaled to its largest axis (Olah et al. 2017, lucid's recorrelation)
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
_LARGEST = 0.4619  # length of the largest axis
_SPREAD = 0.03
"""Deviation of the first picture's waves: nearly grey."""


@dataclass(frozen=True)
class Feature:
    """What is looked for.

    Attributes:
        layer: a module of the network, or ``CLASS``.
        channel: number of the channel, or of the class.
    """

    layer: str
    channel: int


class _Seen(Exception):
    """The layer was reached: what follows it need not be computed."""


def activations(network: Differentiable, squares: Pixels, features: Sequence[Feature], batch: int = 32) -> Floats:
    """Mean activation of each feature over each fitted square uint8 ``[N, S, S, 3]``: float32 ``[N, F]``."""
    import torch

    out = []
    with torch.no_grad():
        for at in range(0, len(squares), batch):
            x = pixels(squares[at : at + batch])
            out.append(
                torch.stack([_mean(network, x, each.layer)[:, each.channel] for each in features], dim=1).numpy()
            )
    return np.concatenate(out)


def channels(network: Differentiable, layer: str) -> int:
    """How many channels a layer has.

    Raises:
        ModelError: no such layer, or it gives several things at once.
    """
    import torch

    size = network.preprocess.size
    with torch.no_grad():
        return int(_mean(network, torch.zeros(1, 3, size, size), layer).shape[1])


def visualise(
    network: Differentiable,
    features: Sequence[Feature],
    *,
    steps: int = STEPS,
    rate: float = RATE,
    parametrisation: str = "fourier",
    robust: bool = True,
    smooth: float = 0.0,
    seed: int = 0,
    step: Step = no_step,
) -> Pixels:
    """The pictures that activate features of one layer most, each as the network sees it: uint8 ``[F, S, S, 3]``.

    Args:
        network: a bundle with gradients.
        features: all of one layer.
        steps: of Adam.
        rate: of learning.
        parametrisation: of ``PARAMETRISATIONS``.
        robust: shift, turn and scale the picture before each step.
        smooth: weight of the total variation (mean difference of neighbouring pixels on the scale 0 … 1), against activation in
            units of its own spread over the first, nearly grey pictures; 0 leaves it out.
        seed: of the first pictures and of what is done to them; the same seed gives the same pictures on one machine.
        step: told of finished steps.

    Raises:
        UsageError: no such parametrisation.
        ModelError: no such layer or channel.
    """
    import torch

    if parametrisation not in PARAMETRISATIONS:
        raise UsageError(f"no parametrisation is called {parametrisation!r}", allowed=", ".join(PARAMETRISATIONS))
    layer = features[0].layer
    wide = channels(network, layer)
    if bad := [each.channel for each in features if not 0 <= each.channel < wide]:
        what = f"the layer {layer}" if layer else "the classifier"
        raise ModelError(f"{what} has no channel {bad[0]}", allowed=f"0 to {wide - 1}", next=f"{layer}:{wide - 1}")
    draw = torch.Generator().manual_seed(seed)
    start, picture = PARAMETRISATIONS[parametrisation](len(features), network.preprocess.size, draw)
    start.requires_grad_(True)
    optimiser = torch.optim.Adam([start], lr=rate)
    which = torch.tensor([each.channel for each in features]).reshape(-1, 1)
    scale: Any = None
    for _ in range(steps):
        shown = picture(start)
        seen = _moved(shown, draw) if robust else shown
        # rows do not know each other, so that the sum climbs in each of them as it would alone
        active = _mean(network, 255 * seen, layer).gather(1, which)[:, 0]
        if scale is None:
            scale = active.detach().abs().clamp_min(1e-3)
        loss = -(active / scale).sum()
        if smooth:
            loss = loss + smooth * total_variation(shown).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step(1)
    with torch.no_grad():
        final = (255 * picture(start)).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(final.permute(0, 2, 3, 1).numpy())


def total_variation(pictures: torch.Tensor) -> torch.Tensor:
    """Mean size of the differences of neighbours, ``[B, 3, S, S]`` → ``[B]``: 0 for one colour (Rudin, Osher and Fatemi 1992)."""
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean((1, 2, 3))
    return across + (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean((1, 2, 3))


def _mean(network: Differentiable, x: torch.Tensor, layer: str) -> torch.Tensor:
    """Channels of a layer, means over positions, ``[B, C]``; logits where ``layer`` is ``CLASS``."""
    if layer == CLASS:
        return network(x)
    found: list[Any] = []

    def catch(module: Any, inputs: Any, output: Any) -> None:
        found.append(output)
        raise _Seen

    hook = network.module(layer).register_forward_hook(catch)
    try:
        network(x)
    except _Seen:
        pass
    finally:
        hook.remove()
    if not found:
        raise ModelError(f"the layer {layer!r} is not run for a picture", allowed=", ".join(network.stages))
    return pools.pooled(found[0])


def _colours(raw: torch.Tensor) -> torch.Tensor:
    """Uncorrelated axes → RGB 0 … 1."""
    import torch

    return torch.sigmoid(torch.einsum("bkhw,ck->bchw", raw, torch.tensor(_COLOURS) / _LARGEST))


def _fourier(
    count: int, size: int, draw: torch.Generator
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Waves ``[B, 3, S, S//2 + 1, 2]``, each divided by its frequency: all scales of a picture move alike."""
    import torch

    up, across = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    even = (1 / (up**2 + across**2).sqrt().clamp_min(1 / size)).unsqueeze(-1)
    start = _SPREAD * torch.randn((count, 3, size, size // 2 + 1, 2), generator=draw)

    def picture(waves: torch.Tensor) -> torch.Tensor:
        raw = torch.fft.irfft2(torch.view_as_complex((waves * even).contiguous()), s=(size, size), norm="ortho")
        return _colours(raw / 4)

    return start, picture


def _pixels(
    count: int, size: int, draw: torch.Generator
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Each pixel for itself."""
    import torch

    return _SPREAD * torch.randn((count, 3, size, size), generator=draw), _colours


PARAMETRISATIONS: dict[str, Callable[..., Any]] = {"fourier": _fourier, "pixels": _pixels}
"""Name → (count, side, generator) → what is optimised, and the function that makes pictures 0 … 1 ``[B, 3, S, S]`` of it."""


def _moved(pictures: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Shifted by up to a sixteenth, turned by up to 10 degrees, scaled by 0.9 to 1.1, around a grey border."""
    import torch
    from torch.nn import functional

    a, b, c, d = (torch.rand(4, generator=draw) * 2 - 1).tolist()
    angle, scale = 10 * np.pi / 180 * a, 1 + 0.1 * b
    turn = [
        [scale * np.cos(angle), -scale * np.sin(angle), c / 8],
        [scale * np.sin(angle), scale * np.cos(angle), d / 8],
    ]
    grid = functional.affine_grid(
        torch.tensor([turn] * len(pictures), dtype=torch.float32), list(pictures.shape), align_corners=False
    )
    return functional.grid_sample(pictures - 0.5, grid, align_corners=False) + 0.5
