"""TensorRT: the ONNX graph with the script that builds an engine of it, run by ONNX Runtime's TensorRT provider.

An engine fits one kind of GPU and one version of TensorRT, so that it is built where it runs, and no engine is part of an export.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.ship.export import onnx, program, whole
from visum.ship.export.onnx import first_line
from visum.types import Bundle, Floats, Pixels

TARGET = "tensorrt"
PROVIDER = "TensorrtExecutionProvider"
SCRIPT = "build_engine.py"
SMALLEST, LARGEST = (1, 16, 16, 3), (16, 2048, 2048, 3)
"""Shapes of pixels ``[N, H, W, 3]`` that an engine takes; others need another profile."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Where NVIDIA's kernel module says that it is there."""

_SCRIPT = '''"""Build a TensorRT engine of model.onnx on this machine, for its GPU and its TensorRT (10 or later).

    python build_engine.py ENGINE [--fp16]

ENGINE lies outside this folder: visum verify refuses files that are not in SHA256SUMS. The same with TensorRT's own command:

    {command}
"""

import sys
from pathlib import Path

import tensorrt as trt

PROFILE = {profile}


def main(out: str, fp16: bool) -> None:
    log = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(log)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse(Path(__file__).with_name("model.onnx").read_bytes()):
        sys.exit("\\n".join(str(parser.get_error(at)) for at in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if fp16:
        config.set_flag(trt.BuilderFlag.FP16)
    shapes = builder.create_optimization_profile()
    shapes.set_shape("{pixels}", *PROFILE)
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        sys.exit("TensorRT built no engine; its own messages above say why")
    Path(out).write_bytes(engine)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], "--fp16" in sys.argv[2:])
'''


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.onnx`` and ``build_engine.py``, which needs neither visum nor ONNX. Arguments and errors as of ``whole.model``."""
    side = 2 * bundle.preprocess.size
    shapes = (SMALLEST, (1, side, side, 3), LARGEST)
    names = ("minShapes", "optShapes", "maxShapes")
    words = " ".join(f"--{n}={whole.PIXELS}:{'x'.join(map(str, s))}" for n, s in zip(names, shapes, strict=True))
    command = f"trtexec --onnx=model.onnx --noTF32 {words} --saveEngine=ENGINE"
    script = _SCRIPT.format(command=command, profile=json.dumps(shapes), pixels=whole.PIXELS)
    return {**onnx.export(bundle, facts, make), SCRIPT: script.encode()}


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The graph in ONNX Runtime's TensorRT provider; what TensorRT does not take runs in its CUDA provider. In float32, not TF32.

    Args:
        files: with ``model.onnx``; ``build_engine.py`` is not run.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: no NVIDIA GPU, no such provider, or it cannot take the graph.
        UnsafeFile: as ``onnx.check``.
    """
    check()
    onnx.check(files[onnx.FILE])
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    import onnxruntime as ort

    low, high = ("x".join(map(str, shape)) for shape in (SMALLEST, LARGEST))
    settings = {
        "trt_profile_min_shapes": f"{whole.PIXELS}:{low}",
        "trt_profile_opt_shapes": f"{whole.PIXELS}:1x448x448x3",
        "trt_profile_max_shapes": f"{whole.PIXELS}:{high}",
    }
    options = ort.SessionOptions()
    options.log_severity_level = 4
    wanted = [(PROVIDER, settings), "CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(files[onnx.FILE], options, providers=wanted, enable_fallback=0)
        took = session.get_providers()
    except Exception as error:  # of many kinds, none of them public
        raise BundleError(f"TensorRT cannot load {onnx.FILE}: {first_line(error)}", next="--to onnx") from error
    if PROVIDER not in took:
        raise BundleError(
            f"ONNX Runtime could not start TensorRT and took {', '.join(took)}",
            next="install the TensorRT that this ONNX Runtime was built for",
        )

    def run(batch: Pixels) -> Floats:
        try:
            return np.asarray(session.run([whole.PROBABILITIES], {whole.PIXELS: batch})[0], np.float32)
        except Exception as error:
            raise BundleError(f"TensorRT cannot run {onnx.FILE}: {first_line(error)}", next=program.AGAIN) from error

    return run


def check() -> None:
    """Whether this machine can run TensorRT.

    Raises:
        BundleError: and all that is missing.
    """
    import onnxruntime as ort

    missing = [] if DRIVER.exists() else [f"no NVIDIA GPU (no driver at {DRIVER})"]
    if PROVIDER not in (has := ort.get_available_providers()):
        missing.append(f"ONNX Runtime has no TensorRT provider, only {', '.join(has)} (pip install onnxruntime-gpu)")
    if missing:
        raise BundleError(
            f"TensorRT cannot run here: {'; '.join(missing)}",
            allowed="a machine with an NVIDIA GPU, TensorRT and onnxruntime-gpu",
            next="--to onnx here, and --to tensorrt there: the engine is built where it runs",
        )
