"""Batch norms folded into the convolutions before them: the same function, and gradients at pixels in two thirds of the time.

In eval mode a batch norm multiplies and adds constants. A compiled engine folds them away; PyTorch does not. Loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visum.models.differentiable import Differentiable

CLOSE = 1e-3
"""Largest difference of a logit, as a share of the largest one, that is put down to rounding."""


def fold(of: Differentiable, pixels: Tensor) -> int:
    """Fold where it can be done, in place; how many norms are gone.

    Which norm follows which convolution is seen from a run, not guessed from names. The answer to ``pixels`` is compared with
    what it was; if it differs by more than rounding, everything is put back.

    Args:
        of: in eval mode and frozen; nobody else may hold it.
        pixels: float32 ``[B, 3, S, S]``, 0 … 255; one picture will do.
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    with torch.no_grad():
        before = of(pixels)
        pairs, old = _pairs(of, pixels), []
        for convolution, norm in pairs:
            old.append((convolution, convolution.weight, convolution.bias, norm))
            given = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
            weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *given)
            convolution.weight, convolution.bias = weight.requires_grad_(False), bias.requires_grad_(False)
            norm.forward = _rest(norm)
        after = of(pixels)
        if bool((after - before).abs().max() <= CLOSE * before.abs().max().clamp_min(1)):
            return len(pairs)
        for convolution, weight, bias, norm in old:
            convolution.weight, convolution.bias = weight, bias
            del norm.forward
    return 0


def _pairs(of: Differentiable, pixels: Tensor) -> list[tuple[Any, Any]]:
    """Convolutions and the batch norms that take just what they gave, each used once in a run."""
    from torch import nn

    made: dict[int, tuple[nn.Module, Tensor]] = {}
    found: list[tuple[Any, Any]] = []
    runs: list[nn.Module] = []

    def saw(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs.append(module)
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)  # the tensor is kept, so that its id stays its own
        elif id(inputs[0]) in made:
            found.append((made[id(inputs[0])][0], module))

    hooks = [
        each.register_forward_hook(saw)
        for each in of.network.modules()
        if isinstance(each, nn.Conv2d) or (isinstance(each, nn.BatchNorm2d) and each.running_mean is not None)
    ]
    try:
        of(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return [(a, b) for a, b in found if runs.count(a) == runs.count(b) == 1]


def _rest(norm: nn.Module) -> Any:
    """What a norm does besides: timm's end in a dropout (nothing in eval mode) and an activation."""
    activation: Any = getattr(norm, "act", None)
    return (
        (lambda x: activation(x)) if activation is not None else lambda x: x
    )  # a module would be registered as a part
