"""Class activation maps: channels of one layer, weighed by how much the class's logit rises with them.

Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2), Grad-CAM++ (Chattopadhay et al. 2018, eq. 19), LayerCAM (Jiang et al. 2021, eq. 7).
Of transformers the tokens that stand for patches are taken as a map; class and register tokens are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.errors import ModelError
from visum.explain.subject import Subject, score
from visum.models import pools
from visum.models.differentiable import Differentiable, pixels
from visum.types import Floats, Integers, Pixels

if TYPE_CHECKING:
    import torch


def grid(features: torch.Tensor, name: str) -> torch.Tensor:
    """What a layer gave as ``[B, C, h, w]``: maps of either layout, or tokens ``[B, N, C]`` of a square of patches.

    Raises:
        ModelError: it has no positions.
    """
    if not hasattr(features, "ndim"):
        raise ModelError(f"the layer {name} gives several things at once", next="--layer of another stage")
    if features.ndim == 4:
        features = features.permute(0, 3, 1, 2) if pools.channels_last(features) else features
        if min(features.shape[2:]) > 1:
            return features
    side = int(features.shape[1] ** 0.5) if features.ndim == 3 else 0
    if side < 2:
        raise ModelError(
            f"the layer {name} has no map over the picture, but one cell or none", next="--layer of an earlier stage"
        )
    tokens = features[:, features.shape[1] - side * side :]
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def layer(network: Differentiable, cells: int) -> str:
    """The deepest stage whose map still has so many cells a side (the finest, where none has), of those on whose cells the
    answer depends: behind the last block of a transformer only the class token may count, so that its patches have no say.

    Raises:
        ModelError: no stage has a map of more than one cell: the pictures are smaller than what one cell sees.
    """
    import torch

    size = network.preprocess.size
    probe = 127 + 40 * torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.enable_grad(), network.watching(network.stages) as seen:
        told = network(probe.requires_grad_(True))
    held = {name: seen[name] for name in network.stages if getattr(seen.get(name), "requires_grad", False)}
    slopes = torch.autograd.grad(told[:, 0].sum(), list(held.values()), allow_unused=True)
    sides: dict[str, int] = {}
    for (name, features), slope in zip(held.items(), slopes, strict=True):
        try:
            side = min(grid(features, name).shape[2:])
        except ModelError:
            continue
        if slope is not None and bool(grid(slope, name).any()):
            sides[name] = side
    if not sides:
        raise ModelError(
            f"at {size} px no layer of this network has a map of more than one cell: the pictures are smaller than what one "
            "cell sees",
            allowed="occlusion, lime, integrated_gradients, which need no map; or a larger --size in training",
            next="--method occlusion",
        )
    large = [name for name, side in sides.items() if side >= cells]
    return large[-1] if large else max(sides, key=lambda name: sides[name])


def gradcam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Activations and gradients ``[B, C, h, w]`` → ``[B, h, w]``, >= 0."""
    return (g.mean((2, 3), keepdim=True) * a).sum(1).relu()


def gradcam_plus_plus(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """As ``gradcam``, each position's gradient weighed by how much of the rise it alone explains."""
    import torch

    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    alpha = g**2 / torch.where(below.abs() > 1e-12, below, torch.ones_like(below))
    return ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1).relu()


def layercam(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """As ``gradcam``, each position weighed by its own gradient: sharper in early layers."""
    return (g.relu() * a).sum(1).relu()


Weigh = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def maps(subject: Subject, squares: Pixels, targets: Integers, contrast: Integers, weigh: Weigh) -> Floats:
    """The map as the layer has it, float32 ``[B, h, w]``."""
    import torch

    network, name = subject.network, subject.layer
    assert network is not None
    held: list[torch.Tensor] = []

    def begin(module: Any, inputs: Any, output: Any) -> Any:
        """The graph begins here: nothing of the layers before has to be kept for it."""
        grid(output, name)
        held.append(output.detach().requires_grad_(True))
        return held[-1]

    # ahead of the hooks by which a probe pools its stages, so that it pools what is returned here
    hook = network.module(name).register_forward_hook(begin, prepend=True)
    try:
        with torch.enable_grad():
            total = score(network(pixels(squares)), targets, contrast).sum()
    finally:
        hook.remove()
    (slope,) = torch.autograd.grad(total, held[-1:], allow_unused=True) if held and total.requires_grad else (None,)
    if slope is None:
        raise ModelError(f"the answer does not depend on the layer {name}", next="--layer of another stage")
    with torch.no_grad():
        return np.asarray(weigh(grid(held[-1], name), grid(slope, name)).numpy(), np.float32)


def enlarged(coarse: Floats, size: int) -> Floats:
    """Float32 ``[B, h, w]`` → ``[B, size, size]``, bilinear."""
    import torch

    x = torch.from_numpy(coarse)[:, None]
    return np.asarray(torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear")[:, 0].numpy(), np.float32)


def cam(weigh: Weigh) -> Callable[[Subject, Pixels, Integers, Integers], Floats]:
    """One of the three as an explainer."""
    return lambda subject, squares, targets, contrast: enlarged(
        maps(subject, squares, targets, contrast, weigh), squares.shape[1]
    )
