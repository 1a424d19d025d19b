"""TensorFlow: a SavedModel in TensorFlow's own operators, any number of pictures of any size, its weights variables.

The graph is that of ``program``, run once by TensorFlow while it is traced. A SavedModel can name operators that read and write
files; one that names others than these here is not opened.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from visum.errors import BundleError, ModelError, UnsafeFile
from visum.ship.export import program, whole
from visum.ship.export.jax import described
from visum.ship.export.onnx import first_line
from visum.ship.export.operators import OPERATORS
from visum.types import Bundle, Floats, Pixels

TARGET = "tensorflow"
FOLDER, GRAPH = "model", "model/saved_model.pb"
SIGNATURE = "serving_default"
_COMPUTING = """
Abs AddV2 ArgMax AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast Ceil ConcatV2 Const Conv2D DepthwiseConv2dNative Elu EnsureShape
Equal Erf Exp ExpandDims Fill Floor FloorDiv GatherV2 Greater GreaterEqual Identity IdentityN IsFinite Less LessEqual Log
LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg NoOp Pack Pad PadV2
PartitionedCall Placeholder Pow Prod Range ReadVariableOp RealDiv Relu Reshape Round Rsqrt SelectV2 Shape Sigmoid Sign Slice
Softmax Softplus Split SplitV Sqrt Square Squeeze StatefulPartitionedCall StopGradient StridedSlice Sub Sum Tanh Tile Transpose
ZerosLike
"""
_KEEPING = """
AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 Select ShardedFilename StaticRegexFullMatch StringJoin
VarHandleOp VarIsInitializedOp
"""
COMPUTING = frozenset(_COMPUTING.split())
"""Operators that answers may be computed with."""
KEEPING = frozenset(_KEEPING.split())
"""Operators for saving and restoring variables, which TensorFlow puts into every file; no answer may lead through one of them."""


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model/saved_model.pb`` and ``model/variables/…``. Loads TensorFlow.

    Args:
        bundle, make: as of ``whole.model``.
        facts: not kept.

    Raises:
        BundleError: as of ``whole.model``, or TensorFlow is not installed.
        ModelError: TensorFlow cannot run this network.
    """
    tf = package()
    module = traced(described(bundle, facts, make, TARGET))
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE: module.classify})
        root = Path(folder)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {f"{FOLDER}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in found}


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The SavedModel on TensorFlow's CPU.

    Args:
        files: with ``model/saved_model.pb`` and ``model/variables/…``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: TensorFlow is not installed, or cannot load or run it.
        UnsafeFile: it names an operator that no export has.
    """
    tf = package()
    check(files.get(GRAPH, b""))
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            module = tf.saved_model.load(os.fspath(Path(folder) / FOLDER))
            call = module.signatures[SIGNATURE]
        except Exception as error:  # of many kinds
            raise BundleError(f"TensorFlow cannot load {GRAPH}: {first_line(error)}", next=program.AGAIN) from error

    def run(batch: Pixels) -> Floats:
        try:
            with tf.device("CPU"):
                return np.asarray(call(tf.constant(batch))[whole.PROBABILITIES].numpy(), np.float32)
        except Exception as error:
            raise BundleError(f"TensorFlow cannot run {GRAPH}: {first_line(error)}", next=program.AGAIN) from error

    # the signature holds its module by a weak reference only
    run.module = module  # type: ignore[attr-defined]
    return run


def check(data: bytes) -> None:
    """Refuse a SavedModel with operators of other kinds, before anything of it runs.

    Raises:
        BundleError: no SavedModel.
        UnsafeFile: operators that read, write or call, by name.
    """
    package()
    from tensorflow.core.protobuf import saved_model_pb2

    told = saved_model_pb2.SavedModel()
    try:
        told.ParseFromString(data)
        (graph,) = told.meta_graphs
    except Exception as error:
        raise BundleError(f"{GRAPH} is no SavedModel: {first_line(error)}", next=program.AGAIN) from error
    functions = {each.signature.name: each for each in graph.graph_def.library.function}
    objects = {node.WhichOneof("kind") for node in graph.object_graph_def.nodes}
    strange = {f"{kind}s" for kind in objects & {"resource", "asset"}}
    waiting, seen = list(graph.object_graph_def.concrete_functions), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            strange |= {node.op} - COMPUTING - set(functions)
            called = [each.func.name for each in node.attr.values() if each.HasField("func")]
            waiting += [node.op, *called, *(f.name for each in node.attr.values() for f in each.list.func)]
    everything = [*graph.graph_def.node, *(node for each in functions.values() for node in each.node_def)]
    strange |= {node.op for node in everything} - COMPUTING - KEEPING - set(functions)
    if strange:
        raise UnsafeFile(f"{GRAPH} needs {ascii(sorted(strange))[:80]}", allowed="operators of a classifier")


def traced(made: program.Program) -> Any:
    """A ``tf.Module`` with the parameters as variables and ``classify``: uint8 ``[N, H, W, 3]`` → {probabilities: ``[N, K]``}.

    Raises:
        ModelError: TensorFlow cannot run this network.
    """
    tf = package()
    xp = framework()
    constants = {name: _narrow(value) for name, value in made.constants.items()}
    fixed = {name: _narrow(value) for name, value in made.parameters.items() if value.dtype.kind != "f"}
    nodes = tuple(replace(n, attributes={**n.attributes, "to": "int32"}) if _widens(n) else n for n in made.nodes)
    run = program.function(replace(made, nodes=nodes, constants={**constants, **fixed}), OPERATORS, xp)
    module = tf.Module(name="visum")
    floats = {name: value for name, value in made.parameters.items() if name not in fixed}
    names = dict(zip(floats, (f"parameter_{at}" for at in range(len(floats))), strict=True))
    module.parameters = {
        names[name]: tf.Variable(value, name=names[name], trainable=True) for name, value in floats.items()
    }

    def classify(pixels: Any) -> Any:
        weights = {name: tf.convert_to_tensor(module.parameters[short]) for name, short in names.items()}
        seen = run(weights, {made.entrance: pixels}, tuple(made.squares))
        # what the matrices of resizing know and their shapes do not say
        seen = {name: tf.ensure_shape(x, (None, made.squares[name], made.squares[name], 3)) for name, x in seen.items()}
        return {whole.PROBABILITIES: run(weights, seen, (made.exit,))[made.exit]}

    described = tf.TensorSpec((None, None, None, 3), tf.uint8, name=whole.PIXELS)
    module.classify = tf.function(classify, input_signature=(described,), autograph=False)
    try:
        module.classify.get_concrete_function()
    except Exception as error:  # of every kind
        raise ModelError(f"TensorFlow cannot run this network: {first_line(error)}", next="--to onnx") from error
    return module


def _widens(node: program.Node) -> bool:
    return node.operator == "Cast" and node.attributes["to"] == "int64"


def _narrow(value: Any) -> Any:
    """Sizes and axes as int32, which TensorFlow's shapes are."""
    return np.clip(value, -(2**31), 2**31 - 1).astype(np.int32) if value.dtype == np.int64 else value


def framework() -> SimpleNamespace:
    """TensorFlow for ``operators``; the shape of a picture is a tensor, that of a map behind resizing mostly known."""
    tf = package()

    def shape(x: Any) -> Any:
        known = x.shape.as_list()
        return np.array(known, np.int32) if None not in known else tf.shape(x)

    def cast(x: Any, to: str) -> Any:
        return tf.cast(x, to)

    def take(x: Any, index: Any, axis: int = 0) -> Any:
        return tf.gather(x, index, axis=axis)

    def pairs(pads: Any) -> Any:
        return [[0, 0], *map(list, pads), [0, 0]]

    def last(x: Any, function: Callable[[Any], Any]) -> Any:
        """Channels last, which is what TensorFlow computes in on a CPU, and back."""
        return tf.transpose(function(tf.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))

    def convolve(x: Any, w: Any, b: Any, strides: Any, pads: Any, dilations: Any, group: int) -> Any:
        out, inner = int(w.shape[0]), int(w.shape[1])
        w = tf.transpose(w, (2, 3, 1, 0))

        def one(x: Any, w: Any) -> Any:
            return tf.nn.conv2d(x, w, strides, "VALID", dilations=dilations)

        def whole_(x: Any) -> Any:
            if any(map(any, pads)):
                x = tf.pad(x, pairs(pads))
            if group == 1:
                y = one(x, w)
            elif inner == 1 and strides[0] == strides[1]:
                kernel = tf.reshape(w, (*w.shape[:2], group, out // group))
                y = tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), "VALID", dilations=dilations)
            else:
                parts = zip(tf.split(x, group, -1), tf.split(w, group, -1), strict=True)
                y = tf.concat([one(*part) for part in parts], -1)
            return y if b is None else tf.nn.bias_add(y, b)

        return last(x, whole_)

    def max_pool(x: Any, kernel: Any, strides: Any, pads: Any) -> Any:
        def pooled(x: Any) -> Any:
            padded = tf.pad(x, pairs(pads), constant_values=x.dtype.min) if any(map(any, pads)) else x
            return tf.nn.max_pool2d(padded, kernel, strides, "VALID")

        return last(x, pooled)

    def sum_pool(x: Any, kernel: Any, strides: Any, pads: Any) -> Any:
        def pooled(x: Any) -> Any:
            padded = tf.pad(x, pairs(pads)) if any(map(any, pads)) else x
            return tf.nn.avg_pool2d(padded, kernel, strides, "VALID") * np.float32(np.prod(kernel))

        return last(x, pooled)

    def pad(x: Any, widths: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
        return tf.pad(x, widths, mode, constant_values) if mode == "constant" else tf.pad(x, widths, mode)

    def kind(x: Any) -> str:
        return str(x.dtype.name if hasattr(x.dtype, "name") else x.dtype)

    def reduced(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, axis=None, keepdims=False: function(x, axis, keepdims)

    same = (
        "abs add subtract multiply divide maximum minimum equal greater greater_equal less less_equal logical_and logical_or "
        "logical_not negative exp sqrt tanh transpose reshape expand_dims squeeze where matmul broadcast_to sign round"
    )
    return SimpleNamespace(
        **{name: getattr(tf, name) for name in same.split()},
        shape=shape,
        kind=kind,
        cast=cast,
        take=take,
        pad=pad,
        convolve=convolve,
        max_pool=max_pool,
        sum_pool=sum_pool,
        arange=tf.range,
        floor_divide=tf.math.floordiv,
        power=tf.pow,
        log=tf.math.log,
        ceil=tf.math.ceil,
        floor=tf.floor,
        concatenate=tf.concat,
        argmax=lambda x, axis: tf.argmax(x, axis, tf.int32),
        sum=reduced(tf.reduce_sum),
        mean=reduced(tf.reduce_mean),
        max=reduced(tf.reduce_max),
        logsumexp=reduced(tf.reduce_logsumexp),
        softmax=tf.nn.softmax,
        log_softmax=tf.nn.log_softmax,
        softplus=tf.nn.softplus,
        sigmoid=tf.sigmoid,
        erf=tf.math.erf,
    )


def package() -> Any:
    """TensorFlow, which is silent about the machine unless somebody set how much it says.

    Raises:
        BundleError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow
    except ImportError as error:
        raise BundleError("TensorFlow is not installed", next='pip install "visum[tensorflow]"') from error
    return tensorflow
