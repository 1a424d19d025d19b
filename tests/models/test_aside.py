"""torch in a process of its own: what comes back, what is said when it fails, and that nothing outlives its caller."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visum.errors import ModelError, StorageError
from visum.models import aside, compiled, weights


def test_the_caller_never_imports_torch(fresh_cache: Path) -> None:
    """A fresh machine: conversion and export happen in one child, and the caller can run the graph at once."""
    code = (
        "import sys, numpy as np\n"
        "from visum.models import compiled, weights\n"
        "backbone = weights.find(size=64)\n"
        "assert compiled.graph_path(backbone, backbone.preprocess).is_file(), 'made by the same child'\n"
        "engine = compiled.engine(backbone, backbone.preprocess)\n"
        "vectors = engine.run(np.full((3, 64, 64, 3), 128, np.uint8))\n"
        "assert vectors.shape[0] == 3 and np.isfinite(vectors).all()\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert list((fresh_cache / "weights").glob("*.safetensors"))


@pytest.mark.slow
def test_the_graph_of_a_child_is_the_graph_made_here(fresh_cache: Path) -> None:
    backbone = weights.find(size=64)
    other = replace(backbone, stages=("blocks.6",))  # not made along with the conversion
    path = compiled.graph(other, other.preprocess)
    squares = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    by_child = compiled.onnxruntime(other, other.preprocess).run(squares)
    path.unlink()
    compiled.write_graph(other, other.preprocess)
    here = compiled.onnxruntime(other, other.preprocess).run(squares)
    np.testing.assert_array_equal(by_child, here)


def test_an_error_of_the_child_is_the_callers_error() -> None:
    with pytest.raises(ModelError, match=r"no weights for 'nothing' on this machine\. Allowed: efficientnet_lite0"):
        aside.run("package", {"name": "nothing", "size": None})


def test_a_full_disk_in_the_child_is_a_full_disk() -> None:
    said = '{"got": "no space left while writing g.onnx", "allowed": "", "next": "free some space"}'
    assert isinstance(aside._told(f"warning\n{said}\n", StorageError.exit_code), StorageError)
    assert not isinstance(aside._told(said, ModelError.exit_code), StorageError)


def test_a_child_that_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(ModelError, match=r"could not be built: KeyError: 'name'\. Try: --engine torch"):
        aside.run("package", {})


def test_no_child_outlives_an_interruption() -> None:
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            aside.run("export", {})  # killed while Python starts
        except ModelError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    with pytest.raises(KeyboardInterrupt), aside.ended():  # noqa: PT012 - the block is the test
        thread.start()
        for _ in range(200):
            if aside._running:
                break
            time.sleep(0.01)
        raise KeyboardInterrupt
    thread.join(10)
    assert not thread.is_alive()
    assert not aside._running
    assert len(failures) == 1
