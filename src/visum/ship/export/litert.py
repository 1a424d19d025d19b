"""LiteRT (TensorFlow Lite): one ``.tflite`` file of built-in operators, for phones and boards.

It is converted from what ``tensorflow`` traces. Any number of pictures of any size: whoever runs it says which
(``resize_tensor_input``) and allocates anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visum.errors import BundleError, ModelError
from visum.ship.export import program, tensorflow, whole
from visum.ship.export.jax import described
from visum.ship.export.onnx import first_line
from visum.types import Bundle, Floats, Pixels

TARGET = "litert"
FILE = "model.tflite"


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.tflite``. Loads TensorFlow, whose converter it is.

    Args:
        bundle, make: as of ``whole.model``.
        facts: not kept.

    Raises:
        BundleError: as of ``whole.model``, or TensorFlow is not installed.
        ModelError: TensorFlow cannot run or convert this network.
    """
    tf = tensorflow.package()
    module = tensorflow.traced(described(bundle, facts, make, TARGET))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.classify.get_concrete_function()], module)
    try:
        return {FILE: bytes(converter.convert())}
    except Exception as error:  # of every kind
        raise ModelError(f"LiteRT cannot take this network: {first_line(error)}", next="--to onnx") from error


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The file in LiteRT on one core.

    Args:
        files: with ``model.tflite``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: LiteRT is not installed, or cannot load or run it; operators of strangers are unknown to it.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BundleError("LiteRT is not installed", next='pip install "visum[litert]"') from error
    try:
        interpreter = Interpreter(model_content=files[FILE], num_threads=1)
        (entrance,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:
        raise BundleError(f"LiteRT cannot load {FILE}: {first_line(error)}", next=program.AGAIN) from error

    def run(batch: Pixels) -> Floats:
        try:
            interpreter.resize_tensor_input(entrance["index"], batch.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(entrance["index"], np.ascontiguousarray(batch))
            interpreter.invoke()
            return np.array(interpreter.get_tensor(exit_["index"]), np.float32)
        except Exception as error:
            raise BundleError(f"LiteRT cannot run {FILE}: {first_line(error)}", next=program.AGAIN) from error

    return run
