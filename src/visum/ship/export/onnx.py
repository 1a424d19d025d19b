"""ONNX: one file for ONNX Runtime and whoever else reads the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from visum.errors import BundleError, UnsafeFile
from visum.ship.export import whole
from visum.types import Bundle, Floats, Pixels

FILE = "model.onnx"
DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Whose operators a graph may use; others would need a library of code beside it."""


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.onnx``. Arguments and errors as of ``whole.model``."""
    return {FILE: whole.model(bundle, facts, make).SerializeToString()}


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The graph in ONNX Runtime on one core.

    Args:
        files: with ``model.onnx``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: no graph that ONNX Runtime can run, or another one's inputs and outputs.
        UnsafeFile: it asks for other files or for other code.
    """
    import onnxruntime as ort

    data = files[FILE]
    check(data)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # of many kinds, none of them public
        raise BundleError(
            f"ONNX Runtime cannot load {FILE}: {first_line(error)}", next="visum export BUNDLE"
        ) from error

    def run(batch: Pixels) -> Floats:
        try:
            return np.asarray(session.run([whole.PROBABILITIES], {whole.PIXELS: batch})[0], np.float32)
        except Exception as error:
            raise BundleError(
                f"ONNX Runtime cannot run {FILE}: {first_line(error)}", next="visum export BUNDLE"
            ) from error

    return run


def check(data: bytes) -> None:
    """Refuse a graph that would open other files, before anything is loaded.

    Raises:
        BundleError: not ONNX.
        UnsafeFile: weights in another file, whatever its path, or operators that are not ONNX's own.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise BundleError(f"{FILE} is not an ONNX graph: {first_line(error)}", next="visum export BUNDLE") from error
    strange = {entry.domain for entry in model.opset_import} - set(DOMAINS)
    for graph in _graphs(model):
        strange |= {node.domain for node in graph.node} - set(DOMAINS)
        for tensor in _tensors(graph):
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
                raise UnsafeFile(
                    f"{FILE} asks for weights in another file ({ascii(where)[:80]}), which is not opened",
                    allowed="a graph with its weights inside",
                    next="visum export BUNDLE",
                )
    if strange:
        raise UnsafeFile(f"{FILE} needs operators of {ascii(sorted(strange))[:80]}", allowed="ONNX's own operators")


def first_line(error: BaseException) -> str:
    """An error's first words on one line, without addresses of files."""
    return " ".join((str(error) or type(error).__name__).split())[:200]


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, its functions and every graph within a node."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of one graph, those in attributes and the halves of sparse ones included."""
    sparse = list(getattr(graph, "sparse_initializer", ()))
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        for attribute in node.attribute:
            yield from [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            sparse += [
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ]
    for each in sparse:
        yield from (each.values, each.indices)
