"""A bundle in the language of another runtime: everything after decoding in one graph, with the pictures that prove it.

``whole`` puts the graph together, one file a target writes and runs it, ``folder`` seals it, ``replay`` asks it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from visum.errors import BundleError
from visum.ship.export import jax, litert, onnx, openvino, tensorflow, tensorrt, torch
from visum.ship.export.whole import Network
from visum.types import Bundle, Floats, Pixels

EXPORTERS: dict[str, Callable[[Bundle, Mapping[str, Any], Network], dict[str, bytes]]] = {
    "onnx": onnx.export,
    "openvino": openvino.export,
    "torch": torch.export,
    "tensorflow": tensorflow.export,
    "litert": litert.export,
    "jax": jax.export,
    "tensorrt": tensorrt.export,
}
"""Target → ``(bundle, facts, network) -> {file name: bytes}``: ``facts`` are kept in the graph where there is room for them, and
``network`` makes the ONNX graph of a backbone in the wanted precision."""

RUNNERS: dict[str, Callable[[Mapping[str, bytes]], Callable[[Pixels], Floats]]] = {
    "onnx": onnx.load,
    "openvino": openvino.load,
    "torch": torch.load,
    "tensorflow": tensorflow.load,
    "litert": litert.load,
    "jax": jax.load,
    "tensorrt": tensorrt.load,
}
"""Target → ``files -> (uint8 [N, H, W, 3] -> probabilities float32 [N, K])`` on this machine."""

NEEDS = {"tensorflow": ("tensorflow",), "litert": ("tensorflow", "ai_edge_litert")}
"""Target → packages that exporting to it needs besides those of visum."""


def check(target: str) -> None:
    """Whether a target can be made and proven here.

    Raises:
        BundleError: what is missing.
    """
    if target == tensorrt.TARGET:
        tensorrt.check()
    if missing := [name for name in NEEDS.get(target, ()) if find_spec(name) is None]:
        raise BundleError(f"--to {target} needs {' and '.join(missing)}", next=f'pip install "visum[{target}]"')


def proving(target: str, files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """What runs an export that was just made: its own runtime, or for ``jax``, where JAX is not installed, ONNX Runtime."""
    stands_in = target == jax.TARGET and find_spec("jax") is None
    return jax.stand_in(files) if stands_in else RUNNERS[target](files)
