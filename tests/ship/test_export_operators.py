"""Each operator beside ONNX Runtime, in every framework that is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.errors import ModelError
from visum.ship.export import jax, program, tensorflow
from visum.ship.export.operators import NUMPY, OPERATORS

Array = NDArray[Any]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


X, MAPS = noise(2, 3, 4), noise(2, 4, 7, 9)
POSITIVE, POSITIVE2 = np.abs(X) + 0.5, np.abs(noise(2, 3, 4, seed=1)) + 0.5
FLAGS, FLAGS2 = X > 0, noise(2, 3, 4, seed=1) > 0
POOL: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
ONE = (
    "Abs Ceil Erf Exp Floor HardSigmoid HardSwish Identity LogSoftmax Neg Relu Round Sigmoid Sign Softmax Softplus Tanh "
    "LeakyRelu Elu Reciprocal ReduceMax Flatten Transpose Shape"
)
TWO = "Add Sub Mul Div Max Min Equal Greater GreaterOrEqual Less LessOrEqual"
CASES: list[tuple[str, list[Array], dict[str, Any]]] = [
    *((name, [X], {}) for name in ONE.split()),
    *((name, [X, X[:, :1]], {}) for name in TWO.split()),
    *((name, [POSITIVE], {}) for name in ("Log", "Sqrt")),
    *((name, [FLAGS, FLAGS2], {}) for name in ("And", "Or")),
    ("Not", [FLAGS], {}),
    ("Round", [np.array([0.5, 1.5, 2.5, -0.5, 254.5], np.float32)], {}),
    ("Div", [ints(7, 8, 9), ints(2, 4, 10)], {}),
    ("Pow", [POSITIVE, np.array(2.5, np.float32)], {}),
    ("ArgMax", [X], {"axis": 1, "keepdims": 1}),
    ("ArgMax", [X], {"axis": -1, "keepdims": 0}),
    ("AveragePool", [MAPS], POOL),
    ("AveragePool", [MAPS], {**POOL, "count_include_pad": 1}),
    ("AveragePool", [MAPS], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [MAPS], {"kernel_shape": [7, 3]}),
    ("MaxPool", [MAPS], POOL),
    ("MaxPool", [MAPS], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("GlobalAveragePool", [MAPS], {}),
    ("BatchNormalization", [MAPS, *(np.abs(noise(4, seed=s)) + 0.1 for s in range(4))], {"epsilon": 1e-3}),
    ("Cast", [X], {"to": 7}),
    ("Cast", [np.abs(X) * 50], {"to": 2}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.25)], {}),
    ("Concat", [X, X[:, :1]], {"axis": 1}),
    ("ConstantOfShape", [ints(2, 3)], {}),
    ("Conv", [MAPS, noise(5, 4, 3, 2), noise(5)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [MAPS, noise(8, 1, 3, 3)], {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("Conv", [MAPS, noise(4, 1, 3, 2), noise(4)], {"group": 4, "pads": [2, 0, 1, 1], "dilations": [2, 3]}),
    ("Conv", [MAPS, noise(6, 2, 3, 3)], {"group": 2, "dilations": [2, 3]}),
    ("Conv", [MAPS, noise(4, 1, 3, 3)], {"group": 4, "strides": [1, 2]}),
    ("Expand", [X[:, :1], ints(2, 3, 1)], {}),
    ("Gather", [X, ints(2, -1, 0)], {"axis": 1}),
    ("Gather", [X, np.array(1)], {"axis": 2}),
    ("Gemm", [X[0], noise(5, 4), noise(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [X[0], noise(3, 5)], {"transA": 1}),
    ("LayerNormalization", [X, noise(4), noise(4, seed=1)], {"axis": -1, "epsilon": 1e-5}),
    ("MatMul", [X, noise(4, 5)], {}),
    ("MatMul", [MAPS, noise(9, 3)], {}),
    ("Pad", [MAPS, ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5)], {}),
    ("Pad", [MAPS, ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}),
    ("Range", [np.array(0), np.array(7), np.array(1)], {}),
    ("ReduceL2", [X], {"axes": [2], "keepdims": 1}),
    ("ReduceLogSumExp", [X], {"axes": [0], "keepdims": 0}),
    ("ReduceMean", [X], {"axes": [1, 2], "keepdims": 0}),
    ("ReduceSum", [X, ints(1)], {"keepdims": 1}),
    ("Reshape", [X, ints(0, -1)], {}),
    ("Shape", [X], {"start": 1, "end": 3}),
    ("Slice", [X, ints(-2), ints(2**31 - 1), ints(1)], {}),
    ("Slice", [X, ints(0, 1), ints(4, 3), ints(2, 1), ints(2, 1)], {}),
    ("Softmax", [X], {"axis": 1}),
    ("Split", [X, ints(1, 3)], {"axis": 2}),
    ("Squeeze", [X[:, :1], ints(1)], {}),
    ("Sum", [X, X[:, :1], X[:1]], {}),
    ("Transpose", [X], {"perm": [1, 2, 0]}),
    ("Unsqueeze", [X, ints(0, 2)], {}),
    ("Where", [FLAGS, X, X[:, :1]], {}),
]
NOT_IN_ORT = {"Gelu", "QuickGelu"}
"""Of other domains or opsets; below beside SciPy."""


def session(operator: str, arrays: list[Array], attributes: dict[str, Any]) -> list[Array]:
    """ONNX Runtime's answer."""
    import onnxruntime as ort
    from onnx import helper

    names, outs = [f"x{at}" for at in range(len(arrays))], ["y", "z"][: 2 if operator == "Split" else 1]
    node = helper.make_node(operator, names, outs, **attributes)
    kinds = [helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype) for a in arrays]
    entrances = [helper.make_tensor_value_info(n, k, np.shape(a)) for n, k, a in zip(names, kinds, arrays, strict=True)]
    exits = [helper.make_empty_tensor_value_info(name) for name in outs]
    graph = helper.make_graph([node], "one", entrances, exits)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    run = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    return list(run.run(None, dict(zip(names, map(np.asarray, arrays), strict=True))))


