"""TensorRT: the script is whole, the provider asked for, a machine without a GPU told so. No GPU was there to run any of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import model, network

from visum.errors import BundleError
from visum.ship import export as targets
from visum.ship.export import tensorrt


def test_the_script_says_how_an_engine_is_built() -> None:
    files = tensorrt.export(model(), {}, network)
    assert sorted(files) == ["build_engine.py", "model.onnx"]
    text = files["build_engine.py"].decode()
    tree = ast.parse(text)
    assert "trtexec --onnx=model.onnx --noTF32 --minShapes=pixels:1x16x16x3 --optShapes=pixels:1x64x64x3" in (
        ast.get_docstring(tree) or ""
    )
    (profile,) = (
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROFILE"
    )
    low, best, high = np.array(ast.literal_eval(profile.value))
    assert (low <= best).all()
    assert (best <= high).all()
    assert 'set_shape("pixels"' in text


def test_without_a_gpu_all_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensorrt, "DRIVER", tmp_path / "none")
    with pytest.raises(BundleError, match=r"no NVIDIA GPU.*no TensorRT provider, only .*--to onnx here"):
        targets.check("tensorrt")
    with pytest.raises(BundleError, match="no NVIDIA GPU"):
        tensorrt.load(tensorrt.export(model(), {}, network))


def test_the_provider_is_asked_for_and_its_absence_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime stands in for itself: it takes whatever providers it has, as it does where TensorRT's files are missing."""
    import onnxruntime as ort

    real, asked = ort.InferenceSession, list[Any]()

    def session(data: bytes, options: Any, providers: list[Any], **rest: Any) -> Any:
        asked.extend(providers)
        made = real(data, options, providers=["CPUExecutionProvider"], **rest)
        monkeypatch.setattr(made, "get_providers", lambda: took)
        return made

    monkeypatch.setattr(tensorrt, "DRIVER", tmp_path)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [tensorrt.PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    files = tensorrt.export(model(), {}, network)
    took = [tensorrt.PROVIDER, "CPUExecutionProvider"]
    answer = tensorrt.load(files)(np.zeros((2, 40, 30, 3), np.uint8))
    assert answer.shape == (2, 3)
    assert asked[0][0] == tensorrt.PROVIDER
    assert asked[0][1]["trt_profile_min_shapes"] == "pixels:1x16x16x3"
    took = ["CPUExecutionProvider"]
    with pytest.raises(BundleError, match="could not start TensorRT and took CPUExecutionProvider"):
        tensorrt.load(files)
