"""An export's folder: what is written is read back, and whatever was edited, added or linked is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import export, model, sealed_again, written
from numpy.typing import NDArray

from visum.errors import BundleError, UnsafeFile
from visum.ship.export import folder

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture
def place(tmp_path: Path, photos: Photos) -> Path:
    return written(tmp_path / "onnx", model(), photos)


def edited(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """``export.json`` changed, and the sums made to fit."""
    told = json.loads((place / "export.json").read_text())
    change(told)
    (place / "export.json").write_text(json.dumps(told))
    sealed_again(place)


def test_what_is_written_is_read_back(tmp_path: Path, photos: Photos) -> None:
    made = export(model(), photos, notes={"megabytes": 1.5})
    folder.write(made, tmp_path / "out")
    found = folder.read(tmp_path / "out")
    assert found.folder == (tmp_path / "out").resolve()
    assert found.files == made.files
    assert (found.classes, found.thresholds, found.bundle) == (made.classes, made.thresholds, made.bundle)
    assert (found.tolerance, found.changed, found.notes) == (made.tolerance, made.changed, made.notes)
    for (name, data, row), (name2, data2, row2) in zip(found.golden, made.golden, strict=True):
        assert (name, data) == (name2, data2)
        np.testing.assert_allclose(row, row2, rtol=0, atol=1e-7)
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["input"] == {
        "name": "pixels",
        "type": "uint8",
        "shape": ["images", "height", "width", 3],
        "channels": "RGB",
    }
    assert told["output"]["shape"] == ["images", 3]


def test_an_older_export_is_replaced_and_nothing_else(place: Path, tmp_path: Path, photos: Photos) -> None:
    folder.write(export(model(5), photos), place)
    assert folder.read(place).files == export(model(5), photos).files
    for other in (photos_of(tmp_path / "mine"), tmp_path / "mine" / "a.txt"):
        with pytest.raises(BundleError, match="Allowed: a new or empty folder, or an older export"):
            folder.write(export(model(), photos), other)
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "onnx"]


def photos_of(path: Path) -> Path:
    path.mkdir()
    (path / "a.txt").write_text("mine")
    return path


@pytest.mark.parametrize("name", ["model.onnx", "export.json", "golden/000.png", "golden/expected.json"])
def test_an_edited_file_is_refused_by_name(place: Path, name: str) -> None:
    data = bytearray((place / name).read_bytes())
    data[len(data) // 2] ^= 1
    (place / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name.replace('.', '[.]')} is not the file that was written"):
        folder.read(place)


def test_extra_missing_and_linked_files_are_refused(place: Path, tmp_path: Path) -> None:
    (place / "extra.txt").write_text("x")
    with pytest.raises(BundleError, match=r"extra\.txt' is extra"):
        folder.read(place)
    sealed_again(place)
    with pytest.raises(BundleError, match=r"extra\.txt does not belong here"):
        folder.read(place)
    (place / "extra.txt").unlink()
    sealed_again(place)
    shutil.move(place / "model.onnx", tmp_path / "elsewhere.onnx")
    (place / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx' is a link"):
        folder.read(place)
    (place / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx does not exist.*visum export"):
        folder.read(place)


def test_a_pickle_that_calls_itself_a_graph_is_refused(place: Path) -> None:
    import pickle

    (place / "model.onnx").write_bytes(pickle.dumps({"a": 1}))
    sealed_again(place)
    with pytest.raises(UnsafeFile, match="a Python pickle"):
        folder.read(place)


def test_a_newer_format_says_who_wrote_it(place: Path) -> None:
    edited(place, lambda told: told.update(format=2, visum="9.9"))
    with pytest.raises(BundleError, match=r"written by visum '9\.9' with format 2.*pip install -U visum"):
        folder.read(place)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["a", "b"]}, r"probabilities of shape \[3\], wanted \[2\]"),
        ({"classes": ["c", "b", "a"]}, r"golden/00\d\.png is '[abc]'"),
        ({"classes": "abc"}, "classes is 'abc'"),
        ({"classes": ["a", "a", "b"]}, "two classes of one name"),
        ({"tolerance": 2}, "tolerance 2"),
        ({"tolerance": True}, "tolerance True"),
        ({"precision": "float8"}, "precision 'float8'"),
        ({"background": [1, 2]}, "background"),
        ({"task": "regression"}, "task 'regression'"),
        ({"changed": "8"}, "changed is '8'"),
        ({"target": None}, "target is None"),
    ],
)
def test_parts_that_do_not_fit_are_named(place: Path, change: dict[str, Any], words: str) -> None:
    edited(place, lambda told: told.update(change))
    with pytest.raises(BundleError, match=words):
        folder.read(place)


def test_what_is_no_export_is_told_what_is_one(tmp_path: Path, photos: Photos) -> None:
    with pytest.raises(BundleError, match=r"does not exist.*visum export BUNDLE --to onnx"):
        folder.read(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="has no export in it"):
        folder.read(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BundleError, match="is a file"):
        folder.read(tmp_path / "file")
    assert not folder.is_export("\0")
    broken = replace(export(model(), photos), golden=(("a.png", b"no picture", np.ones(3, np.float32) / 3),))
    with pytest.raises(BundleError, match="is not a picture"):
        folder.write(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()
