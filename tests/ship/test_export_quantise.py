"""Smaller weights: what is rounded, and that the answers stay near."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exported import cosine, model, network, wanted
from numpy.typing import NDArray

from visum.data.pixels import fit_batch
from visum.models.weights import of_bundle
from visum.ship.export import RUNNERS, quantise, whole
from visum.ship.export.graph import Graph
from visum.types import Bundle, Floats, Pixels

Photos = dict[str, NDArray[np.uint8]]


def run(made: Any, batch: Pixels) -> Floats:
    import onnxruntime as ort

    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"pixels": batch})[0])


def pieces(photos: Photos) -> list[Pixels]:
    return [
        np.ascontiguousarray(p[y : y + 64, x : x + 64])
        for p in photos.values()
        for y in (0, 90, 180)
        for x in (0, 90, 200)
    ]


def squares(photos: Photos, bundle: Bundle) -> Pixels:
    return fit_batch(pieces(photos), bundle.preprocess)


def plain(bundle: Bundle) -> Any:
    return network(of_bundle(bundle), bundle.preprocess)


def kinds(made: Any) -> list[str]:
    return [node.op_type for node in made.graph.node]


def test_integers_answer_nearly_as_numbers_do(photos: Photos) -> None:
    bundle = model()
    batch = squares(photos, bundle)
    made = quantise.int8(plain(bundle), [batch[:14], batch[14:]])
    first, second = run(plain(bundle), batch), run(made, batch)
    assert 1e-4 < np.abs(first - second).max() / np.abs(first).max() < 0.03
    weights = [t for t in made.graph.initializer if list(t.dims) == [3, 3, 3, 3]]
    assert [t.data_type for t in weights] == [3]  # int8, and the others are gone
    assert kinds(made).count("QuantizeLinear") == 2  # what goes into the convolution, and what comes out behind ReLU


def test_the_whole_graph_in_integers(photos: Photos) -> None:
    import onnx

    bundle = cosine()
    batch = squares(photos, bundle)
    data = whole.model(bundle, {}, lambda *_: quantise.int8(plain(bundle), [batch])).SerializeToString()
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    seen = pieces(photos)
    got = RUNNERS["onnx"]({"model.onnx": data})(np.stack(seen))
    np.testing.assert_allclose(got, wanted(bundle, seen), rtol=0, atol=0.02)


def test_a_dead_output_keeps_its_bias(photos: Photos) -> None:
    """A channel whose weights are all but zero: the unit of its products would be too fine for a bias of 6."""
    g, rng = Graph(), np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    kernel[2] = 1e-12
    x = g.cast(g.add("Transpose", "pixels", perm=[0, 3, 1, 2]), np.float32)
    x = g.add("Conv", g.add("Div", x, 255.0), kernel, np.array([0, 1, 6, -2], np.float32))
    g.rename(g.add("Flatten", g.add("GlobalAveragePool", x)), "embedding")
    ends: Any = {"pixels": (np.uint8, ["n", 32, 32, 3])}, {"embedding": (np.float32, ["n", 4])}
    made, batch = g.model(*ends, {}), squares(photos, model())
    np.testing.assert_allclose(run(quantise.int8(made, [batch]), batch)[:, 2], 6, rtol=0, atol=0.05)


def test_a_convolution_without_a_bias_gets_one_for_its_mean_error(photos: Photos) -> None:
    bundle = model()
    batch = squares(photos, bundle)
    made = quantise.int8(plain(bundle), [batch])
    (conv,) = (node for node in made.graph.node if node.op_type == "Conv")
    assert len(conv.input) == 3


def normalised(biased: bool) -> Any:
    """As ``zoo.Normalise`` writes it, each channel with a mean and a spread of its own, and a convolution that pads."""
    g, rng = Graph(), np.random.default_rng(0)
    x = g.cast(g.add("Transpose", "pixels", perm=[0, 3, 1, 2]), np.float32)
    mean = np.array([123.7, 116.3, 103.5], np.float32).reshape(1, 3, 1, 1)
    scale = np.array([1 / 58.4, 1 / 57.1, 1 / 57.4], np.float32).reshape(1, 3, 1, 1)
    x = g.add("Mul", g.add("Sub", x, mean), scale)
    more = [np.arange(4).astype(np.float32)] if biased else []
    x = g.add("Conv", x, rng.normal(size=(4, 3, 3, 3)).astype(np.float32), *more, pads=[1, 1, 1, 1])
    g.rename(g.add("Flatten", x), "embedding")
    ends: Any = {"pixels": (np.uint8, ["n", 32, 32, 3])}, {"embedding": (np.float32, ["n", 4 * 32 * 32])}
    return g.model(*ends, {})


@pytest.mark.parametrize("biased", [True, False])
def test_the_first_convolution_takes_pixels_as_they_are(biased: bool, photos: Photos) -> None:
    made, batch = normalised(biased), squares(photos, model())
    import onnx

    other = onnx.ModelProto()
    other.CopyFrom(made)
    quantise._raw(other.graph)
    first, second = (run(each, batch).reshape(-1, 4, 32, 32) for each in (made, other))
    inner = np.s_[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(second[inner], first[inner], rtol=0, atol=1e-4)
    assert np.abs(second - first).max() < 3  # the border sees another padding, by up to 11 of 255 a channel
    seen = quantise.watched(other, [next(n.input[0] for n in other.graph.node if n.op_type == "Conv")], [batch])
    (only,) = seen.values()
    assert only.low == int(only.low) >= -114
    assert only.high == int(only.high) <= 141


def test_the_mean_embedding_stays(photos: Photos) -> None:
    bundle = model()
    batch = squares(photos, bundle)
    first, second = run(plain(bundle), batch), run(quantise.int8(plain(bundle), [batch]), batch)
    np.testing.assert_allclose(second.mean(0), first.mean(0), rtol=1e-4, atol=1e-5)


def test_rounding_keeps_the_mean() -> None:
    """Of filters that cancel, the sum of errors is what the nearest whole numbers leave, divided by about as many weights."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 9))
    values -= values.mean(1, keepdims=True)
    values *= 127 / np.abs(values).max(1, keepdims=True)
    expected = np.ones_like(values)
    rounded, left = quantise.kept_mean(values, expected)
    np.testing.assert_allclose(left, (rounded - values).sum(1), rtol=0, atol=1e-9)
    assert np.abs(left).max() <= 0.5
    assert np.abs(np.rint(values).sum(1)).mean() > 3 * np.abs(left).mean()
    assert np.abs(rounded - values).max() < 1
    whole_numbers = np.array([[3.0, -127.0, 127.0]])
    assert quantise.kept_mean(whole_numbers, np.ones((1, 3)))[0].tolist() == whole_numbers.tolist()


