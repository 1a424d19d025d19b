"""Which input sides a network takes, and networks that are made for a single one, built for another.

Convolutional networks take any size above a few pixels. Transformers carry a table of positions for one grid of patches; timm
builds most of them for any grid, and its own loader interpolates the tables of weights that were trained at another one
(``resample_abs_pos_embed`` and its like for relative positions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError
from visum.models.weights import PACKAGED

if TYPE_CHECKING:
    import torch

_STEPS = (14, 16)
"""Sides of patches; every size that windows and stages need is a multiple of one of them, too."""
_TRIES = 12


def taken(name: str, weights: str | Path | None, sides: Sequence[int]) -> tuple[int, ...]:
    """Those of the sides in pixels that a network takes, in their order; of packaged ones all, which needs no torch to know.

    Args:
        name, weights: as for ``weights.find``.
    """
    return tuple(sides) if weights is None or name in PACKAGED else tried(name, sides)


def tried(name: str, sides: Sequence[int]) -> tuple[int, ...]:
    """Those of the sides that an architecture takes in a trial run without numbers.

    A network that cannot be run so at its own side is believed to take them all.
    """
    from visum.models import zoo

    if refusal(name, zoo.preprocess(name).size):
        return tuple(sides)
    return tuple(side for side in sides if not refusal(name, side))


def own(name: str) -> int | None:
    """The one side in pixels that an architecture is made for; None where it takes many.

    Args:
        name: an architecture of timm or torchvision that exists.
    """
    import timm

    if timm.is_model(name):
        cfg = timm.get_pretrained_cfg(name)
        return int(cfg.input_size[-1]) if cfg is not None and cfg.fixed_input_size else None
    return 224 if name.startswith(("vit_", "maxvit_")) else None


def keywords(name: str, size: int | None) -> dict[str, Any]:
    """What a builder of timm or torchvision must be told to make a network for pictures of this side."""
    import timm

    if size is None or own(name) in (None, size):
        return {}
    if timm.is_model(name):
        return {"img_size": size}
    return {"image_size": size} if name.startswith("vit_") else {"input_size": (size, size)}


def refusal(name: str, size: int) -> str:
    """Why a network does not take pictures of this side, in one line; "" if it does.

    Nothing is computed: the network is built without memory for its weights, and only shapes pass through it.
    """
    import torch

    from visum.models import zoo

    try:
        with torch.device("meta"), torch.no_grad():
            network: Any = zoo.create(name, size=size)
            network(torch.zeros(1, 3, size, size))
    except ModelError:
        raise  # no such name
    except Exception as error:  # networks refuse sizes in words and errors of their own
        if isinstance(error, TypeError) and set(keywords(name, size)) & set(str(error).split("'")):
            return f"it is made for {own(name)} px alone"
        return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    side = patch if isinstance(patch, int) else patch[0]
    if own(name) not in (None, size) and size % side:
        return f"its patches of {side} px would not see the last {size % side}"
    return ""


def check(name: str, size: int) -> None:
    """A network takes pictures of this side, as far as a trial run without numbers can tell.

    Raises:
        ModelError: it does not; the message names the nearest sizes that it takes.
    """
    if (why := refusal(name, size)) and tried(name, (size,)) == ():
        near = nearest(name, size)
        more = "" if near == (own(name),) else ", among others"
        raise ModelError(
            f"{name} does not take pictures of {size} px: {why}",
            allowed=f"{', '.join(map(str, near))} px{more}" if near else "",
            next=f"--size {min(near, key=lambda each: abs(each - size))}" if near else "another --backbone",
        )


def nearest(name: str, size: int) -> tuple[int, ...]:
    """Sides in pixels that a network takes: the next below ``size``, the next above it, and its own."""

    def first(sides: Iterable[int]) -> list[int]:
        tried = [each for each in sides if any(each % step == 0 for step in _STEPS)][:_TRIES]
        return next(([each] for each in tried if not refusal(name, each)), [])

    native = [each for each in [own(name)] if each is not None]
    return tuple(sorted({*native, *first(range(size - 1, 0, -1)), *first(range(size + 1, size + 513))}))


def carried(
    name: str, weights: Mapping[str, NDArray[Any]], network: torch.nn.Module, size: int | None = None
) -> Mapping[str, NDArray[Any]]:
    """Weights with every table of positions interpolated to the grid of ``network``; all others as they are.

    Args:
        name: architecture.
        weights: by its own names, of whatever size it was trained at.
        network: the architecture, built for the size that is wanted.
        size: that side in pixels; None for the architecture's own.
    """
    if own(name) is None:
        return weights
    import warnings

    import timm
    import torch

    from visum.models import zoo

    heads, ours = zoo.classifiers(network), network.state_dict()
    given = {
        key: torch.from_numpy(np.array(weights[key]))
        if key in weights and key.rpartition(".")[0] not in heads
        else value
        for key, value in ours.items()
    }
    odd = [key for key, value in given.items() if value.shape != ours[key].shape]
    if not odd:
        return weights
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the loaders index tensors
            moved = _by_timm(name, given, network, size) if timm.is_model(name) else _by_torchvision(given, network)
    except Exception:  # a loader that stumbles over another network's tensors: ``zoo.check_fit`` says which
        return weights
    fitting = {key: moved[key].numpy() for key in odd if key in moved and moved[key].shape == ours[key].shape}
    return {**weights, **fitting}


def _by_timm(name: str, given: dict[str, Any], network: Any, size: int | None) -> Mapping[str, torch.Tensor]:
    """timm's loader, given tensors instead of a file."""
    import timm

    overlay, classes = {"state_dict": given}, network.num_classes
    made = timm.create_model(
        name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **keywords(name, size)
    )
    state: Mapping[str, torch.Tensor] = made.state_dict()
    return state


def _by_torchvision(given: dict[str, Any], network: Any) -> Mapping[str, torch.Tensor]:
    from collections import OrderedDict

    from torchvision.models.vision_transformer import interpolate_embeddings

    state: Mapping[str, torch.Tensor] = interpolate_embeddings(
        network.image_size, network.patch_size, OrderedDict(given)
    )
    return state
