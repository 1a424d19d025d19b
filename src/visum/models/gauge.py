"""How fast an engine computes on this machine, told before the network that it shall run is built: by a few layers like its."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from visum.data.load import in_order
from visum.models.compiled import BATCH, loaded, resolve
from visum.runtime import threads

CHANNELS, WIDER, SIDE, BLOCKS = 80, 6, 14, 3
"""Of the layers: inverted residual blocks (Sandler et al. 2018, "MobileNetV2", section 3.3) in the middle of such a network."""
REACHED = {"openvino": 0.65}
"""Share of what the layers reach that whole networks reach, whose first maps are large and have few channels: measured with
EfficientNet-Lite0 in bfloat16."""
OF_A_PRODUCT = 0.5
"""The same of a matrix product of NumPy's, by which the other engines are judged."""
_TURNS, _AT_ONCE = 4, 8


def multiply_adds_per_second(engine: str) -> float:
    """What a whole network is expected to reach on all cores.

    Args:
        engine: of ``compiled.ENGINES``, or auto.
    """
    name = resolve(engine)
    return REACHED[name] * _openvino() if name in REACHED else OF_A_PRODUCT * _product()


def blocks() -> tuple[Any, int]:
    """The layers as a graph of OpenVINO's that takes a batch of maps, and the multiply-adds of that batch."""
    from openvino import Model
    from openvino import opset13 as op

    draw, inner, stay = np.random.default_rng(0), CHANNELS * WIDER, [1, 1]

    def weights(*shape: int) -> Any:
        return op.constant(draw.normal(0, 0.05, shape).astype(np.float32))

    x = y = op.parameter([BATCH, CHANNELS, SIDE, SIDE], np.float32)
    for _ in range(BLOCKS):
        wide = op.convolution(y, weights(inner, CHANNELS, 1, 1), stay, [0, 0], [0, 0], stay)
        each = op.group_convolution(op.clamp(wide, 0, 6), weights(inner, 1, 1, 3, 3), stay, stay, stay, stay)
        narrow = op.convolution(op.clamp(each, 0, 6), weights(CHANNELS, inner, 1, 1), stay, [0, 0], [0, 0], stay)
        y = op.add(y, narrow)
    return Model([y], [x], "gauge"), BATCH * BLOCKS * SIDE**2 * inner * (2 * CHANNELS + 9)


def _openvino() -> float:
    graph, work = blocks()
    program, _ = loaded(graph)
    requests = [program.create_infer_request() for _ in range(_AT_ONCE * threads())]

    def run(request: Any) -> None:
        request.start_async()
        request.wait()

    return work * len(requests) / _best(lambda: list(in_order(run, requests)))


def _product() -> float:
    a = np.ones((1024, 1024), np.float32)
    return 1024**3 / _best(lambda: a @ a)


def _best(work: Any) -> float:
    """Seconds of the fastest of a few turns, behind one that warms up."""
    work()
    seen = []
    for _ in range(_TURNS):
        begin = time.perf_counter()
        work()
        seen.append(time.perf_counter() - begin)
    return min(seen)
