"""Bundles: what was written is what is read, and a folder that was touched anywhere is refused by the name of the file."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundled import CLASSES, encoded, golden, model
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from visum import storage
from visum.errors import BundleError, ModelError, StorageError, UnsafeFile
from visum.ship import bundle as bundles
from visum.types import Bundle, Preprocess

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, photos: Photos) -> Path:
    """One sound bundle; tests work on copies of it."""
    bundle = model(photos)
    return bundles.write(bundle, tmp_path_factory.mktemp("run") / "bundle", golden(bundle, photos)).folder or Path()


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "copy"))


def reseal(folder: Path) -> None:
    """What somebody does who edits a bundle and knows of the seal."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / "SHA256SUMS").write_text(sums)


def edit(folder: Path, file: str = "bundle.json", **values: Any) -> None:
    """Change keys of a JSON file in a sealed bundle and seal it again; None removes a key."""
    head = {**json.loads((folder / file).read_text()), **values}
    (folder / file).write_text(json.dumps({k: v for k, v in head.items() if v is not None}))
    reseal(folder)


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- what was written is what is read


def same(a: Bundle, b: Bundle) -> None:
    assert (a.task, a.classes, a.preprocess, a.temperature) == (b.task, b.classes, b.preprocess, b.temperature)
    assert dict(a.architecture) == dict(b.architecture)
    assert a.thresholds == b.thresholds
    assert set(a.weights) == set(b.weights)
    for name, value in a.weights.items():
        assert b.weights[name].dtype == value.dtype
        np.testing.assert_array_equal(b.weights[name], value)
        assert b.weights[name].shape == value.shape


def test_the_round_trip(tmp_path: Path, photos: Photos) -> None:
    bundle = model(photos)
    written = bundles.write(bundle, tmp_path / "run" / "bundle", golden(bundle, photos))
    assert written.folder == tmp_path / "run" / "bundle"
    assert bundle.folder is None
    for folder in (written.folder, str(tmp_path / "run")):
        read = bundles.read(folder)
        same(bundle, read)
        assert read.notes == bundle.notes
        assert read.folder == written.folder
    reference = load_file(written.folder / "weights.safetensors")
    assert set(reference) == set(bundle.weights)


@pytest.mark.parametrize(("task", "classes", "thresholds"), [
    ("binary", ("no", "yes"), (0.25,)), ("binary", ("no", "yes"), ()),
    ("multilabel", ("a", "b", "c"), (0.1, 0.2, 0.0)), ("multilabel", ("only",), (1.0,)), ("multiclass", CLASSES, ()),
])  # fmt: skip
def test_the_round_trip_of_every_task(tmp_path: Path, photos: Photos, task: Any, classes: Any, thresholds: Any) -> None:
    k = len(classes)
    base = model(photos)
    head = {"head.weight": np.ones((3, k), np.float32), "head.bias": np.arange(k, dtype=np.float32)}
    bundle = replace(base, task=task, classes=classes, thresholds=thresholds, weights={**base.weights, **head})
    p = np.full(k, 1.0 if task == "multilabel" else 1 / k, np.float32)
    bundles.write(bundle, tmp_path / "b", [("x.png", encoded(photos["coffee"][:8, :8], "PNG"), p)])
    read, images = bundles.read_golden(tmp_path / "b")
    same(bundle, read)
    np.testing.assert_array_equal(images[0][2], p)


def test_a_model_without_a_backbone(tmp_path: Path, photos: Photos) -> None:
    bundle = model(
        photos,
        architecture={"kind": "classical", "descriptor": "hog", "classifier": "forest"},
        weights={"trees": np.arange(10).reshape(2, 5)[:, ::2]},
    )
    same(bundle, bundles.write(bundle, tmp_path / "b", []))


def test_arrays_in_other_orders_arrive_in_theirs(tmp_path: Path, photos: Photos) -> None:
    base = model(photos)
    odd = {
        "backbone.t": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "backbone.b": np.array([1, 2, 3], ">f4"),
        "backbone.0": np.float64(2.5),
    }
    read = bundles.write(replace(base, weights={**base.weights, **odd}), tmp_path / "b", [])
    for name, value in odd.items():
        np.testing.assert_array_equal(read.weights[name], value)
        assert read.weights[name].shape == np.shape(value)


