"""A bundle as one differentiable function: pixels → logits, in PyTorch, with gradients at the pixels and at any stage.

The compiled engines answer; this one can be asked why, or be attacked. The head, which lies outside the graph elsewhere, is
inside here, so that a probe over several pooled stages is one function like any other network. Everything is frozen: gradients
flow to what goes in, never to weights. Loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.errors import ModelError
from visum.models import heads, weights, zoo
from visum.types import Bundle, Pixels, Preprocess

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Differentiable:
    """A bundle in PyTorch, in eval mode and in float32.

    Attributes:
        forward: pixels float32 ``[B, 3, S, S]``, RGB, 0 … 255 as in a fitted square → uncalibrated logits float32 ``[B, K]``.
        stages: module names after which features are worth having, first ones first: those that the architecture declares, else
            its children. Any other name of ``network.named_modules()`` may be watched as well.
        network: the architecture inside, by its authors' names.
        preprocess: that of the bundle; ``size`` is S.
    """

    forward: torch.nn.Module
    stages: tuple[str, ...]
    network: torch.nn.Module
    preprocess: Preprocess

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward(pixels)  # type: ignore[no-any-return]

    def module(self, name: str) -> torch.nn.Module:
        """A module of the network by its name.

        Raises:
            ModelError: there is none; the message names the stages.
        """
        modules: dict[str, torch.nn.Module] = dict(self.network.named_modules())
        if not name or name not in modules:
            known = ", ".join(self.stages)
            raise ModelError(f"no layer is called {name!r}", allowed=known, next=f"--layer {self.stages[-1]}")
        return modules[name]

    @contextmanager
    def watching(self, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
        """While it runs, what each of these modules gave in the last forward pass stands in the dictionary, inside the graph.

        Raises:
            ModelError: as ``module``.
        """
        seen: dict[str, Any] = {}

        def catch(name: str) -> Any:
            return lambda module, inputs, output: seen.__setitem__(name, output)

        hooks = [self.module(name).register_forward_hook(catch(name)) for name in names]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


def check(bundle: Bundle, allowed: str = "the bundle of a network", next: str = "") -> None:
    """Refuse a bundle without gradients.

    Args:
        allowed, next: what works instead, and what to type.

    Raises:
        ModelError: a classical model or an ensemble.
    """
    kind = str(bundle.architecture.get("kind"))
    if kind != "probe":
        what = "an ensemble of several models" if kind == "ensemble" else "a classical model"
        raise ModelError(f"this bundle is {what}, which has no gradients", allowed=allowed, next=next)


def of_bundle(bundle: Bundle) -> Differentiable:
    """A probe, a fine-tuned network or a ``cnn:…`` as a function with gradients.

    Raises:
        ModelError: as ``check``.
    """
    import torch

    check(bundle)
    backbone = weights.of_bundle(bundle)
    trunk: Any = zoo.trunk(backbone.name, backbone.weights, backbone.stages, bundle.preprocess, backbone.pool)
    for module in trunk.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # a stage that is watched must not be overwritten by what follows
    name = str(bundle.architecture.get("classifier", heads.LINEAR))
    start = "head." if name == heads.LINEAR else "classifier."
    arrays = {
        key.removeprefix(start): torch.nn.Buffer(torch.from_numpy(np.array(value, np.float32)))
        for key, value in bundle.weights.items()
        if key.startswith(start)
    }
    if name not in HEADS:
        raise ModelError(
            f"the classifier {name!r} has no gradients", allowed=", ".join(HEADS), next="--method occlusion"
        )
    wide = len(arrays["weight"])

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk
            for key, value in arrays.items():
                setattr(self, key, value)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            features = self.trunk(pixels.permute(0, 2, 3, 1))
            held = {key: getattr(self, key) for key in arrays}
            return HEADS[name](held, features[:, -wide:])  # type: ignore[no-any-return]

    whole = Whole().eval().requires_grad_(False)
    network = trunk.last.network
    return Differentiable(whole, stages_of(network), network, bundle.preprocess)


def stages_of(network: Any) -> tuple[str, ...]:
    """Modules of an architecture after which features are worth having, first ones first."""
    modules = dict(network.named_modules())
    declared = tuple(stage for stage in zoo.stages(network) if stage in modules)
    if declared:
        return declared
    if "features" in modules and len(list(modules["features"].children())) > 1:
        return tuple(f"features.{name}" for name, _ in modules["features"].named_children())
    return tuple(_blocks(network))


def _blocks(network: Any, above: str = "") -> Iterator[str]:
    """Children in order; one that holds most of the weights (the encoder of a transformer) is opened."""
    children = {name: sum(w.numel() for w in child.parameters()) for name, child in network.named_children()}
    for name, size in children.items():
        child = network.get_submodule(name)
        if 2 * size > sum(children.values()) and len(list(child.children())) > 1:
            yield from _blocks(child, f"{above}{name}.")
        else:
            yield above + name


def _linear(arrays: dict[str, Any], x: Any) -> Any:
    return x @ arrays["weight"] + arrays["bias"]


def _cosine(arrays: dict[str, Any], x: Any) -> Any:
    e = (x - arrays["mean"]) / arrays["spread"]
    return e @ arrays["weight"] / e.norm(dim=1, keepdim=True).clamp_min(heads.SHORTEST)


HEADS = {heads.LINEAR: _linear, heads.COSINE: _cosine}
"""``models.heads.HEADS`` once more, for tensors with gradients."""


def pixels(squares: Pixels) -> torch.Tensor:
    """Fitted squares uint8 ``[B, S, S, 3]`` → float32 ``[B, 3, S, S]``, 0 … 255, as ``Differentiable`` takes them."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(squares)).permute(0, 3, 1, 2).float()
