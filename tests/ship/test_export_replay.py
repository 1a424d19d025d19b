"""Verifying exports: what was written passes, and any other graph in its place does not, even where the sums were made to fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import export, model, network, sealed_again, written
from numpy.typing import NDArray

from visum.errors import BundleError
from visum.ship.export import folder, replay, whole

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture
def place(tmp_path: Path, photos: Photos) -> Path:
    return written(tmp_path / "onnx", model(), photos)


def graph(place: Path, change: Callable[[Any], None]) -> None:
    """The graph edited, and the sums made to fit."""
    import onnx

    made = onnx.load(place / "model.onnx")
    change(made.graph)
    (place / "model.onnx").write_bytes(made.SerializeToString())
    sealed_again(place)


def channels_swapped(made: Any) -> None:
    turned(made, "pixels", [2, 1, 0], 3)


def turned(made: Any, name: str, order: list[int], axis: int) -> None:
    """Whoever reads ``name`` gets it in another order."""
    from onnx import helper, numpy_helper

    for node in made.node:
        for at, each in enumerate(node.input):
            if each == name and node.op_type != "Shape":
                node.input[at] = "other"
    made.initializer.append(numpy_helper.from_array(np.array(order, np.int64), "order"))
    made.node.insert(0, helper.make_node("Gather", [name, "order"], ["other"], axis=axis))


def classes_reordered(made: Any) -> None:
    from onnx import helper, numpy_helper

    made.node[-1].output[0] = "before"
    made.initializer.append(numpy_helper.from_array(np.array([1, 0, 2], np.int64), "order"))
    made.node.append(helper.make_node("Gather", ["before", "order"], ["probabilities"], axis=1))


def weights_edited(made: Any) -> None:
    """One number of the network, by a fifth."""
    from onnx import numpy_helper

    for tensor in made.initializer:
        if list(tensor.dims) == [3, 3, 3, 3]:
            values = numpy_helper.to_array(tensor).copy()
            values[1, 1, 1, 1] *= 1.2
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_an_export_verifies_wherever_it_is(place: Path) -> None:
    found = replay.verify(place)
    assert found.passed, found.message
    assert found.images == 3
    assert found.largest_difference < 1e-5
    assert "as when the export was made" in found.message
    assert found == replay.replayed(place)


@pytest.mark.parametrize("change", [channels_swapped, classes_reordered, weights_edited])
def test_another_graph_in_its_place_fails(place: Path, change: Callable[[Any], None]) -> None:
    graph(place, change)
    found = replay.replayed(place)
    assert not found.passed
    assert found.largest_difference > 1e-3
    assert "golden images are answered differently" in found.message


@pytest.mark.parametrize(
    "change",
    [{"filter": "bilinear"}, {"fit": "crop"}, {"background": (0, 0, 0)}, {"channels": "BGR", "mean": (1, 2, 3)}],
)
def test_another_preprocessing_fails(place: Path, change: dict[str, Any]) -> None:
    other = replace(model(), preprocess=replace(model().preprocess, **change))
    (place / "model.onnx").write_bytes(whole.model(other, {}, network).SerializeToString())
    sealed_again(place)
    assert not replay.replayed(place).passed


def test_without_new_sums_the_digest_says_it_first(place: Path) -> None:
    sums = (place / "SHA256SUMS").read_text()
    graph(place, weights_edited)
    (place / "SHA256SUMS").write_text(sums)
    with pytest.raises(BundleError, match=r"model\.onnx is not the file that was written"):
        replay.verify(place)


def test_the_tolerance_can_be_another(place: Path) -> None:
    graph(place, weights_edited)
    assert not replay.replayed(place).passed
    assert replay.replayed(place, 0.9).tolerance == 0.9
    assert replay.verify(place, 0.9) == replay.replayed(place, 0.9)


def test_a_stated_number_of_images_may_change_class(tmp_path: Path, photos: Photos) -> None:
    made = export(model(), photos, tolerance=0.999999)
    rolled = tuple((name, data, np.roll(row, 1)) for name, data, row in made.golden[:1]) + made.golden[1:]
    for changed in (0, 1):
        folder.write(replace(made, golden=rolled, changed=changed), tmp_path / "out")
        found = replay.replayed(tmp_path / "out")
        assert found.passed is bool(changed)
        assert found.rows[0].expected != found.rows[0].got


def test_torch_is_not_needed(place: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'timm', 'torchvision')))\n"
        "from visum.ship.export import replay; print(replay.replayed(sys.argv[1]).passed)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_without_golden_images_nothing_is_proven(tmp_path: Path, photos: Photos) -> None:
    place = written(tmp_path / "out", model(), photos, golden=())
    found = replay.replayed(place)
    assert not found.passed
    assert "This export has no golden images" in found.message


def test_errors_of_the_child_are_told(place: Path, tmp_path: Path) -> None:
    (place / "model.onnx").write_bytes(b"\x08\x08" + b"no graph" * 9)
    sealed_again(place)
    with pytest.raises(BundleError, match=r"model\.onnx is not an ONNX graph.*visum export BUNDLE"):
        replay.verify(place)
    with pytest.raises(BundleError, match="does not exist"):
        replay.verify(tmp_path / "nowhere")


def test_a_runtime_that_dies_is_an_error_and_no_more(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The child imports this instead of ONNX Runtime."""
    (tmp_path / "onnxruntime.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BundleError, match=r"the runtime died of SIGSEGV when it loaded"):
        replay.verify(place)


def test_a_graph_that_never_answers_is_given_up(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(replay, "SECONDS", 1.5)
    with pytest.raises(BundleError, match="gave no answer within"):
        replay.verify(place)


def test_a_target_of_another_visum_is_named(place: Path, tmp_path: Path, photos: Photos) -> None:
    folder.write(replace(export(model(), photos), target="quantum"), place)
    with pytest.raises(BundleError, match=r"an export for 'quantum'\. Allowed: onnx"):
        replay.replayed(place)
