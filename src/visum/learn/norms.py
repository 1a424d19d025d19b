"""Batch norms of a network that is fine-tuned: they keep the statistics that they came with.

A few thousand pictures would only blur what a million have settled. A norm whose statistics stand still is a scale and a shift
for each channel, and both can be taken into the kernel of the convolution before it (Jacob et al. 2018, section 3.2): the same
function of the same weights, with the same gradients, without passing over the maps two more times.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from visum.learn import depthwise


def still(model: nn.Module) -> None:
    """Put all batch norms into eval mode: to be called after each ``model.train()``."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def folded(model: nn.Module, x: Tensor) -> int:
    """Let convolutions do the work of the still batch norms behind them, in place. Weights keep their places and names.

    Which norm follows which convolution is seen on one batch: a norm whose input is the very tensor that a convolution gave out.
    If the answer to that batch changes (somebody else had read the tensor in between), everything is put back.

    Args:
        model: in which statistics stay still (``still``).
        x: a batch that it takes.

    Returns:
        How many norms were folded.
    """
    was = model.training
    model.eval()
    with torch.no_grad():
        pairs = _neighbours(model, x)
        before = model(x)
        for convolution, norm in pairs:
            convolution.forward = partial(_convolved, convolution, norm)
            norm.forward = partial(_behind, norm)
        scale = float(before.abs().max()) + 1e-6
        if float((model(x) - before).abs().max()) > 1e-3 * scale:
            for module in (module for pair in pairs for module in pair):
                del module.forward
            pairs = []
    model.train(was)
    return len(pairs)


def _neighbours(model: nn.Module, x: Tensor) -> list[tuple[Any, Any]]:
    """(Convolution, norm that reads it), each of a kind that is known and called once."""
    given: dict[int, tuple[Any, Tensor]] = {}  # the tensor is kept, so that no other has its number
    pairs: list[tuple[Any, Any]] = []
    calls: dict[nn.Module, int] = {}

    def after(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        given[id(out)] = module, out

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        if id(inputs[0]) in given:
            pairs.append((given[id(inputs[0])][0], module))

    same, act = _timm()
    hooks = []
    for module in model.modules():
        if type(module) in (nn.Conv2d, same):
            hooks.append(module.register_forward_hook(after))
        elif type(module) in (nn.BatchNorm2d, act) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before))
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair)]


def _timm() -> tuple[Any, Any]:
    """timm's convolution that pads like TensorFlow, and its batch norm with an activation behind it."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d

    return Conv2dSame, BatchNormAct2d


def _convolved(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The convolution and the norm in one: kernel · γ / σ, and (bias - μ) · γ / σ + β."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = norm.weight * scale
    start = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
    bias = start * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    kernel = convolution.weight * scale[:, None, None, None]
    c = convolution
    if c.padding_mode != "zeros" or isinstance(c.padding, str):
        out: Tensor = c._conv_forward(x, kernel, bias)
        return out
    padding, same = c.padding, _timm()[0]
    if type(c) is same:
        x, padding = _padded(x, c), (0, 0)
    if depthwise.suits(c.in_channels, c.out_channels, c.groups, c.dilation):
        vertical, horizontal = padding
        if vertical or horizontal:
            x = nn.functional.pad(x, (horizontal, horizontal, vertical, vertical))
        return depthwise.depthwise(x, kernel, bias, c.stride)  # type: ignore[arg-type]
    return nn.functional.conv2d(x, kernel, bias, c.stride, padding, c.dilation, c.groups)


def _padded(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Maps as TensorFlow pads them, by timm's own rule."""
    from timm.layers.padding import pad_same

    c = convolution
    return pad_same(x, c.kernel_size, c.stride, c.dilation)  # type: ignore[arg-type, no-any-return]


def _behind(norm: nn.Module, x: Tensor) -> Tensor:
    """What is left of the norm: nothing, or its activation."""
    act = getattr(norm, "act", None)
    return x if act is None else act(norm.get_submodule("drop")(x))
