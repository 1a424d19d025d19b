"""A backbone as a compiled graph, and the engines that run it: OpenVINO, ONNX Runtime, PyTorch behind one interface.

An engine maps a uint8 batch ``[B, S, S, 3]`` to float32 embeddings ``[B, D]`` on one core; normalisation is in the graph. Who
has many batches calls it from ``threads()`` threads, each of which makes its batch and runs it: a core that decodes what it
computes never waits for another, and none is shared by two. The ONNX graph is exported once per (weights, stages, size) and
kept in the cache, so that later commands need no torch at all.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from visum import storage
from visum.errors import ModelError
from visum.models import aside, pools, sizes
from visum.models.weights import Backbone
from visum.runtime import threads
from visum.storage.files import explained
from visum.types import Floats, Pixels, Preprocess, digest_of

BATCH = 8
"""Pictures per call: the smallest batch at full speed on a CPU, which also keeps activations inside the caches."""

GRAPH_FORMAT = 2
"""Raised whenever the same weights would give another graph, so that old graphs and embeddings are not taken for new ones."""


@dataclass(frozen=True)
class Engine:
    """A compiled backbone.

    Attributes:
        name, precision: e.g. openvino, bfloat16.
        run: at most ``BATCH`` pictures → their embeddings, on one core; several threads may call it at once.
    """

    name: str
    precision: str
    run: Callable[[Pixels], Floats]


def graph_path(backbone: Backbone, preprocess: Preprocess) -> Path:
    """Where the cache keeps the ONNX file of a backbone at one size."""
    spec = [preprocess.size, preprocess.mean, preprocess.std, preprocess.channels]
    key = digest_of([GRAPH_FORMAT, [backbone.digest, backbone.name, backbone.stages, *ends(backbone)], spec])
    name = backbone.name.replace("/", "_").replace(":", "_")
    return storage.cache_folder() / "graphs" / f"{name}-{preprocess.size}-{key[:24]}.onnx"


def ends(backbone: Backbone) -> list[str]:
    """How a network ends, where that is not as usual: part of everything that is kept of it."""
    if backbone.cut:
        return [backbone.cut]
    found = [f"pool {backbone.pool}"] if backbone.pool != pools.MEAN else []
    return [*found, f"last {backbone.last}"] if backbone.last else found


def graph(backbone: Backbone, preprocess: Preprocess) -> Path:
    """The ONNX file of a backbone at one size, exported on the first call and kept in the cache.

    Raises:
        ModelError: the network cannot be built or exported at this size.
        StorageError: no space for the weights on their way to the child, or for the graph in the cache.
    """
    path = graph_path(backbone, preprocess)
    if not path.is_file():
        from safetensors.numpy import save_file

        with tempfile.TemporaryDirectory() as folder:
            waiting = str(Path(folder) / "weights.safetensors")
            with explained(Path(waiting), "TMPDIR"):
                save_file({name: np.asarray(value, order="C") for name, value in backbone.weights.items()}, waiting)
            kept = backbone.name, backbone.stages, backbone.digest
            ends = {"cut": backbone.cut, "pool": backbone.pool, "last": backbone.last}
            order = aside.ordered(*kept, preprocess, waiting, ends)
            aside.run("export", order)
    return path


def write_graph(backbone: Backbone, preprocess: Preprocess) -> None:
    """Export here and now, which loads torch; ``graph`` has a child process do it."""
    storage.write_atomic(graph_path(backbone, preprocess), exported(backbone, preprocess))


def exported(backbone: Backbone, preprocess: Preprocess) -> bytes:
    """The ONNX graph: uint8 ``[B, S, S, 3]`` → float32 ``[B, D]`` for any B, normalisation inside.

    Raises:
        ModelError: torch's exporter cannot trace this network at this size.
    """
    import logging
    import warnings
    from unittest.mock import patch

    import torch

    trunk = _module(backbone, preprocess)
    example = torch.zeros(2, preprocess.size, preprocess.size, 3, dtype=torch.uint8)
    axes = {"pixels": {0: "images"}, "embedding": {0: "images"}}
    names: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["embedding"], "opset_version": 17}
    fused, pool = torch.backends.mha.get_fastpath_enabled(), torch.nn.functional.adaptive_avg_pool2d
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        torch.no_grad(),
        # the exporter prints the whole graph to standard output when it fails, whatever its verbosity
        patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True),
        patch.object(torch.nn.functional, "adaptive_avg_pool2d", partial(cell_means, pool)),
    ):
        path = Path(folder) / "graph.onnx"
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operator that ONNX has no name for
        try:  # the tracing exporter takes a fifth of the time of the newer one
            torch.onnx.export(trunk, (example,), path, dynamo=False, dynamic_axes=axes, **names)
        except Exception as error:  # exporters raise every kind of error
            sizes.check(backbone.name, preprocess.size)
            raise _refusal(f"{backbone.name} cannot be exported as a graph at {preprocess.size} px", error) from error
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return path.read_bytes()


def cell_means(pool: Callable[..., Any], x: Any, output_size: Any) -> Any:
    """PyTorch's ``adaptive_avg_pool2d``, as a product with two matrices where ONNX lacks it: if m does not divide the input.

    Cell i of m over n pixels is the mean of pixels floor(i n / m) to ceil((i + 1) n / m).

    Args:
        pool: the function itself, for everything else.
        x: float ``[B, C, H, W]`` of a known H and W.
        output_size: m, or one m for each axis; None keeps an axis as it is.
    """
    import torch

    asked = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    sides = [(int(n), int(n if m is None else m)) for n, m in zip(x.shape[-2:], asked, strict=True)]
    if all(n % m == 0 for n, m in sides):
        return pool(x, output_size)
    height, width = (_cells(n, m) for n, m in sides)
    return torch.from_numpy(height).to(x) @ x @ torch.from_numpy(width.T.copy()).to(x)


def _cells(pixels: int, cells: int) -> Floats:
    """The matrix ``[cells, pixels]`` that takes the mean over each cell."""
    matrix = np.zeros((cells, pixels), np.float32)
    for cell in range(cells):
        start, stop = cell * pixels // cells, -(-(cell + 1) * pixels // cells)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


def _module(backbone: Backbone, preprocess: Preprocess) -> Any:
    """The PyTorch module of a backbone: the whole network, its prefix, or what is left where it ends early."""
    from visum.models import prefix, zoo

    if backbone.last:
        return prefix.shortened(replace(backbone, preprocess=preprocess))
    if backbone.cut:
        return prefix.split(replace(backbone, preprocess=preprocess), backbone.cut).prefix
    return zoo.trunk(backbone.name, backbone.weights, backbone.stages, preprocess, backbone.pool)


def _refusal(what: str, error: Exception) -> ModelError:
    why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return ModelError(f"{what}: {why}", next="another --size, --engine torch, or another --backbone")


def loaded(network: Any, **further: str) -> tuple[Any, str]:
    """A graph of OpenVINO's ready to run on this processor, and the precision that it computes in.

    One stream per core; bfloat16 where the processor multiplies it.

    Args:
        network: with its shapes settled.
        further: more properties of OpenVINO's.
    """
    from openvino import Core, Type
    from openvino import properties as ov

    core = Core()
    precision = "bfloat16" if "BF16" in core.get_property("CPU", ov.device.capabilities) else "float32"
    properties = {
        ov.hint.inference_precision: Type.bf16 if precision == "bfloat16" else Type.f32,
        ov.num_streams: threads(),
        ov.inference_num_threads: threads(),
        # a pinned stream would wait for the core on which another thread decodes
        ov.hint.enable_cpu_pinning: False,
        **further,
    }
    return core.compile_model(network, "CPU", properties), precision


def openvino(backbone: Backbone, preprocess: Preprocess) -> Engine:
    """OpenVINO: one stream per core, each with a request of its own; bfloat16 where the CPU computes in it."""
    from openvino import Core

    network = Core().read_model(graph(backbone, preprocess))
    network.reshape([BATCH, preprocess.size, preprocess.size, 3])
    compiled, precision = loaded(network)
    idle: SimpleQueue[tuple[Any, Pixels, Floats]] = SimpleQueue()
    for _ in range(threads()):
        request = compiled.create_infer_request()
        # arrays over the request's own memory, made here: OpenVINO may deadlock when threads wrap their first at once
        idle.put((request, request.get_input_tensor().data, request.get_output_tensor().data))

    def run(batch: Pixels) -> Floats:
        request, pixels, vectors = place = idle.get()
        try:
            pixels[: len(batch)] = batch
            request.start_async()
            request.wait()
            return np.array(vectors[: len(batch)], np.float32)
        finally:
            idle.put(place)

    return Engine("openvino", precision, run)


def onnxruntime(backbone: Backbone, preprocess: Preprocess) -> Engine:
    """ONNX Runtime on the CPU in float32: portable, and the reference that the others are held against."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph(backbone, preprocess)), options, providers=["CPUExecutionProvider"])

    def run(batch: Pixels) -> Floats:
        return np.asarray(session.run(None, {"pixels": batch})[0], np.float32)

    return Engine("onnxruntime", "float32", run)


