"""Graphs without arithmetic about shapes: the same numbers, and where that fails, the same graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exported import model, network

from visum.models.weights import of_bundle
from visum.ship.export.graph import Graph
from visum.ship.export.simplify import simplified
from visum.types import Floats, Pixels


def run(made: Any, batch: Pixels) -> Floats:
    import onnxruntime as ort

    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"pixels": batch})[0])


def padded(*, value: float = 0.0, own: list[int] | None = None, mode: str = "constant", shared: bool = False) -> Any:
    """A convolution behind a padding whose amounts are computed from the shape of its input, one line above and two below."""
    g, rng = Graph(), np.random.default_rng(0)
    x = g.cast(g.add("Transpose", "pixels", perm=[0, 3, 1, 2]), np.float32)
    height = g.add("Gather", g.add("Shape", x), 2, axis=0)
    one = g.add("Unsqueeze", g.add("Sub", g.add("Div", height, 8), 1), np.array([0]))
    zeros = np.zeros(2, np.int64)
    amounts = g.add("Concat", zeros, one, one, zeros, g.add("Mul", one, 2), one, axis=0)
    x = g.add("Pad", x, amounts, value, mode=mode)
    y = g.add("Conv", x, rng.normal(size=(4, 3, 3, 3)).astype(np.float32), **({"pads": own} if own else {}))
    y = g.add("GlobalAveragePool", g.add("Mul", y, y))
    if shared:
        y = g.add("Add", y, g.add("ReduceMean", x, axes=[1, 2, 3], keepdims=1))
    g.rename(g.add("Flatten", y), "embedding")
    ends: Any = {"pixels": (np.uint8, ["images", 16, 16, 3])}, {"embedding": (np.float32, ["images", 4])}
    return g.model(*ends, {})


def kinds(made: Any) -> list[str]:
    return [node.op_type for node in made.graph.node]


def noise(side: int, count: int = 4) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("own", [None, [1, 0, 2, 0]])
def test_padding_becomes_the_convolutions_own(own: list[int] | None) -> None:
    before = padded(own=own)
    after = simplified(before)
    assert not {"Pad", "Shape", "Gather", "Concat"} & set(kinds(after))
    (conv,) = (node for node in after.graph.node if node.op_type == "Conv")
    (pads,) = (list(each.ints) for each in conv.attribute if each.name == "pads")
    assert pads == [a + b for a, b in zip(own or [0] * 4, [1, 1, 2, 1], strict=True)]
    np.testing.assert_allclose(run(after, noise(16)), run(before, noise(16)), rtol=1e-5)


@pytest.mark.parametrize("how", [{"value": 3.0}, {"mode": "reflect"}, {"shared": True}])
def test_padding_that_is_something_else_stays(how: dict[str, Any]) -> None:
    before = padded(**how)
    after = simplified(before)
    assert "Pad" in kinds(after)
    assert "Shape" not in kinds(after)
    np.testing.assert_allclose(run(after, noise(16)), run(before, noise(16)), rtol=1e-5)


def test_any_number_of_pictures_still_goes_in() -> None:
    bundle = model()
    before = network(of_bundle(bundle), bundle.preprocess)
    after = simplified(before)
    assert after.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "images"
    assert [(each.domain, each.version) for each in after.opset_import] == [("", 17)]
    for count in (1, 5):
        np.testing.assert_allclose(run(after, noise(32, count)), run(before, noise(32, count)), rtol=1e-5, atol=1e-5)


def test_a_graph_that_counts_its_pictures_stays_as_it_was() -> None:
    """Folded for one picture, it would say 1 whatever comes in."""
    g = Graph()
    count = g.cast(g.add("Gather", g.add("Shape", "pixels"), 0, axis=0), np.float32)
    mean = g.add("ReduceMean", g.cast("pixels", np.float32), axes=[1, 2], keepdims=0)
    g.rename(g.add("Mul", mean, count), "embedding")
    ends: Any = {"pixels": (np.uint8, ["images", 8, 8, 3])}, {"embedding": (np.float32, ["images", 3])}
    before = g.model(*ends, {})
    assert simplified(before) is before


def test_what_cannot_be_folded_stays_as_it_was() -> None:
    import onnx

    broken = onnx.ModelProto()
    broken.CopyFrom(padded())
    broken.graph.node[0].op_type = "Frobnicate"
    assert simplified(broken) is broken
