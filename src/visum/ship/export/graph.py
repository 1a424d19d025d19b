"""An ONNX graph under construction: each call adds one node and answers with the name of its output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
"""Of the file format; what opset 17 came with, so that older runtimes read it too."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes and constants so far, in the order in which they compute.

    Attributes:
        nodes: of onnx ``NodeProto``.
        constants: of onnx ``TensorProto``.
        known: constants that are there already, by type, shape and bytes.
    """

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def constant(self, value: Any, dtype: type[np.generic] | None = None) -> str:
        """A constant: an array, or a number of ``dtype`` (int64 or float32 by default)."""
        from onnx import numpy_helper

        if dtype is None and not isinstance(value, np.ndarray):
            dtype = np.float32 if isinstance(value, float) else np.int64
        array: NDArray[Any] = np.array(value, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = f"visum_constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self.known[key]))
        return self.known[key]

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """A node of one output; inputs are names, or numbers and arrays, which become constants."""
        from onnx import helper

        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        out = f"visum_{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [out], name=out, **attributes))
        return out

    def cast(self, name: str, dtype: type[np.generic]) -> str:
        """The same numbers as another type."""
        from onnx import helper

        return self.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def rename(self, name: str, other: str) -> None:
        """The output of the last node gets another name."""
        if self.nodes[-1].output[0] != name:
            raise ValueError(f"{name} is not the output of the last node")
        self.nodes[-1].output[0] = other

    def absorb(self, model: Any, prefix: str, given: str) -> str:
        """Another model with one input and one output becomes part of this graph.

        Args:
            model: onnx ``ModelProto`` of the same opset; it is not changed.
            prefix: of its names, so that they are nobody else's.
            given: what its input becomes.

        Returns:
            The name of its output.
        """
        from onnx import compose

        other = compose.add_prefix(model, prefix).graph
        (entrance,), (exit_,) = other.input, other.output
        for node in other.node:
            for at, name in enumerate(node.input):
                if name == entrance.name:
                    node.input[at] = given
        self.nodes.extend(other.node)
        self.constants.extend(other.initializer)
        return str(exit_.name)

    def model(self, inputs: Any, outputs: Any, facts: dict[str, str]) -> Any:
        """The whole as onnx ``ModelProto``, with ``facts`` as its metadata.

        Args:
            inputs, outputs: name → (dtype, shape); text in a shape is an axis of any length.
            facts: key → text.
        """
        from onnx import helper

        def described(ends: dict[str, tuple[type[np.generic], list[Any]]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
                for name, (dtype, shape) in ends.items()
            ]

        graph = helper.make_graph(self.nodes, "visum", described(inputs), described(outputs), self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="visum", ir_version=IR_VERSION, opset_imports=opset)
        helper.set_model_props(model, facts)
        return model
