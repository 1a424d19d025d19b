"""OpenVINO IR: the ONNX graph in OpenVINO's own two files, which load without a conversion."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.ship.export import whole
from visum.ship.export.onnx import first_line
from visum.types import Bundle, Floats, Pixels

XML, BIN = "model.xml", "model.bin"


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.xml`` and ``model.bin``; ``facts`` are in the XML. Arguments and errors as of ``whole.model``."""
    import openvino as ov

    model = ov.Core().read_model(whole.model(bundle, facts, make).SerializeToString())
    model.set_rt_info(json.dumps(facts, ensure_ascii=False), "visum")
    model.set_rt_info(str(facts.get("precision", "float32")), "visum_precision")
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(model, Path(folder) / XML, compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in (XML, BIN)}


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The graph in OpenVINO on one core of the CPU; in bfloat16 where it was made for it and the CPU computes in it.

    Args:
        files: with ``model.xml`` and ``model.bin``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: no graph that OpenVINO can run, or another one's inputs and outputs.
    """
    import openvino as ov
    from openvino import Type
    from openvino import properties as names

    core = ov.Core()
    try:
        model = core.read_model(files[XML], files[BIN])
        half = model.has_rt_info("visum_precision") and model.get_rt_info("visum_precision").astype(str) == "bfloat16"
        half = half and "BF16" in core.get_property("CPU", names.device.capabilities)
        precision = Type.bf16 if half else Type.f32
        settings = {names.inference_num_threads: 1, names.hint.inference_precision: precision}
        compiled = core.compile_model(model, "CPU", settings)
        entrance, exit_ = compiled.input(whole.PIXELS), compiled.output(whole.PROBABILITIES)
    except Exception as error:  # RuntimeError mostly, none of them public
        raise BundleError(f"OpenVINO cannot load {XML}: {first_line(error)}", next="visum export BUNDLE") from error

    def run(batch: Pixels) -> Floats:
        try:
            return np.array(compiled({entrance: batch})[exit_], np.float32)
        except Exception as error:
            raise BundleError(f"OpenVINO cannot run {XML}: {first_line(error)}", next="visum export BUNDLE") from error

    return run