def torch(backbone: Backbone, preprocess: Preprocess) -> Engine:
    """PyTorch eager in float32, channels-last: slow on a CPU, but takes every architecture and needs no export."""
    import torch as pytorch

    network = _module(backbone, preprocess)
    trunk: Any = network.to(memory_format=pytorch.channels_last)
    try:
        with pytorch.inference_mode():
            trunk(pytorch.zeros(1, preprocess.size, preprocess.size, 3, dtype=pytorch.uint8))
    except Exception as error:  # networks refuse sizes in words and errors of their own
        sizes.check(backbone.name, preprocess.size)
        raise _refusal(f"{backbone.name} cannot run at {preprocess.size} px", error) from error

    def run(batch: Pixels) -> Floats:
        pytorch.set_num_threads(1)  # OpenMP asks each thread that calls
        with pytorch.inference_mode():
            return np.asarray(trunk(pytorch.from_numpy(np.ascontiguousarray(batch))).numpy(), np.float32)

    return Engine("torch", "float32", run)


ENGINES: dict[str, Callable[[Backbone, Preprocess], Engine]] = {
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "torch": torch,
}
"""Fastest first, as measured on CPUs (``benchmarks/README.md``); ``auto`` takes the first that is installed."""


def installed() -> tuple[str, ...]:
    """Names of the engines that are on this machine, fastest first."""
    return tuple(name for name in ENGINES if importlib.util.find_spec(name))


def resolve(name: str = "auto") -> str:
    """The engine that a name stands for: itself, or for ``auto`` the fastest that is installed here.

    Raises:
        ModelError: unknown or not installed.
    """
    here = installed()
    chosen = here[0] if name == "auto" and here else name
    if chosen not in here:
        raise ModelError(f"no engine {name!r} here", allowed=f"auto, {', '.join(here)}", next="--engine auto")
    return chosen


def engine(backbone: Backbone, preprocess: Preprocess, name: str = "auto") -> Engine:
    """The engine of that name, ready to run. Raises like ``resolve`` and ``graph``."""
    return ENGINES[resolve(name)](backbone, preprocess)
