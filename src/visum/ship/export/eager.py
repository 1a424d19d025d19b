"""The nodes of ``graph.Graph``, computed at once instead of written down: what builds a graph also runs in PyTorch.

``resize`` and ``classify`` say what happens in ONNX operators; here each is a function of tensors, so that there is one text of
the rules and not one per framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Eager:
    """Stands in for ``graph.Graph``, with tensors in the place of names.

    Attributes:
        operators: ONNX operator → function of tensors and its attributes.
        tensor: of a NumPy array.
    """

    operators: dict[str, Callable[..., Any]]
    tensor: Callable[[Any], Any]
    nodes: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: type[np.generic] | None = None) -> Any:
        """As ``Graph.constant``."""
        if dtype is None and not isinstance(value, np.ndarray):
            dtype = np.float32 if isinstance(value, float) else np.int64
        return self.tensor(np.array(value, dtype))

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> Any:
        """As ``Graph.add``."""
        plain = (int, float, np.ndarray, np.generic)
        tensors = [self.constant(each) if isinstance(each, plain) else each for each in inputs]
        return self.operators[operator](*tensors, **attributes)

    def cast(self, name: Any, dtype: type[np.generic]) -> Any:
        """As ``Graph.cast``."""
        return self.operators["Cast"](name, np.dtype(dtype).name)
