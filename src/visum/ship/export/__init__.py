"""A bundle in the language of another runtime: everything after decoding in one graph, with the pictures that prove it.

``whole`` puts the graph together, one file a target writes and runs it, ``folder`` seals it, ``replay`` asks it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from visum.ship.export import onnx, openvino, torch
from visum.ship.export.whole import Network
from visum.types import Bundle, Floats, Pixels

EXPORTERS: dict[str, Callable[[Bundle, Mapping[str, Any], Network], dict[str, bytes]]] = {
    "onnx": onnx.export,
    "openvino": openvino.export,
    "torch": torch.export,
}
"""Target → ``(bundle, facts, network) -> {file name: bytes}``: ``facts`` are kept in the graph where there is room for them, and
``network`` makes the ONNX graph of a backbone in the wanted precision."""

RUNNERS: dict[str, Callable[[Mapping[str, bytes]], Callable[[Pixels], Floats]]] = {
    "onnx": onnx.load,
    "openvino": openvino.load,
    "torch": torch.load,
}
"""Target → ``files -> (uint8 [N, H, W, 3] -> probabilities float32 [N, K])`` on this machine."""
