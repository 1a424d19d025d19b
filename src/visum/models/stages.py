"""Every stage of a bundle's network at once: one compiled pass a picture yields the pooled features of all of them.

A stage's features are the mean over positions of what the module gave. They lie side by side in one embedding, and go through the
store like any other. Loads torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from visum.errors import ModelError
from visum.models import differentiable, pools, weights, zoo
from visum.models.embed import Network
from visum.types import Bundle

OUTPUT = "output"
"""Name of the last stage: what the classifier sees."""
MOST = 12
"""Stages that are looked at; of deeper networks as many, evenly spread."""
Columns = tuple[tuple[str, int, int], ...]
"""(stage, first column, one behind the last), in the order of the network."""


def check(bundle: Bundle, wish: str) -> None:
    """It is one network.

    Args:
        wish: what for, e.g. ``--layers``.

    Raises:
        ModelError: it is a classical model or an ensemble.
    """
    kind = str(bundle.architecture.get("kind"))
    if kind == "ensemble":
        raise ModelError(
            f"this bundle is an ensemble, and {wish} looks into one network",
            allowed="the bundle of a single network",
            next="the same with one of its members",
        )
    if kind != "probe":
        raise ModelError(
            f"this bundle is a classical model, which has no layers for {wish}",
            allowed="the bundle of a network",
            next="visum train DATA --ladder majority,embedding+probe",
        )


def names(bundle: Bundle) -> tuple[str, ...]:
    """Stages worth looking at, first ones first: those that are declared and those that the bundle's head sees."""
    backbone = weights.of_bundle(bundle)
    network = zoo.build(backbone.name, size=bundle.preprocess.size)
    order = {name: at for at, (name, _) in enumerate(network.named_modules())}
    found = {*differentiable.stages_of(network), *zoo.watched(backbone.name, network, backbone.stages)}
    found -= set(zoo.classifiers(network))  # the bundle has one of its own
    every = sorted(found, key=order.__getitem__)
    if backbone.last in every:
        every = every[: every.index(backbone.last) + 1]
    if len(every) <= MOST:
        return tuple(every)
    return tuple(every[at] for at in np.unique(np.linspace(0, len(every) - 1, MOST).astype(int)))


def network(bundle: Bundle, wanted: tuple[str, ...], engine: str = "auto") -> tuple[Network, Columns]:
    """A network whose embedding is those stages and the output, side by side, and which columns are whose.

    Args:
        wanted: module names, as ``names`` gives them.

    Raises:
        ModelError: one of them is no module of this network; the message names the stages.
    """
    import torch

    backbone = weights.of_bundle(bundle)
    size = bundle.preprocess.size
    built: Any = zoo.loaded(backbone.name, backbone.weights, size)
    modules = dict(built.named_modules())
    if missing := [name for name in wanted if not name or name not in modules]:
        known = names(bundle)
        raise ModelError(
            f"no layer is called {missing[0]!r}", allowed=f"{', '.join(known)}, or any other module", next=known[-1]
        )
    seen: dict[str, Any] = {}
    hooks = [
        modules[name].register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
        for name in wanted
    ]
    with torch.no_grad():
        noise = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
        last = pools.pooled(zoo.Last(built)(noise))
        parts = {name: pools.pooled(seen[name]) for name in wanted if name in seen}
    for hook in hooks:
        hook.remove()
    if silent := [name for name in wanted if name not in parts]:
        raise ModelError(f"the layer {silent[0]!r} is not run for a picture", allowed=", ".join(names(bundle)))
    columns, at = [], 0
    for name in wanted:
        columns.append((name, at, at + parts[name].shape[1]))
        at += parts[name].shape[1]
    end = parts[wanted[-1]] if wanted else None
    if not backbone.last and (
        end is None or end.shape != last.shape or not torch.allclose(end, last, rtol=1e-3, atol=1e-5)
    ):
        columns.append((OUTPUT, at, at + last.shape[1]))
    whole = replace(backbone, stages=wanted, pool=pools.MEAN, last="")
    return Network(whole, bundle.preprocess, engine), tuple(columns)