def agrees(case: Any, xp: SimpleNamespace, arrays: Callable[[Array], Any]) -> None:
    """What shapes a node stays NumPy's, as in a program; the first input is the framework's."""
    operator, given, attributes = case
    names = {**attributes, **({"to": {7: "int64", 2: "uint8"}[attributes["to"]]} if operator == "Cast" else {})}
    tensors = [arrays(np.asarray(a)) if a.dtype.kind in "fb" else np.asarray(a) for a in given]
    got = OPERATORS[operator](xp, *tensors, **names)
    got = got if operator == "Split" else [got]
    for mine, right in zip(got, session(operator, given, attributes), strict=True):
        np.testing.assert_allclose(np.asarray(mine), right, rtol=1e-5, atol=2e-6, err_msg=operator)
        assert np.shape(mine) == right.shape


def named(cases: list[Any]) -> list[str]:
    return [f"{at}-{operator}" for at, (operator, *_) in enumerate(cases)]


def test_every_operator_has_a_case() -> None:
    assert {operator for operator, *_ in CASES} | NOT_IN_ORT == set(OPERATORS)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_jax_computes_what_onnx_runtime_does(case: Any) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    import jax.numpy as jnp

    agrees(case, jax.framework(), jnp.asarray)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_tensorflow_computes_what_onnx_runtime_does(case: Any) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    operator, given, attributes = case
    given = [tensorflow._narrow(np.asarray(a)) for a in given] if operator == "Range" else given
    if operator == "Conv" and attributes.get("strides") == [1, 2] and attributes.get("group") == 4:
        attributes = {**attributes, "strides": [2, 2]}
    agrees((operator, given, attributes), tensorflow.framework(), tf.constant)


SHAPES = "Abs Add And Cast Div Equal Gather Greater Max Mul Range ReduceSum Slice Softmax Sub Transpose Unsqueeze Where"


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in SHAPES.split()], ids=lambda case: str(case[0]))
def test_what_depends_on_constants_alone_is_numpys(case: Any) -> None:
    agrees(case, NUMPY, np.asarray)


def test_gelu_beside_scipy() -> None:
    from scipy.special import erf, expit

    xp = SimpleNamespace(erf=lambda x: erf(x).astype(np.float32), tanh=np.tanh, sigmoid=expit)
    exact = X * 0.5 * (1 + erf(X / np.sqrt(2)))
    np.testing.assert_allclose(OPERATORS["Gelu"](xp, X), exact, atol=1e-6)
    np.testing.assert_allclose(OPERATORS["Gelu"](xp, X, approximate="tanh"), exact, atol=1e-3)
    np.testing.assert_allclose(OPERATORS["QuickGelu"](xp, X), X * expit(1.702 * X), atol=1e-6)


def test_windows_that_nobody_can_say_are_refused() -> None:
    conv = partial(OPERATORS["Conv"], NUMPY, MAPS, noise(4, 4, 3, 3))
    with pytest.raises(ValueError, match="padded by SAME_UPPER"):
        conv(auto_pad="SAME_UPPER")
    with pytest.raises(ValueError, match="a window of 1 axes"):
        conv(kernel_shape=[3])


def test_an_operator_that_is_missing_is_named() -> None:
    from onnx import helper

    node = helper.make_node("QuantizeLinear", ["pixels", "s"], ["probabilities"])
    ends = [helper.make_tensor_value_info(name, 1, None) for name in ("pixels", "probabilities")]
    made = helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:]))
    with pytest.raises(ModelError, match=r"needs QuantizeLinear, which the export to jax lacks.*--to onnx"):
        program.of_model(made, [], OPERATORS, "jax")
