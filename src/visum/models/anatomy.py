"""What a network is made of: layers, the shapes of what they yield, their weights, and the arithmetic of one picture.

Multiply-adds are counted as papers do: one for each multiplication of a convolution, a linear layer or a product of matrices
(attention included), with the addition that goes with it; normalisation, activations and pooling are left out. They are read from
the operators that really run, so that what a network does outside of its modules counts, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

DOMINANT = 0.8
"""A module that holds more than this share of all work or all weights is shown in its parts."""
FEW = 32
"""A network of no more layers than these is shown layer by layer, whatever modules they are grouped in."""
_UNSEEN = ("Identity", "Drop")


@dataclass(frozen=True)
class Layer:
    """One row.

    Attributes:
        name: within the network, e.g. ``layer1``.
        kind: what it is, e.g. ``3 Bottleneck`` or ``Conv2d 7x7 /2``.
        shape: of what it yields for one picture, without the batch: (C, H, W), (H, W, C) or (N, C), as the network has it.
        parameters: numbers that are learnt.
        multiply_adds: for one picture.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Anatomy:
    """One network at one size of picture. The rows of ``layers`` need not add up to the whole: what a network does between them
    is counted in the whole alone.

    Attributes:
        size: input side in pixels.
        layers: in the order in which they run.
        parameters, multiply_adds: of the whole.
    """

    size: int
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int


def _matrices(inputs: Sequence[Any], output: Any) -> int:
    """``[…, m, k] @ […, k, n]``, the last two arguments of the operator."""
    return int(output.numel()) * int(inputs[-1].shape[-2])


def _convolution(inputs: Sequence[Any], output: Any) -> int:
    """Each output sums over a kernel of the channels of its group; transposed, each input spreads over one."""
    x, weight, transposed = inputs[0], inputs[1], inputs[6]
    return int(math.prod(x.shape if transposed else output.shape) * math.prod(weight.shape[1:]))


def _attention(inputs: Sequence[Any], output: Any) -> int:
    """softmax(Q Kᵀ) V, with ``[…, L, E]``, ``[…, S, E]`` and ``[…, S, V]``: two products of matrices in one operator."""
    query, key, value = inputs[:3]
    return int(math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


COUNTED: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "convolution": _convolution,
    "mm": _matrices,
    "addmm": _matrices,
    "bmm": _matrices,
    "baddbmm": _matrices,
    "linear": lambda inputs, output: int(output.numel()) * int(inputs[1].shape[1]),
    "matmul": _matrices,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_attention_math": _attention,
}
"""PyTorch's operator → multiply-adds from its arguments and its result; operators that are not here count nothing."""


def examine(name: str, size: int, *, classes: int | None = None) -> Anatomy:
    """The anatomy of an architecture. Where it can be done, nothing is computed and no memory is taken for its weights: only
    shapes pass through.

    Args:
        name: as ``zoo.build`` takes it.
        size: input side in pixels.
        classes: outputs of the final layer; None keeps the architecture's own.

    Raises:
        ModelError: no such architecture, or it does not take pictures of this size.
    """
    import torch

    from visum.models import sizes, zoo

    zoo.check_name(name)
    sizes.check(name, size)
    try:
        with torch.device("meta"):
            return of_network(zoo.create(name, classes=classes, size=size), torch.zeros(1, 3, size, size))
    except NotImplementedError:  # it asks for numbers while it is built
        return of_network(zoo.build(name, classes=classes, size=size), torch.zeros(1, 3, size, size))


def of_network(network: torch.nn.Module, pictures: torch.Tensor) -> Anatomy:
    """The anatomy of a network that is built, on one picture float32 ``[1, 3, S, S]``."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    modules = dict(network.named_modules())
    within: list[str] = [""]
    order: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    adds: Counter[str] = Counter()

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            if count := COUNTED.get(func.overloadpacket.__name__):
                for name in within:
                    adds[name] += count(args, output)
            return output

    def enter(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any) -> None:
            within.append(name)
            if name not in order:
                order.append(name)

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            within.pop()
            shapes[name] = _shape(output)

        return hook

    hooks = []
    for name, module in modules.items():
        if name:
            hooks += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator that hides its products
    try:
        # not inference_mode, in which operators arrive before they are taken apart
        with torch.no_grad(), Count():  # type: ignore[no-untyped-call]
            network.eval()(pictures)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for hook in hooks:
            hook.remove()

    parameters = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    shown = [each for each in order if _seen(modules[each]) and not any(modules[each].children())]
    if len(shown) > FEW:
        shown = sorted(_shown("", network, parameters, adds, shapes), key=order.index)
    rows = [Layer(each, _kind(modules[each]), shapes[each], parameters[each], adds[each]) for each in shown]
    return Anatomy(int(pictures.shape[-1]), tuple(rows), parameters[""], adds[""])


def _shown(
    name: str,
    module: torch.nn.Module,
    parameters: dict[str, int],
    adds: Counter[str],
    shapes: dict[str, tuple[int, ...]],
) -> list[str]:
    """Names of the modules below ``module`` that become rows."""
    found = []
    for child, part in module.named_children():
        path = f"{name}.{child}" if name else child
        parts = [f"{path}.{each}" for each, _ in part.named_children()]
        ran = [each for each in parts if each in shapes]
        whole = path not in shapes or sum(adds[each] for each in ran) >= 0.99 * adds[path]
        large = path not in shapes or adds[path] > DOMINANT * adds[""] or parameters[path] > DOMINANT * parameters[""]
        if ran and whole and large:
            found += _shown(path, part, parameters, adds, shapes)
        elif path in shapes and _seen(part):
            found.append(path)
    return found


def _seen(module: Any) -> bool:
    """Whether a module does something to pictures when nobody trains."""
    return not type(module).__name__.startswith(_UNSEEN)


def _shape(output: Any) -> tuple[int, ...]:
    """Shape without the batch; of several outputs, that of the first."""
    while isinstance(output, (list, tuple, dict)):
        output = next(iter(output.values() if isinstance(output, dict) else output))
    return tuple(output.shape[1:])


def _kind(module: Any) -> str:
    """What a module is, in a few words."""
    name = type(module).__name__
    children = [type(child).__name__ for child in module.children()]
    if name in ("Sequential", "ModuleList") and len(set(children)) == 1:
        return children[0] if len(children) == 1 else f"{len(children)} {children[0]}"
    if hasattr(module, "kernel_size") and not children:
        sides = [side if isinstance(side, tuple) else (side,) * 2 for side in (module.kernel_size, module.stride or 1)]
        return f"{name} {sides[0][0]}x{sides[0][1]}" + (f" /{sides[1][0]}" if sides[1][0] > 1 else "")
    return name
