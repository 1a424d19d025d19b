"""A graph from a stranger: it opens no other file, needs no foreign code, and takes down nobody but a child."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import export, model
from numpy.typing import NDArray

from visum.errors import BundleError, UnsafeFile
from visum.ship.export import onnx as target

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def data(photos: Photos) -> bytes:
    return export(model(), photos).files["model.onnx"]


def outside(tensor: Any, location: str) -> None:
    """The tensor's numbers lie in another file."""
    from onnx import TensorProto

    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "weights.bin", "link.bin", "a/../../b", ""])
def test_weights_in_another_file_are_refused_unopened(
    data: bytes, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    made = onnx.load_model_from_string(data)
    outside(made.graph.initializer[0], location)
    with pytest.raises(UnsafeFile, match="asks for weights in another file"):
        target.load({"model.onnx": made.SerializeToString()})


@pytest.mark.parametrize("where", ["attribute", "branch", "function", "sparse", "half"])
def test_wherever_they_hide(data: bytes, where: str) -> None:
    import onnx
    from onnx import helper, numpy_helper

    made = onnx.load_model_from_string(data)
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "hidden")
    outside(tensor, "../x")
    node = helper.make_node("Constant", [], ["hidden"], value=tensor)
    if where == "attribute":
        made.graph.node.append(node)
    elif where == "branch":
        branch = helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("hidden", 1, [4])])
        made.graph.node.append(helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch))
    elif where == "function":
        made.functions.append(helper.make_function("d", "f", [], ["hidden"], [node], []))
    elif where == "sparse":
        made.graph.sparse_initializer.add(values=tensor)
    else:  # it only says where, and not that it is there
        del made.graph.initializer[0].external_data[:]
        made.graph.initializer[0].external_data.add(key="location", value="../x")
    with pytest.raises(UnsafeFile, match="asks for weights in another file"):
        target.check(made.SerializeToString())


def test_foreign_operators_are_refused(data: bytes) -> None:
    import onnx

    made = onnx.load_model_from_string(data)
    made.graph.node[0].domain = "evil.ops"
    with pytest.raises(UnsafeFile, match=r"needs operators of \['evil.ops'\]"):
        target.load({"model.onnx": made.SerializeToString()})


def other_input(made: Any) -> None:
    made.graph.input[0].name = "image"
    for node in made.graph.node:
        for at, name in enumerate(node.input):
            if name == "pixels":
                node.input[at] = "image"


def unknown_operator(made: Any) -> None:
    made.graph.node[3].op_type = "Frobnicate"


@pytest.mark.parametrize(("change", "words"), [(other_input, "cannot run"), (unknown_operator, "cannot load")])
def test_what_does_not_run_says_why(data: bytes, change: Callable[[Any], None], words: str) -> None:
    import onnx

    made = onnx.load_model_from_string(data)
    change(made)
    with pytest.raises(BundleError, match=rf"ONNX Runtime {words} model\.onnx.*visum export BUNDLE"):
        target.load({"model.onnx": made.SerializeToString()})(np.zeros((1, 8, 8, 3), np.uint8))


CHILD = """
import sys
from pathlib import Path
from visum.errors import VisumError
from visum.ship.export import onnx
for line in sys.stdin:
    try:
        onnx.load({"model.onnx": Path(line.strip()).read_bytes()})
        print("ok", flush=True)
    except VisumError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.mark.slow
def test_two_thousand_flipped_files_hurt_nobody_but_a_child(data: bytes, tmp_path: Path) -> None:
    """One to four bytes of each are others; a child that dies is replaced, and every file has an outcome."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(2000):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 1 + number % 4):
            broken[at] ^= int(rng.integers(1, 256))
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(broken)
    outcomes: list[str] = []
    deaths = 0
    while len(outcomes) < len(paths):
        left = paths[len(outcomes) :]
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input="\n".join(map(str, left)),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout.split()
        outcomes += said
        if len(said) < len(left):
            assert done.returncode < 0, done.stderr[-2000:]  # a signal, and no error that nobody foresaw
            outcomes.append("died")
            deaths += 1
            assert deaths < 100
    assert len(outcomes) == 2000
    assert set(outcomes) <= {"ok", "BundleError", "UnsafeFile", "died"}
    assert outcomes.count("BundleError") > 100