def test_golden_images_keep_their_bytes_and_their_names_beside_them(sealed: Path, photos: Photos) -> None:
    bundle = model(photos)
    _, read = bundles.read_golden(sealed)
    for (name, data, p), (name_read, data_read, p_read) in zip(golden(bundle, photos), read, strict=True):
        assert data_read == data
        assert name_read == name.encode("utf-8", "backslashreplace").decode()
        np.testing.assert_array_equal(p_read, p)
        assert p_read.dtype == np.float32
    assert sorted(p.name for p in (sealed / "golden").iterdir()) == ["000.jpg", "001.jpg", "002.png", "expected.json"]


def test_coreutils_agrees_with_the_seal(sealed: Path, copy: Path) -> None:
    check = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(check, cwd=sealed, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    listed = {line.rsplit(":", 1)[0] for line in done.stdout.splitlines()}
    assert listed == set(state(sealed)) - {"SHA256SUMS"}
    (copy / "MODEL_CARD.md").write_text("edited")
    assert subprocess.run(check, cwd=copy, capture_output=True, check=False).returncode == 1


def test_the_same_model_has_the_same_digest_and_another_has_not(tmp_path: Path, photos: Photos, sealed: Path) -> None:
    bundle = model(photos)
    again = bundles.write(bundle, tmp_path / "b", golden(bundle, photos))
    assert bundles.digest(again) == bundles.digest(sealed) == bundles.digest(sealed.parent)
    assert bundles.digest(again) == hashlib.sha256((sealed / "SHA256SUMS").read_bytes()).hexdigest()
    other = bundles.write(replace(bundle, temperature=0.76), tmp_path / "c", golden(bundle, photos))
    assert bundles.digest(other) != bundles.digest(again)
    with pytest.raises(BundleError, match="not written yet"):
        bundles.digest(bundle)


# ---- what was touched is refused


FILES = (
    "weights.safetensors",
    "bundle.json",
    "golden/000.jpg",
    "golden/002.png",
    "golden/expected.json",
    "MODEL_CARD.md",
)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_anywhere_is_refused_by_name(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    rng = np.random.default_rng(0)
    for at in {0, 1, len(whole) // 2, len(whole) - 1, *rng.integers(0, len(whole), 20).tolist()}:
        blob = bytearray(whole)
        blob[at] ^= int(rng.integers(1, 256))
        (copy / name).write_bytes(blob)
        with pytest.raises(BundleError, match=name):
            bundles.read(copy)
    for blob in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\n"):
        (copy / name).write_bytes(blob)
        with pytest.raises(BundleError, match=name):
            bundles.read(copy)
    (copy / name).write_bytes(whole)
    bundles.read(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} does not exist"):
        bundles.read(copy)


def test_every_changed_byte_of_the_seal_is_refused(copy: Path) -> None:
    whole = (copy / "SHA256SUMS").read_bytes()
    for at in range(len(whole)):
        blob = bytearray(whole)
        blob[at] ^= 1 + at % 127
        (copy / "SHA256SUMS").write_bytes(blob)
        with pytest.raises(BundleError):
            bundles.read(copy)
    for blob in (b"", whole[: len(whole) // 2], whole + whole.splitlines(True)[0]):
        (copy / "SHA256SUMS").write_bytes(blob)
        with pytest.raises(BundleError):
            bundles.read(copy)
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="SHA256SUMS does not exist"):
        bundles.read(copy)


def _link(folder: Path) -> None:
    (folder / "bundle.json").rename(folder.parent / "elsewhere.json")
    (folder / "bundle.json").symlink_to(folder.parent / "elsewhere.json")


def _link_golden(folder: Path) -> None:
    (folder / "golden").rename(folder.parent / "elsewhere")
    (folder / "golden").symlink_to(folder.parent / "elsewhere")


def _swap(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["head.bias"] = tensors["head.bias"][::-1].copy()
    (folder / "weights.safetensors").write_bytes(save(tensors))


def _classes(folder: Path) -> None:
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"astronaut"', '"cosmonaut"'))


def _swap_golden(folder: Path) -> None:
    a, b = folder / "golden" / "000.jpg", folder / "golden" / "001.jpg"
    a.rename(folder / "golden" / "x")
    b.rename(a)
    (folder / "golden" / "x").rename(b)


def _unlisted(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines(True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if "MODEL_CARD" not in line))


def _listed_outside(folder: Path) -> None:
    (folder.parent / "outside.txt").write_text("secret")
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{hashlib.sha256(b'secret').hexdigest()}  ../outside.txt\n")


TOUCHES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights of another model": (_swap, "weights.safetensors is not the file that was written"),
    "edited classes": (_classes, "bundle.json is not the file that was written"),
    "golden images change places": (_swap_golden, r"golden/00\d.jpg is not the file"),
    "an extra file": (lambda f: (f / "run.sh").write_text("x"), "'run.sh' is extra"),
    "an extra hidden file": (lambda f: (f / ".x").write_text("x"), "'.x' is extra"),
    "an extra golden image": (
        lambda f: shutil.copy(f / "golden/000.jpg", f / "golden/004.jpg"),
        "golden/004.jpg' is extra",
    ),
    "a hostile name": (lambda f: (f / "a\n\x1b[31m").write_text("x"), r"'a\\n\\x1b\[31m' is extra"),
    "a sub-folder": (lambda f: (f / "more").mkdir(), "'more' is a folder"),
    "a folder in golden": (lambda f: (f / "golden" / "more").mkdir(), "'golden/more' is a folder"),
    "a link to a file": (_link, "bundle.json is a link"),
    "a link to the golden images": (_link_golden, "'golden' is a link"),
    "a link as an extra": (lambda f: (f / "a").symlink_to("/etc/passwd"), "'a' is a link"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "'pipe' is extra"),
    "a file that is not listed": (_unlisted, "MODEL_CARD.md is not in SHA256SUMS"),
    "a file outside": (_listed_outside, "not a checksum"),
    "a listed stranger": (lambda f: ((f / "extra.py").write_text("x"), reseal(f)), "extra.py does not belong"),
}


@pytest.mark.parametrize("name", TOUCHES)
def test_a_touched_folder_is_refused_by_name(copy: Path, name: str) -> None:
    touch, words = TOUCHES[name]
    touch(copy)
    with pytest.raises(BundleError, match=words):
        bundles.read(copy)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("place", [*FILES, "model.pkl", "golden/003.jpg"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_inside_is_refused_even_when_it_is_sealed(
    copy: Path, tmp_path: Path, place: str, zipped: bool
) -> None:
    marker, blob = tmp_path / "ran", pickle.dumps(Payload(tmp_path / "ran"))
    if zipped:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("archive/data.pkl", blob)
        blob = out.getvalue()
    (copy / place).write_bytes(blob)
    with pytest.raises(UnsafeFile, match=rf"{place} is a (Python pickle|PyTorch file)"):
        bundles.read(copy)
    reseal(copy)
    with pytest.raises(BundleError, match=place):
        bundles.read(copy)
    assert not marker.exists()


def test_a_pickle_in_the_place_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(UnsafeFile, match="pickle"):
        bundles.read(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_bundle_is_told_what_would_be_one(tmp_path: Path, pictures: Path) -> None:
    for path, words in (
        (tmp_path / "no", "does not exist"),
        (pictures, "has no bundle"),
        (Path("a\0b"), "no path"),
    ):
        with pytest.raises(BundleError, match=rf"(?s){words}.*bundle\.json and SHA256SUMS.*visum train"):
            bundles.read(path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(BundleError, match="is a file"):
        bundles.read(tmp_path / "a.txt")


@pytest.fixture
def pictures(tmp_path: Path, photos: Photos) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.jpg").write_bytes(encoded(photos["chelsea"]))
    return tmp_path / "pictures"


def test_a_link_that_was_typed_is_followed(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(sealed)
    assert bundles.read(tmp_path / "current").folder == sealed


def test_a_bundle_that_is_replaced_while_it_is_used_stays_what_it_was(copy: Path) -> None:
    bundle = bundles.read(copy)
    before = bundle.weights["head.weight"].copy()
    with (copy / "weights.safetensors").open("r+b") as file:
        file.truncate(16)
    np.testing.assert_array_equal(bundle.weights["head.weight"], before)


# ---- sealed, but its parts do not fit


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "two classes for a head of three": ({"classes": ["a", "b"]}, r"head\.weight is float32 \[3, 3\], wanted float32 \[D, 2\]"),
    "four classes for a head of three": ({"classes": list("abcd")}, r"head\.bias is float32 \[3\], wanted float32 \[4\]"),
    "one class": ({"classes": ["a"]}, "1 classes, wanted 2 or more"),
    "no class": ({"classes": []}, "0 classes"),
    "a class twice": ({"classes": ["a", "a", "b"]}, "two classes of one name"),
    "classes that are numbers": ({"classes": [1, 2, 3]}, "not text"),
    "classes that are no list": ({"classes": "abc"}, "classes is 'abc'"),
    "no classes": ({"classes": None}, "classes is None"),
    "an unknown task": ({"task": "regression"}, "task 'regression', wanted binary, multiclass, multilabel"),
    "a task that is a list": ({"task": ["binary"]}, "task is"),
    "binary of three": ({"task": "binary"}, "3 classes, wanted 2 for binary"),
    "too few thresholds": ({"task": "multilabel", "thresholds": [0.5, 0.5]}, "2 thresholds, wanted 3"),
    "thresholds where none belong": ({"thresholds": [0.5, 0.5, 0.5]}, "3 thresholds, wanted none"),
    "a threshold over 1": ({"task": "multilabel", "thresholds": [0.5, 0.5, 1.5]}, "thresholds outside"),
    "a threshold that is text": ({"task": "multilabel", "thresholds": ["a", 0.5, 0.5]}, "thresholds outside"),
    "temperature 0": ({"temperature": 0}, "temperature 0, wanted a number over 0"),
    "a negative temperature": ({"temperature": -1.5}, "temperature -1.5"),
    "a temperature that is text": ({"temperature": "1"}, "temperature '1'"),
    "a temperature that is true": ({"temperature": True}, "temperature True"),
    "no temperature": ({"temperature": None}, "temperature None"),
    "no kind": ({"architecture": {}}, "architecture of kind None"),
    "no backbone": ({"architecture": {"kind": "probe", "stages": []}}, "without the name of its backbone"),
    "no stages": ({"architecture": {"kind": "probe", "backbone": "x"}}, "stages None"),
    "stages of numbers": ({"architecture": {"kind": "probe", "backbone": "x", "stages": [1]}}, r"stages \[1\]"),
    "notes that are text": ({"notes": "x"}, "notes is 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_parts_that_do_not_fit_are_refused_even_when_they_are_sealed(copy: Path, name: str) -> None:
    values, words = MISFITS[name]
    edit(copy, **values)
    with pytest.raises(BundleError, match=words):
        bundles.read(copy)


SPECS: dict[str, Any] = {
    "size": [0, -1, 5000, 2.5, "224", True, None], "fit": ["stretch", 1, ["pad"], {}], "filter": ["nearest"],
    "channels": ["GRB"], "background": [[0, 0], [0, 0, 256], [0.5, 0, 0], "abc"], "mean": [[1, 2], ["a", 1, 2], 3],
    "std": [[1, 1, 0], [1, 1, -1], [1, 1, True]],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in SPECS.items() for v in values])
def test_a_preprocessing_that_cannot_be_is_refused(copy: Path, field: str, value: Any) -> None:
    spec = json.loads((copy / "bundle.json").read_text())["preprocess"]
    edit(copy, preprocess={**spec, field: value})
    with pytest.raises(BundleError, match="input size" if field == "size" else rf"; {field} |fit: {field} "):
        bundles.read(copy)


def test_a_preprocessing_with_other_words_is_refused(copy: Path) -> None:
    spec = json.loads((copy / "bundle.json").read_text())["preprocess"]
    for changed in ({**spec, "gamma": 2}, {k: v for k, v in spec.items() if k != "std"}):
        edit(copy, preprocess=changed)
        with pytest.raises(BundleError, match="preprocess has"):
            bundles.read(copy)


def test_a_newer_format_says_who_wrote_it_and_what_to_do(copy: Path) -> None:
    (copy / "future").mkdir()
    (copy / "future" / "x.bin").write_bytes(b"x")
    edit(copy, format=2, visum="7.5")
    words = r"written by visum '7\.5' with format 2; this one \(.*\) reads up to 1\. Try: pip install -U visum"
    with pytest.raises(BundleError, match=words):
        bundles.read(copy)


@pytest.mark.parametrize("number", [None, 0, "1", 1.0, True, -3])
def test_a_format_that_never_was(copy: Path, number: Any) -> None:
    edit(copy, format=number)
    with pytest.raises(BundleError, match="is of format"):
        bundles.read(copy)


@pytest.mark.parametrize("text", ["[]", "{", "1", '{"format":1,"format":1}', "[" * 10000, '{"format":1e999}'])
def test_a_head_that_is_no_head(copy: Path, text: str) -> None:
    (copy / "bundle.json").write_text(text)
    reseal(copy)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        bundles.read(copy)


@pytest.mark.parametrize(("change", "words"), [
    (lambda e: e["images"].pop(), "and the images beside it differ"),
    (lambda e: e["images"].append(e["images"][0]), "and the images beside it differ"),
    (lambda e: e.update(images=1), "not a list of images"),
    (lambda e: e.clear(), "not a list of images"),
    (lambda e: e["images"][0].pop("name"), "not a list of images"),
    (lambda e: e["images"][0].update(file="../bundle.json"), "differ"),
    (lambda e: e["images"][0].update(probabilities=[0.5, 0.5]), r"000\.jpg: probabilities of shape \[2\], wanted \[3\]"),
    (lambda e: e["images"][0].update(probabilities=[0.5, 0.5, "x"]), "000.jpg: probabilities of shape"),
    (lambda e: e["images"][0].update(probabilities=[2, -1, 0]), "outside of 0"),
    (lambda e: e["images"][0].update(probabilities=[0.5, 0.1, 0.1]), "do not sum to 1"),
    (lambda e: e["images"][0].update(probabilities=None), "000.jpg"),
])  # fmt: skip
def test_golden_expectations_that_cannot_be(copy: Path, change: Callable[[Any], Any], words: str) -> None:
    expected = json.loads((copy / "golden/expected.json").read_text())
    change(expected)
    (copy / "golden/expected.json").write_text(json.dumps(expected))
    reseal(copy)
    with pytest.raises(BundleError, match=words):
        bundles.read(copy)


def test_a_golden_image_that_is_none(copy: Path) -> None:
    (copy / "golden/001.jpg").write_text("<html>")
    reseal(copy)
    with pytest.raises(BundleError, match=r"golden/001\.jpg is not a picture"):
        bundles.read(copy)


@pytest.mark.parametrize(("tensors", "words"), [
    ({"head.weight": None}, "no tensor head.weight"),
    ({"head.weight": np.zeros((3, 3))}, "head.weight is float64"),
    ({"head.weight": np.zeros((3, 3, 3), np.float32)}, "head.weight is float32"),
    ({"head.weight": np.zeros((0, 3), np.float32)}, "head.weight is float32"),
    ({"head.bias": np.array([0, np.nan, 0], np.float32)}, "head.bias is NaN or infinite"),
    ({"backbone.std": np.array([np.inf], np.float16)}, "backbone.std is NaN or infinite"),
    ({f"backbone.{n}": None for n in ("mean", "std", "seen", "halves", "mask")}, "without the weights of its backbone"),
])  # fmt: skip
def test_weights_that_do_not_fit(copy: Path, tensors: dict[str, Any], words: str) -> None:
    changed = {**load_file(copy / "weights.safetensors"), **tensors}
    (copy / "weights.safetensors").write_bytes(save({k: v for k, v in changed.items() if v is not None}))
    reseal(copy)
    with pytest.raises(BundleError, match=words):
        bundles.read(copy)


def test_weights_that_are_cut_and_sealed(copy: Path) -> None:
    (copy / "weights.safetensors").write_bytes((copy / "weights.safetensors").read_bytes()[:-1])
    reseal(copy)
    with pytest.raises(BundleError, match=r"weights\.safetensors is cut short"):
        bundles.read(copy)


# ---- writing


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path, photos: Photos) -> None:
    base = model(photos)
    bad = {"backbone.w": np.array([1, np.nan], np.float32), "backbone.v": np.array([-np.inf], np.float16)}
    with pytest.raises(ModelError, match=r"NaN or infinite in backbone\.w, backbone\.v\."):
        bundles.write(replace(base, weights={**base.weights, **bad}), tmp_path / "b", [])
    with pytest.raises(ModelError, match=r"tensor 'o' is of object"):
        bundles.write(replace(base, weights={**base.weights, "o": np.array([None])}), tmp_path / "b", [])
    assert not list(tmp_path.iterdir())


def test_all_faults_are_told_at_once_and_nothing_is_written(tmp_path: Path, photos: Photos) -> None:
    bundle = model(photos, temperature=float("nan"), classes=("a", "a"), preprocess=Preprocess(size=0))
    with pytest.raises(BundleError, match=r"one name; input size 0.*; temperature nan.*; head\.weight.*; head\.bias"):
        bundles.write(bundle, tmp_path / "b", [])
    with pytest.raises(BundleError, match="not Unicode"):
        bundles.write(model(photos, classes=("a", "b", "\udcff")), tmp_path / "b", [])
    with pytest.raises(BundleError, match=r"'x\.jpg' is not a picture"):
        bundles.write(model(photos), tmp_path / "b", [("x.jpg", b"text", np.ones(3, np.float32) / 3)])
    with pytest.raises(BundleError, match=r"'x.jpg': probabilities of shape \[2\]"):
        bundles.write(model(photos), tmp_path / "b", [("x.jpg", encoded(photos["coffee"]), np.ones(2, np.float32) / 2)])
    assert not list(tmp_path.iterdir())


def test_a_golden_image_that_could_not_be_read_back_is_refused_first(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = model(photos)
    largest = max(len(data) for _, data, _ in golden(bundle, photos))
    monkeypatch.setattr(bundles.seal, "TEXT_BYTES", largest - 1)
    with pytest.raises(BundleError, match=rf"golden image .* has {largest:,} bytes"):
        bundles.write(bundle, tmp_path / "b", golden(bundle, photos))
    assert not list(tmp_path.iterdir())


def test_only_a_bundle_is_replaced(tmp_path: Path, photos: Photos, pictures: Path) -> None:
    before = state(pictures)
    with pytest.raises(BundleError, match="holds other files than a bundle"):
        bundles.write(model(photos), pictures, [])
    assert state(pictures) == before
    with pytest.raises(BundleError, match="is not a folder"):
        bundles.write(model(photos), pictures / "cat.jpg", [])
    (tmp_path / "empty").mkdir()
    bundles.write(model(photos), tmp_path / "empty", [])
    bundles.write(model(photos, temperature=2.0), tmp_path / "empty", [])
    assert bundles.read(tmp_path / "empty").temperature == 2


@pytest.mark.parametrize("step", range(1, 9))
def test_a_full_disk_at_any_of_eight_files_leaves_the_old_bundle(
    copy: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before, calls, real = state(copy), [0], os.fsync

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    bundle = model(photos, temperature=3.0)
    with pytest.raises(StorageError, match="no space left"):
        bundles.write(bundle, copy, golden(bundle, photos))
    assert state(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_limit_of_the_kernel_leaves_the_old_bundle(copy: Path, photos: Photos) -> None:
    before, bundle = state(copy), model(photos, temperature=3.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match="no space left"):
            bundles.write(bundle, copy, golden(bundle, photos))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert state(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_bundle_that_cannot_be_read_back_never_replaces_one(
    copy: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = state(copy), storage.write_atomic

    def lossy(path: Path, data: bytes | str) -> None:
        real(path, data[:-1] if str(path).endswith(".safetensors") else data)

    monkeypatch.setattr(storage, "write_atomic", lossy)
    with pytest.raises(BundleError, match="cut short"):
        bundles.write(model(photos, temperature=3.0), copy, [])
    assert state(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_an_export_is_told_from_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{}")
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(BundleError, match=r"is an export, .*Allowed: the bundle that it was made from.*visum verify"):
        bundles.read(tmp_path)