def test_rounding_stays_within_the_range() -> None:
    values = np.full((1, 4), 126.6)
    rounded, _ = quantise.kept_mean(values, np.array([[-1.0, -1.0, -1.0, -1.0]]))
    assert rounded.max() <= 127


def test_a_matrix_and_a_sum_in_integers(photos: Photos) -> None:
    """Two convolutions that are added up, then a matrix product: what a residual network and a transformer are made of."""
    g, rng = Graph(), np.random.default_rng(1)
    x = g.cast(g.add("Transpose", "pixels", perm=[0, 3, 1, 2]), np.float32)
    x = g.add("Div", x, 255.0)
    a, b = (g.add("Conv", x, rng.normal(size=(8, 3, 3, 3)).astype(np.float32)) for _ in range(2))
    x = g.add("Flatten", g.add("GlobalAveragePool", g.add("Relu", g.add("Add", a, b))))
    g.rename(g.add("MatMul", x, rng.normal(size=(8, 5)).astype(np.float32)), "embedding")
    ends: Any = {"pixels": (np.uint8, ["n", 32, 32, 3])}, {"embedding": (np.float32, ["n", 5])}
    made, batch = g.model(*ends, {}), squares(photos, model())
    small = quantise.int8(made, [batch])
    assert kinds(small).count("QuantizeLinear") == 5  # pixels, two maps, their sum, what goes into the matrix
    first, second = run(made, batch), run(small, batch)
    assert np.abs(first - second).max() / np.abs(first).max() < 0.03


def test_bfloat16_halves_the_weights_and_nothing_else(photos: Photos) -> None:
    import torch

    bundle = model()
    batch = squares(photos, bundle)
    made = quantise.bfloat16(plain(bundle))
    first, second = run(plain(bundle), batch), run(made, batch)
    assert 0 < np.abs(first - second).max() / np.abs(first).max() < 0.01
    (kernel,) = (t for t in made.graph.initializer if list(t.dims) == [3, 3, 3, 3])
    assert len(kernel.raw_data) == 2 * 81
    reference = torch.from_numpy(bundle.weights["backbone.conv"]).to(torch.bfloat16).view(torch.int16).numpy()
    assert kernel.raw_data == reference.tobytes()


def test_the_model_itself_is_not_changed(photos: Photos) -> None:
    bundle = model()
    before = plain(bundle)
    data = before.SerializeToString(deterministic=True)
    quantise.int8(before, [squares(photos, bundle)])
    quantise.bfloat16(before)
    assert before.SerializeToString(deterministic=True) == data


@pytest.mark.parametrize(
    ("low", "high", "step", "zero"), [(0, 6, 6 / 255, 0), (-1, 1, 2 / 255, 128), (-2, 0, 2 / 255, 255)]
)
def test_zero_is_exact(low: float, high: float, step: float, zero: int) -> None:
    assert quantise._scale(low, high) == (pytest.approx(step), zero)
