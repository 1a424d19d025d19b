"""The first convolution of a network as a picture: what it looks for before anything else."""

from __future__ import annotations

from typing import Any

import numpy as np

from visum.errors import ModelError
from visum.models.differentiable import Differentiable
from visum.types import Floats, Pixels


def first(network: Differentiable) -> tuple[str, Floats]:
    """Name and kernels float32 ``[C, k, k, 3]`` of the first convolution over a picture, RGB.

    Raises:
        ModelError: the network begins with something else.
    """
    for name, module in network.network.named_modules():
        kernels: Any = getattr(module, "weight", None)
        if kernels is not None and kernels.ndim == 4 and kernels.shape[1] == 3:
            found = kernels.detach().permute(0, 2, 3, 1).numpy()
            backwards = network.preprocess.channels == "BGR"
            return name, np.asarray(found[..., ::-1] if backwards else found, np.float32)
    raise ModelError(
        "this network has no convolution that looks at a picture's colours",
        allowed="networks that begin with a convolution (patches of a transformer too)",
        next="--visualise with one of its layers",
    )


def picture(kernels: Floats) -> Pixels:
    """Kernels ``[C, k, k, 3]`` → uint8 ``[C, k, k, 3]``: each scaled by its own largest weight, 0 is middle grey."""
    most = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(np.rint(127.5 + 127.5 * kernels / np.maximum(most, 1e-12)), np.uint8)


def ordered(kernels: Floats) -> Any:
    """Numbers of the kernels, int64 ``[C]``: those that react to colour first, then from coarse to fine; dead ones last."""
    sizes = np.abs(kernels).max(axis=(1, 2, 3))
    grey = kernels.mean(axis=3, keepdims=True)
    colour = np.square(kernels - grey).sum(axis=(1, 2, 3)) / np.maximum(np.square(kernels).sum(axis=(1, 2, 3)), 1e-20)
    change = np.abs(np.diff(grey[..., 0], axis=1)).sum(axis=(1, 2)) + np.abs(np.diff(grey[..., 0], axis=2)).sum(
        axis=(1, 2)
    )
    fine = change / np.maximum(np.abs(grey).sum(axis=(1, 2, 3)), 1e-20)
    dead = sizes < 0.02 * np.median(sizes)
    return np.lexsort((fine, np.where(colour > 0.3, -colour, 1), dead))
