"""The engine of a server: pictures come one at a time or a few at once, and it has to be up within a second.

``compiled.openvino`` is made for many pictures: its batch is fixed, so that a single picture would cost as much as eight. Here
one graph takes 1 to ``MOST`` pictures at the price of those that are there, and OpenVINO keeps what it compiled in the cache.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np

from visum import storage
from visum.models import compiled
from visum.models.compiled import Engine
from visum.models.weights import Backbone
from visum.runtime import threads
from visum.types import Floats, Pixels, Preprocess

SIZES = (1, 2, 4)
"""Batches that are run. Each one that a stream has met costs it memory for good; on the processors that this was measured on
four pictures together are as quick as eight."""

MOST = max(SIZES)


def engine(backbone: Backbone, preprocess: Preprocess, name: str = "auto") -> Engine:
    """As ``compiled.engine``, for at most ``MOST`` pictures a call."""
    if compiled.resolve(name) == "openvino":
        return openvino(backbone, preprocess)
    return compiled.engine(backbone, preprocess, name)  # the others take any batch as it comes


def openvino(backbone: Backbone, preprocess: Preprocess) -> Engine:
    """OpenVINO with a batch of 1 to ``MOST``: one stream per core, bfloat16 where the CPU computes in it."""
    from openvino import Core, Dimension

    network = Core().read_model(compiled.graph(backbone, preprocess))
    network.reshape([Dimension(1, MOST), preprocess.size, preprocess.size, 3])
    program, precision = compiled.loaded(network, CACHE_DIR=str(storage.cache_folder() / "openvino"))
    idle: SimpleQueue[tuple[Any, Pixels]] = SimpleQueue()
    square = (preprocess.size, preprocess.size, 3)
    for _ in range(threads()):
        idle.put((program.create_infer_request(), np.zeros((MOST, *square), np.uint8)))

    def run(batch: Pixels) -> Floats:
        request, pixels = place = idle.get()
        try:
            count = len(batch)
            pixels[:count] = batch
            answer = request.infer({0: pixels[:count]}, share_inputs=True, share_outputs=True)
            return np.array(answer[0], np.float32)
        finally:
            idle.put(place)

    for count in SIZES:  # each stream meets each size once, one after the other: the first time is slow
        for _ in range(threads()):
            run(np.zeros((count, *square), np.uint8))
    return Engine("openvino", precision, run)
