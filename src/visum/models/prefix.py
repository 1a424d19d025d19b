"""A network cut at a stage: a frozen prefix, whose outputs are kept, and a suffix that is trained on them.

The prefix is a backbone whose output is a feature map instead of an embedding, so that graphs, engines and the store serve it
like any other. The suffix starts from that map and yields what ``zoo.trunk`` yields: the law is ``suffix(prefix(x)) ==
trunk(x)``. Training steps then cost the suffix alone; a probe is the case where the suffix is one linear layer, full fine-tuning
the case where the prefix is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError
from visum.models import pools, zoo
from visum.models.weights import Backbone, digest_of_weights

if TYPE_CHECKING:
    import torch

WHOLE = "none"
"""The cut before everything: nothing is frozen, and the suffix starts from pixels."""


@dataclass(frozen=True, eq=False)
class Halves:
    """A network in two.

    Attributes:
        prefix: uint8 pixels ``[B, S, S, 3]`` → the flattened map float32 ``[B, C·H·W]``.
        suffix: the map float32 ``[B, C, H, W]`` → embeddings float32 ``[B, D]``, as ``zoo.trunk`` gives them for ``stages``.
        shape: (C, H, W) of the map.
        stages: those watched stages of the backbone that do not lie before the cut.
    """

    prefix: torch.nn.Module
    suffix: torch.nn.Module
    shape: tuple[int, ...]
    stages: tuple[str, ...]


def cuts(backbone: Backbone) -> tuple[str, ...]:
    """Stages that the embedding pools, first ones first: after each of them the network may be cut."""
    return zoo.watched(backbone.name, zoo.build(backbone.name), backbone.stages)


def with_pool(backbone: Backbone, name: str) -> Backbone:
    """A backbone whose last map is pooled otherwise, by a pool that is new.

    Args:
        backbone: pooled by the mean.
        name: of ``pools.POOLS``.

    Raises:
        ModelError: no such pool, or no map to pool.
    """
    import torch

    if name == backbone.pool:
        return backbone
    size = backbone.preprocess.size
    network = zoo.loaded(backbone.name, backbone.weights, size)
    seen: dict[str, Any] = {}
    watched = zoo.watched(backbone.name, network, backbone.stages)
    for stage in watched:
        network.get_submodule(stage).register_forward_hook(lambda _, __, out, stage=stage: seen.__setitem__(stage, out))
    with torch.no_grad():
        own = zoo.Last(network)(zoo.Normalise(backbone.preprocess)(torch.zeros(1, size, size, 3, dtype=torch.uint8)))
    parts = [*(seen[stage] for stage in watched), own]
    channels = pools.positions(parts[pools.last_map(parts)]).shape[2]
    weights = {**backbone.weights, **pools.start(name, channels)}
    return replace(backbone, pool=name, weights=weights, digest=digest_of_weights(weights))


def split(backbone: Backbone, cut: str) -> Halves:
    """Cut a backbone after the stage ``cut``; ``none`` leaves the prefix empty.

    Raises:
        ModelError: no such stage, or what follows it also needs what came before (skip connections across the cut), or the
            network's Python code cannot be traced.
    """
    import torch

    network = zoo.loaded(backbone.name, backbone.weights, backbone.preprocess.size)
    watched = zoo.watched(backbone.name, network, backbone.stages)
    last = zoo.Last(network)
    last.add_module(pools.PLACE, pools.Joined(backbone.pool, backbone.weights))
    spec = backbone.preprocess
    normalise = zoo.Normalise(spec)
    pixels = torch.zeros(1, spec.size, spec.size, 3, dtype=torch.uint8)
    if cut == WHOLE:
        _, suffix, kept = _graph(last, watched, None, backbone.name)
        return Halves(torch.nn.Sequential(normalise, torch.nn.Flatten()), suffix, (3, spec.size, spec.size), kept)
    if cut not in dict(network.named_modules()):
        known = zoo.stages(network)
        raise ModelError(
            f"{backbone.name} has no stage {cut!r}",
            allowed=f"{WHOLE}, {', '.join(known)}",
            next=f"--cut {known[-2] if len(known) > 1 else WHOLE}",
        )
    before, after, kept = _graph(last, watched, cut, backbone.name)
    with torch.no_grad():
        shape = tuple(before(normalise(pixels)).shape[1:])
    return Halves(torch.nn.Sequential(normalise, before, torch.nn.Flatten()).eval(), after, shape, kept)


def shortened(backbone: Backbone) -> torch.nn.Module:
    """A network that ends after the stage ``backbone.last``: uint8 pixels ``[B, S, S, 3]`` → the pooled stages up to it.

    Its columns are the first ones of ``zoo.trunk``, and what came after costs nothing any more.

    Raises:
        ModelError: no such stage is pooled, or the network's Python code cannot be traced.
    """
    import torch

    network = zoo.loaded(backbone.name, backbone.weights, backbone.preprocess.size)
    watched = zoo.watched(backbone.name, network, backbone.stages)
    if backbone.last not in watched:
        raise ModelError(f"{backbone.name} pools no stage {backbone.last!r}", allowed=", ".join(watched))
    whole = zoo.Last(network)
    whole.add_module(pools.PLACE, pools.Joined(pools.MEAN, backbone.weights))
    graph, calls = _traced(whole, watched, backbone.name)
    ends = [calls[f"network.{stage}"] for stage in watched[: watched.index(backbone.last) + 1]]
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        output.replace_input_with(output.args[0], graph.call_module(pools.PLACE, (ends,)))
    graph.eliminate_dead_code(_kept)
    return torch.nn.Sequential(zoo.Normalise(backbone.preprocess), _module(whole, graph)).eval()


def _traced(root: torch.nn.Module, stages: Sequence[str], name: str) -> tuple[Any, dict[str, Any]]:
    """The graph of a network, and its calls of modules by their names.

    Args:
        root: with the network as its ``network``.
        stages: that must be calls of their own.
        name: of the network, for people.
    """
    from torch import fx

    wanted = [f"network.{stage}" for stage in stages]

    class Tracer(fx.Tracer):
        """Looks inside a module only where a stage lies within it: whatever the others do in Python stays theirs."""

        def is_leaf_module(self, module: torch.nn.Module, path: str) -> bool:
            return not any(stage.startswith(f"{path}.") for stage in wanted)

    try:
        graph = Tracer().trace(root)
    except Exception as error:  # of any kind: Python code that asks a tensor for its value cannot be traced
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{name} cannot be cut: {why}", next="--cut none, or another --backbone") from error
    return graph, {str(node.target): node for node in graph.nodes if node.op == "call_module"}


def _graph(
    last: torch.nn.Module, watched: Sequence[str], cut: str | None, name: str
) -> tuple[torch.nn.Module, torch.nn.Module, tuple[str, ...]]:
    """(prefix or an identity, suffix, stages that it pools) of a traced network."""
    import torch

    stages = (*watched, *([cut] if cut else ()))

    def traced() -> tuple[Any, dict[str, Any]]:
        return _traced(last, stages, name)

    before: torch.nn.Module = torch.nn.Identity()
    if cut is not None:
        graph, calls = traced()
        end = calls[f"network.{cut}"]
        output = next(node for node in graph.nodes if node.op == "output")
        output.replace_input_with(output.args[0], end)
        graph.eliminate_dead_code(_kept)
        before = _module(last, graph)

    graph, calls = traced()
    if inside := [stage for stage in watched if f"network.{stage}" not in calls]:
        raise ModelError(f"{name}: {cut} lies within the stage {inside[0]}", next=f"--cut {inside[0]}")
    output = next(node for node in graph.nodes if node.op == "output")
    order = {node: at for at, node in enumerate(graph.nodes)}
    start = calls[f"network.{cut}"] if cut is not None else None
    kept = tuple(stage for stage in watched if start is None or order[calls[f"network.{stage}"]] >= order[start])
    ends = [calls[f"network.{stage}"] for stage in kept]
    with graph.inserting_before(output):
        output.replace_input_with(output.args[0], graph.call_module(pools.PLACE, ([*ends, output.args[0]],)))
    if start is not None:
        (entrance,) = (node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_after(entrance):
            features = graph.placeholder("features")
        start.replace_all_uses_with(features)
        graph.eliminate_dead_code(_kept)
        if entrance.users:
            raise ModelError(
                f"{name} cannot be cut after {cut}: what follows needs more than its output", next="--cut none"
            )
        graph.erase_node(entrance)
    return before, _module(last, graph), kept


def _kept(node: Any) -> bool:
    """What stays in a graph although nobody reads it: a stage behind the cut computes for nobody."""
    return node.op in ("placeholder", "output")


def _module(root: torch.nn.Module, graph: Any) -> torch.nn.Module:
    """The part of a network that a graph uses, under the network's own names."""
    from torch import fx

    graph.lint()
    module: Any = fx.GraphModule(root, graph)
    module.delete_all_unused_submodules()
    return module.eval()  # type: ignore[no-any-return]


def tensors(suffix: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """The suffix's weights by the backbone's own names."""
    return {
        name.removeprefix("network."): value.detach().cpu().contiguous().numpy().copy()
        for name, value in suffix.state_dict().items()
    }


def merged(backbone: Backbone, trained: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights of the whole network after its suffix was trained: types stay those of the backbone."""
    return {
        name: np.asarray(trained[name], value.dtype) if name in trained else value
        for name, value in backbone.weights.items()
    }
