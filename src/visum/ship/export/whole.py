"""A bundle as one graph that holds everything after decoding: uint8 pixels of any size in, calibrated probabilities out.

pixels uint8 [N, H, W, 3] → resize, pad or crop → normalisation, network → head → temperature → probabilities
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.models import compiled, heads
from visum.models import ensemble as joining
from visum.models.weights import Backbone, of_bundle
from visum.ship.export import classify
from visum.ship.export.graph import Graph
from visum.ship.export.resize import fitted
from visum.ship.export.simplify import simplified
from visum.types import Bundle, Preprocess

PIXELS, PROBABILITIES = "pixels", "probabilities"
LARGEST = 2_000_000_000
"""Bytes of a graph: protobuf holds no more, and weights in files beside it are refused wherever it arrives."""

Network = Callable[[Backbone, Preprocess], Any]
"""A backbone as onnx ``ModelProto``: uint8 ``[B, S, S, 3]`` → float32 ``[B, D]``."""


def network(backbone: Backbone, preprocess: Preprocess) -> Any:
    """The graph that ``models.compiled`` keeps in the cache, simplified; made by a child process where it is not there yet."""
    return _network(compiled.graph(backbone, preprocess))


@lru_cache(maxsize=2)
def _network(path: Path) -> Any:
    import onnx

    return simplified(onnx.load_model_from_string(path.read_bytes()))


def check(bundle: Bundle) -> None:
    """A bundle that can become a graph.

    Raises:
        BundleError: it has no network, or a head that only visum knows.
    """
    for part in joining.members_of(bundle) or (bundle,):
        kind = part.architecture.get("kind")
        head = str(part.architecture.get("classifier", heads.LINEAR))
        if kind == "probe" and head in classify.HEADS:
            continue
        whose = "a member of this ensemble" if bundle.architecture.get("kind") == joining.KIND else "this bundle"
        what = f"{part.architecture.get('descriptor', 'embedding' if kind == 'probe' else kind)}+{head}"
        raise BundleError(
            f"{whose} is {what}, which is no network from pixels to probabilities",
            allowed="networks with a linear or a cosine head, and ensembles of them",
            next="visum predict BUNDLE FILES, or train with --ladder embedding+probe",
        )


def model(bundle: Bundle, facts: Mapping[str, Any], make: Network = network) -> Any:
    """The whole graph as onnx ``ModelProto``.

    Args:
        bundle: a probe, or an ensemble of probes.
        facts: JSON-like, kept inside the graph under ``visum``.
        make: the network's graph; another one for another precision.

    Raises:
        BundleError: as ``check``, or more than protobuf can hold.
        ModelError: the network cannot be made a graph.
    """
    check(bundle)
    g = Graph()

    def embed(part: Bundle, squares: str, number: int) -> str:
        return g.absorb(make(of_bundle(part), part.preprocess), f"network{number}/", squares)

    g.rename(answers(g, bundle, PIXELS, embed), PROBABILITIES)
    ends = (
        {PIXELS: (np.uint8, ["images", "height", "width", 3])},
        {PROBABILITIES: (np.float32, ["images", len(bundle.classes)])},
    )
    made = g.model(*ends, {"visum": json.dumps(facts, ensure_ascii=False)})
    if made.ByteSize() > LARGEST:
        raise BundleError(f"a graph of {made.ByteSize() / 1e9:.1f} GB", allowed="2 GB", next="a smaller --backbone")
    return made


def answers(g: Any, bundle: Bundle, pixels: Any, embed: Callable[[Bundle, Any, int], Any]) -> Any:
    """Everything from pixels to probabilities.

    Args:
        g: a ``Graph``, or an ``eager.Eager``; what is passed around are names with the one and tensors with the other.
        bundle: a probe, or an ensemble of probes.
        pixels: uint8 ``[N, H, W, 3]``.
        embed: (plain bundle, fitted squares uint8 ``[N, S, S, 3]``, number of its network) → embeddings float32 ``[N, D]``; asked
            once for members that share a network and its way of seeing.

    Returns:
        float32 ``[N, K]``.
    """
    seen, squares = dict[Any, Any](), dict[Any, Any]()

    def told(part: Bundle) -> Any:
        spec = part.preprocess
        fitting = (spec.size, spec.fit, spec.filter, spec.background)
        if fitting not in squares:
            squares[fitting] = fitted(g, pixels, spec)
        key = (compiled.graph_path(of_bundle(part), spec), fitting)
        if key not in seen:
            seen[key] = embed(part, squares[fitting], len(seen))
        return _head(g, part, seen[key])

    members = joining.members_of(bundle)
    z = classify.combined(g, bundle, members, [told(each) for each in members]) if members else told(bundle)
    return classify.probabilities(g, z, bundle.task, bundle.temperature)


def _head(g: Graph, part: Bundle, features: str) -> str:
    name = str(part.architecture.get("classifier", heads.LINEAR))
    start = "head." if name == heads.LINEAR else "classifier."
    arrays = {key: np.asarray(part.weights[start + key], np.float32) for key in heads.SHAPES[name]}
    if part.architecture.get("columns") == "last":
        features = g.add("Slice", features, np.array([-len(arrays["weight"])]), np.array([2**31 - 1]), np.array([1]))
    return classify.logits(g, features, name, arrays)
