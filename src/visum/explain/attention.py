"""What the tokens of a transformer look at: maps of single heads, rollout over all blocks, and the flow through them.

Attention says where a block took its information from and not what for: these maps are the same for every class. Only plain
vision transformers have one grid of tokens from end to end; the windows of a Swin shift and its patches merge, so that there is
no way from a patch to the answer that a product of square matrices could tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.errors import ModelError
from visum.explain.cams import enlarged
from visum.explain.subject import Subject
from visum.models.differentiable import Differentiable, pixels
from visum.types import Floats, Integers, Pixels

if TYPE_CHECKING:
    import torch

SCALE = 1_000_000
"""Capacities are whole numbers for the flow: shares of a million."""
OTHERS = "gradcam, layercam, integrated_gradients, occlusion"


def layers(network: Differentiable) -> tuple[str, ...]:
    """Names of the attention layers of a plain vision transformer, first one first: timm's, or torchvision's.

    Raises:
        ModelError: it has none, or attends within windows.
    """
    import torch

    modules = dict(network.network.named_modules())
    windows = any(hasattr(module, "relative_position_bias_table") for module in modules.values())
    found = tuple(
        name
        for name, module in modules.items()
        if isinstance(module, torch.nn.MultiheadAttention)
        or all(hasattr(module, part) for part in ("qkv", "num_heads", "scale", "attn_drop"))
    )
    if windows:
        raise ModelError(
            "this transformer attends within windows or behind convolutions: no grid of tokens goes from the picture to the "
            "answer, which its heads could be a map of",
            allowed=OTHERS,
            next="--method layercam",
        )
    if not found:
        raise ModelError(
            "this network has no attention layers to look at (it is convolutional, or of another build)",
            allowed=OTHERS,
            next="--method gradcam",
        )
    return found


@contextmanager
def _watching(network: Differentiable) -> Iterator[dict[str, torch.Tensor]]:
    """While it runs, the attention ``[B, heads, N, N]`` of each layer in the last forward pass stands in the dictionary."""
    import torch

    seen: dict[str, Any] = {}
    undo: list[Callable[[], None]] = []
    for name in layers(network):
        module: Any = network.module(name)
        if isinstance(module, torch.nn.MultiheadAttention):  # torchvision calls it without asking for weights
            plain = module.forward

            def asked(*inputs: Any, _name: str = name, _plain: Any = plain, **settings: Any) -> Any:
                out, seen[_name] = _plain(*inputs, **(settings | {"need_weights": True, "average_attn_weights": False}))
                return out, None

            module.__dict__["forward"] = asked
            undo.append(lambda module=module: module.__dict__.pop("forward"))  # type: ignore[misc]
        else:  # timm: unfused, what goes into the dropout of the attention is the attention
            fused, module.fused_attn = getattr(module, "fused_attn", False), False
            hook = module.attn_drop.register_forward_hook(
                lambda _, inputs, output, name=name: seen.__setitem__(name, inputs[0])
            )
            undo.append(hook.remove)
            undo.append(lambda module=module, fused=fused: setattr(module, "fused_attn", fused))  # type: ignore[misc]
    try:
        yield seen
    finally:
        for each in undo:
            each()


def matrices(network: Differentiable, squares: Pixels) -> tuple[tuple[str, ...], Floats]:
    """Names of the L layers and their attention, float32 ``[L, B, heads, N, N]``, rows sum to 1: row i is what token i looks at.

    Raises:
        ModelError: as ``layers``; or layers with other numbers of tokens or heads.
    """
    import torch

    with torch.no_grad(), _watching(network) as seen:
        network(pixels(squares))
    names = tuple(seen)
    shapes = {tuple(each.shape) for each in seen.values()}
    if len(shapes) != 1 or next(iter(shapes))[-1] != next(iter(shapes))[-2]:
        raise ModelError(
            "the attention layers of this network have different numbers of tokens or heads",
            allowed=OTHERS,
            next="--method layercam",
        )
    return names, np.stack([each.numpy() for each in seen.values()]).astype(np.float32)


def grid_of(tokens: int) -> tuple[int, int]:
    """Tokens that stand before the patches (class, distillation, registers), and patches a side: ``(first, side)``."""
    side = int(tokens**0.5)
    return tokens - side * side, side


def _of_patches(rows: Floats) -> Floats:
    """What the answer looks at, ``[..., N, N]`` → ``[..., side, side]``: the class token's row; without one, the mean row."""
    first, side = grid_of(rows.shape[-1])
    told = rows[..., 0, first:] if first else rows.mean(axis=-2)
    return np.asarray(told.reshape(*told.shape[:-1], side, side), np.float32)


def heads(network: Differentiable, square: Pixels) -> tuple[tuple[str, ...], Floats]:
    """What the class token looks at in each head: names of the L layers, float32 ``[L, heads, side, side]``, sums <= 1."""
    names, found = matrices(network, square[None])
    return names, _of_patches(found[:, 0])


def rollout(attention: Floats) -> Floats:
    """Attention followed through all layers, half of each being the way around it (Abnar & Zuidema 2020, section 3).

    Args:
        attention: float ``[L, N, N]``, mean of heads, rows sum to 1.

    Returns:
        float ``[N, N]``, rows sum to 1: which share of input token j is in output token i.
    """
    through = np.eye(attention.shape[-1])
    for each in attention:
        through = (0.5 * each + 0.5 * np.eye(len(each))) @ through
    return np.asarray(through, np.float32)


def flow(attention: Floats, target: int = 0) -> Floats:
    """The largest flow from each input token to one output token, attention being the capacities (Abnar & Zuidema 2020,
    section 3).

    Args:
        attention: float ``[L, N, N]``, mean of heads, rows sum to 1.
        target: the output token.

    Returns:
        float ``[N]``, 0 … 1 each; every token's flow is its own problem, so they do not sum to anything.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    depth, n = attention.shape[0], attention.shape[-1]
    capacity = np.rint(SCALE * (0.5 * attention + 0.5 * np.eye(n))).astype(np.int32)
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    # node l * n + t is token t below layer l; an edge goes up from j to i
    tails = np.concatenate([(layer * n + j).ravel() for layer in range(depth)])
    tips = np.concatenate([((layer + 1) * n + i).ravel() for layer in range(depth)])
    size = (depth + 1) * n
    graph = csr_array((capacity.reshape(-1), (tails, tips)), shape=(size, size), dtype=np.int32)
    sink = depth * n + target
    return np.array([maximum_flow(graph, token, sink).flow_value / SCALE for token in range(n)], np.float32)


def _each(one: Callable[[Floats], Floats]) -> Callable[[Subject, Pixels, Integers, Integers], Floats]:
    """``[L, heads, N, N]`` of one picture → ``[side, side]``, as an explainer; classes make no difference to it."""

    def run(subject: Subject, squares: Pixels, targets: Integers, contrast: Integers) -> Floats:
        assert subject.network is not None
        maps = [one(matrices(subject.network, square[None])[1][:, 0]) for square in squares]
        return enlarged(np.stack(maps), squares.shape[1])

    return run


def _flowing(attention: Floats) -> Floats:
    first, side = grid_of(attention.shape[-1])
    mean = attention.mean(axis=1)
    if first:
        return flow(mean)[first:].reshape(side, side)
    return np.asarray(np.mean([flow(mean, each) for each in range(side * side)], axis=0).reshape(side, side))


last_layer = _each(lambda attention: _of_patches(attention[-1].mean(axis=0)))
rolled = _each(lambda attention: _of_patches(rollout(attention.mean(axis=1))))
flowing = _each(_flowing)
