"""The whole graph as data that any framework can run: a list of nodes in JSON, and the arrays in safetensors.

    model.json           format, entrance, exit, squares, constants, nodes
    model.safetensors    parameters: everything that training made, by name

A node names an ONNX operator, what it reads and writes, and its attributes; ``operators`` says what each one does. ``squares``
are the fitted pictures with their side: before them every shape depends on the picture, behind them on the number of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import safefile
from visum.errors import BundleError, CorruptFile, ModelError
from visum.ship.export import graph

FILE, WEIGHTS = "model.json", "model.safetensors"
FORMAT = 1
SMALL = 64
"""Whole numbers and flags, up to so many in an array, are part of the description: axes, sizes, amounts of padding."""
AGAIN = "visum export BUNDLE"


@dataclass(frozen=True)
class Node:
    """One step.

    Attributes:
        operator: of ONNX, opset 17.
        inputs: names; "" for one that is left out.
        outputs: names.
        attributes: numbers, text, and lists of numbers; types of arrays by NumPy's names.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Program:
    """A function of parameters and pixels.

    Attributes:
        nodes: in the order in which they compute.
        constants: small arrays that shape the function.
        parameters: arrays that training made.
        entrance, exit: names of the pixels uint8 ``[N, H, W, 3]`` and of the probabilities float32 ``[N, K]``.
        squares: name → side of the fitted pictures uint8 ``[N, S, S, 3]``.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, NDArray[Any]]
    entrance: str
    exit: str
    squares: Mapping[str, int]


def of_model(model: Any, sizes: Collection[int], operators: Collection[str], target: str) -> Program:
    """The graph of ``whole.model`` as a program.

    Args:
        model: onnx ``ModelProto`` of one input and one output, without graphs inside nodes.
        sizes: input side of each way of fitting, in the order in which they appear.
        operators: that can be run.
        target: for the message.

    Raises:
        ModelError: an operator that is not among them, by name.
    """
    from onnx import helper, numpy_helper

    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes, squares = list[Node](), list[str]()
    for each in model.graph.node:
        told = {a.name: helper.get_attribute_value(a) for a in each.attribute}
        if each.op_type == "Constant":
            arrays[each.output[0]] = _constant(told)
            continue
        if each.op_type == "Cast":
            told["to"] = np.dtype(helper.tensor_dtype_to_np_dtype(told["to"])).name
            if told["to"] == "uint8":
                squares.append(each.output[0])
        attributes = {name: _plain(value) for name, value in told.items()}
        nodes.append(Node(each.op_type, tuple(each.input), tuple(each.output), attributes))
    if missing := sorted({node.operator for node in nodes} - set(operators)):
        raise ModelError(
            f"this network needs {', '.join(missing)}, which the export to {target} lacks", next="--to onnx"
        )
    (entrance,), (exit_,) = model.graph.input, model.graph.output
    constants = {name: value for name, value in arrays.items() if _shapes(value)}
    parameters = {name: value for name, value in arrays.items() if name not in constants}
    fitted = dict(zip(squares, sizes, strict=True))
    return Program(tuple(nodes), constants, parameters, entrance.name, exit_.name, fitted)


def _constant(told: Mapping[str, Any]) -> NDArray[Any]:
    from onnx import TensorProto, numpy_helper

    ((name, value),) = told.items()
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.array(value, np.float32 if "float" in name else np.int64)


def _plain(value: Any) -> Any:
    """An attribute as JSON holds it; a tensor of one number becomes the number."""
    from onnx import TensorProto, numpy_helper

    if isinstance(value, TensorProto):
        array = numpy_helper.to_array(value)
        return {"type": array.dtype.name, "value": array.reshape(()).item()}
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, (int, float, str)) else list(value)


def _shapes(value: NDArray[Any]) -> bool:
    """Whether an array shapes the function and is nothing that training made."""
    if value.dtype.kind == "f":
        return value.ndim == 0 and bool(np.isfinite(value))
    return value.size <= SMALL and value.dtype.name in ("int64", "int32", "bool", "uint8")


def files(made: Program) -> dict[str, bytes]:
    """``model.json`` and ``model.safetensors``."""
    from safetensors.numpy import save

    told = {
        "format": FORMAT,
        "entrance": made.entrance,
        "exit": made.exit,
        "squares": dict(made.squares),
        "constants": {
            name: {"type": value.dtype.name, "shape": list(value.shape), "values": value.reshape(-1).tolist()}
            for name, value in made.constants.items()
        },
        "nodes": [
            {"operator": n.operator, "inputs": list(n.inputs), "outputs": list(n.outputs), "attributes": n.attributes}
            for n in made.nodes
        ],
    }
    lines = json.dumps(told, ensure_ascii=False, allow_nan=False).replace('{"operator"', '\n{"operator"')
    return {
        FILE: lines.encode(),
        WEIGHTS: save({name: np.array(value, order="C") for name, value in made.parameters.items()}),
    }


def read(kept: Mapping[str, bytes]) -> Program:
    """The program in the files of an export.

    Raises:
        BundleError: it is none.
        UnsafeFile: a malformed safetensors file.
    """
    parameters = safefile.tensors_of(kept[WEIGHTS], WEIGHTS)
    try:
        told = safefile.parse_json(kept[FILE], FILE)
        if told["format"] != FORMAT:
            raise BundleError(f"{FILE} is of format {told['format']!r:.40}", next="pip install -U visum")
        constants = {
            str(name): np.array(each["values"], _TYPES[each["type"]]).reshape(each["shape"])
            for name, each in told["constants"].items()
        }
        nodes = tuple(
            Node(str(n["operator"]), tuple(map(str, n["inputs"])), tuple(map(str, n["outputs"])), dict(n["attributes"]))
            for n in told["nodes"]
        )
        squares = {str(name): int(side) for name, side in told["squares"].items()}
        return Program(nodes, constants, parameters, str(told["entrance"]), str(told["exit"]), squares)
    except (CorruptFile, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(
            f"{FILE} is no description of a program: {type(error).__name__} {error!s:.100}", next=AGAIN
        ) from error


_TYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16", "int64", "int32", "bool", "uint8", "int8")}


def function(
    made: Program, operators: Mapping[str, Callable[..., Any]], framework: Any
) -> Callable[[Mapping[str, Any], Mapping[str, Any], Collection[str]], dict[str, Any]]:
    """What runs the nodes: ``(parameters, values by name, names wanted) -> those values``.

    What depends on constants alone is computed by NumPy. Only nodes that lead to what is wanted are run, and those before a value
    that is given are not.

    Args:
        made: the program.
        operators: name → ``(framework, *inputs, **attributes) -> output``.
        framework: arrays of it are computed with; see ``operators``.
    """
    from visum.ship.export.operators import NUMPY

    makers = {name: node for node in made.nodes for name in node.outputs}

    def run(parameters: Mapping[str, Any], given: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
        needed, waiting = set[str](), [name for name in wanted if name not in given]
        while waiting:
            name = waiting.pop()
            if name in makers and name not in needed:
                needed |= set(makers[name].outputs)
                waiting += [each for each in makers[name].inputs if each not in given and each not in needed]
        values: dict[str, Any] = {"": None, **made.constants, **parameters, **given}
        for node in made.nodes:
            if not needed.intersection(node.outputs):
                continue
            inputs = [values[name] for name in node.inputs]
            known = all(each is None or isinstance(each, np.ndarray | np.generic) for each in inputs)
            out = operators[node.operator](NUMPY if known else framework, *inputs, **node.attributes)
            values.update(zip(node.outputs, out if len(node.outputs) > 1 else (out,), strict=False))
        return {name: values[name] for name in wanted}

    return run


def to_model(made: Program) -> Any:
    """The program as onnx ``ModelProto`` again, so that what was written can be proven where its framework is not installed."""
    from onnx import helper, numpy_helper

    nodes = []
    for node in made.nodes:
        attributes = dict(node.attributes)
        if node.operator == "Cast":
            attributes["to"] = helper.np_dtype_to_tensor_dtype(np.dtype(attributes["to"]))
        if isinstance(value := attributes.get("value"), dict):
            attributes["value"] = numpy_helper.from_array(np.array([value["value"]], _TYPES[value["type"]]))
        nodes.append(helper.make_node(node.operator, node.inputs, node.outputs, **attributes))
    arrays = {**made.constants, **made.parameters}
    classes = made.exit
    rebuilt = helper.make_graph(
        nodes,
        "visum",
        [helper.make_tensor_value_info(made.entrance, 2, ["images", "height", "width", 3])],  # UINT8
        [helper.make_tensor_value_info(classes, 1, ["images", "classes"])],  # FLOAT
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    opsets = [helper.make_opsetid("", graph.OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(rebuilt, opset_imports=opsets, ir_version=graph.IR_VERSION)
