"""Every runtime sees the square that ``fit`` makes: real photos of all shapes, all ways of fitting, both filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.data.pixels import fit
from visum.ship.export.eager import Eager
from visum.ship.export.graph import Graph
from visum.ship.export.resize import fitted
from visum.types import Pixels, Preprocess

Photos = dict[str, NDArray[np.uint8]]
SIZES = (
    *((300, 451), (96, 96), (96, 200), (40, 30), (30, 97), (200, 50), (50, 200), (1, 7), (300, 1), (97, 95)),
    *((192, 288), (299, 300), (140, 95), (147, 192), (101, 87), (1, 1), (95, 300), (288, 192), (97, 300)),
)


def onnxruntime(spec: Preprocess) -> Callable[[Pixels], Pixels]:
    import onnxruntime as ort

    session = ort.InferenceSession(written(spec), providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run(None, {"pixels": batch})[0])


def openvino(spec: Preprocess) -> Callable[[Pixels], Pixels]:
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(core.read_model(written(spec)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: np.array(model(batch)[0])


def pytorch(spec: Preprocess) -> Callable[[Pixels], Pixels]:
    import torch

    from visum.ship.export.torch import operators

    g: Any = Eager(operators(), torch.from_numpy)
    return lambda batch: np.asarray(fitted(g, torch.from_numpy(np.array(batch)), spec))


RUNTIMES: dict[str, Callable[[Preprocess], Callable[[Pixels], Pixels]]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "torch": pytorch,
}
"""Runtime → the resizing alone."""


def written(spec: Preprocess) -> bytes:
    g = Graph()
    out = fitted(g, "pixels", spec)
    ends: Any = {"pixels": (np.uint8, ["n", "h", "w", 3])}, {out: (np.uint8, ["n", spec.size, spec.size, 3])}
    return bytes(g.model(*ends, {}).SerializeToString())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize("way", ["pad", "crop", "squash"])
def test_every_shape_becomes_the_square_of_fit(way: Any, kernel: Any, runtime: str, photos: Photos) -> None:
    spec = Preprocess(size=96, fit=way, filter=kernel, background=(1, 2, 250))
    run = RUNTIMES[runtime](spec)
    off = total = 0
    for height, width in SIZES if runtime == "onnxruntime" else SIZES[::3]:
        picture = np.ascontiguousarray(photos["chelsea"][:height, :width])
        wanted, got = fit(picture, spec).astype(int), run(picture[None])[0].astype(int)
        assert np.abs(wanted - got).max() <= 1, (height, width)
        off, total = off + int((wanted != got).sum()), total + wanted.size
    assert off / total < 5e-5  # samples within an error of float32 of a half


def test_pictures_of_a_batch_do_not_see_each_other(photos: Photos) -> None:
    spec = Preprocess(size=64)
    batch = np.stack([photo[:200, :300] for photo in photos.values()])
    together, alone = onnxruntime(spec)(batch), [onnxruntime(spec)(picture[None])[0] for picture in batch]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("size", [1, 2, 31, 224])
def test_other_sides(size: int, photos: Photos) -> None:
    spec = Preprocess(size=size)
    picture = photos["coffee"]
    assert np.abs(onnxruntime(spec)(picture[None])[0].astype(int) - fit(picture, spec)).max() <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("height", "width", "size"), [(640, 490, 224), (5, 10, 1), (30, 640, 224), (400, 300, 2), (9, 4, 2)]
)
def test_a_side_that_ends_on_a_half_is_rounded_to_even(runtime: str, height: int, width: int, size: int) -> None:
    """As Python rounds; 490 · 224 / 640 = 171.5."""
    spec = Preprocess(size=size, background=(0, 0, 255))
    white = np.full((height, width, 3), 255, np.uint8)
    np.testing.assert_array_equal(RUNTIMES[runtime](spec)(white[None])[0], fit(white, spec))


def test_halves_go_up_as_in_the_store() -> None:
    """Means of two neighbours that differ by one lie on a half."""
    spec = Preprocess(size=8, fit="squash", filter="bilinear")
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, 1::2] = np.arange(1, 9)[None, :, None] * 2 - 1
    np.testing.assert_array_equal(onnxruntime(spec)(stripes[None])[0], fit(stripes, spec))
