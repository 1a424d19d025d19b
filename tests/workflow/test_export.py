"""``visum export`` from end to end: a real network, its own bundle's answers, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import visum
from visum.data.decode import decode
from visum.errors import BundleError, ModelError, NotEnoughData, RecipeError, UsageError
from visum.models import predict as running
from visum.ship import bundle as bundles
from visum.ship import verify as proof
from visum.ship.export import EXPORTERS, RUNNERS, folder, quantise, reference
from visum.types import Bundle, Manifest
from visum.workflow import candidate, held, students
from visum.workflow import export as exporting
from visum.workflow.export import export
from visum.workflow.outcome import Run
from visum.workflow.students import Kind

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def shipped(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged network with its cats, dogs and cups at 64 px, as a bundle with the three photos as golden images."""
    base, kept = running.imagenet(), [*range(151, 170), *range(281, 286), 504, 967, 968]
    head = {name: np.ascontiguousarray(base.weights[name][..., kept]) for name in ("head.weight", "head.bias")}
    classes = tuple(base.classes[k] for k in kept)
    spec = replace(base.preprocess, size=64)
    bundle = replace(base, preprocess=spec, classes=classes, weights={**base.weights, **head})
    place = tmp_path_factory.mktemp("shipped")
    golden = []
    for name, picture in photos.items():
        Image.fromarray(picture).save(place / f"{name}.jpg")
        golden.append(
            (f"{name}.jpg", (place / f"{name}.jpg").read_bytes(), np.full(len(kept), 1 / len(kept), np.float32))
        )
    bundles.write(bundle, place / "run" / "bundle", golden)
    return place / "run" / "bundle"


@pytest.fixture(scope="module")
def made(shipped: Path) -> exporting.Exported:
    return export(shipped)


def test_it_lies_beside_the_bundle_and_verifies(shipped: Path, made: exporting.Exported) -> None:
    assert made.folder == (shipped.parent / "exports" / "onnx").resolve()
    assert (made.target, made.precision, made.images) == ("onnx", "float32", 3)
    assert made.largest_difference <= 1e-5
    assert made.tried[0].megabytes == pytest.approx((made.folder / "model.onnx").stat().st_size / 1e6)
    found = visum.verify(made.folder)
    assert found.passed
    assert (found.images, found.tolerance) == (3, 1e-4)
    told = folder.read(made.folder)
    assert told.bundle == bundles.digest(shipped)
    assert told.classes == bundles.read(shipped).classes


def test_photos_get_the_bundles_answers(made: exporting.Exported, shipped: Path, photos: Photos) -> None:
    """At their own sizes, where a sample may fall either way on a half."""
    run = RUNNERS["onnx"](folder.read(made.folder).files)
    got = np.concatenate([run(photo[None]) for photo in photos.values()])
    answers = visum.load(shipped, engine="onnxruntime").predict(list(photos.values()))
    wanted = np.stack([answer.probabilities for answer in answers])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-3)
    assert got.argmax(1).tolist() == wanted.argmax(1).tolist()


def test_an_export_is_verified_by_its_own_runtime(made: exporting.Exported) -> None:
    with pytest.raises(UsageError, match="--engine torch for an export"):
        visum.verify(made.folder, engine="torch")


@pytest.mark.slow
def test_the_command_says_what_came_of_it(shipped: Path, tmp_path: Path) -> None:
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"

    def visum_(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    done = visum_("export", str(shipped), "--to", "onnx", "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["folder"], told["target"]) == (str(tmp_path / "out"), "onnx")
    done = visum_("verify", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "All 3 golden images are answered as when the export was made" in done.stdout
    (tmp_path / "out" / "model.onnx").write_bytes(b"x")
    done = visum_("verify", str(tmp_path / "out"), "--json")
    assert done.returncode == 4
    assert "model.onnx is not the file that was written" in json.loads(done.stdout)["error"]


def test_a_classical_bundle_is_refused_before_any_work(run: Run) -> None:
    assert bundles.read(run.bundle).architecture["kind"] == "classical"
    with pytest.raises(
        BundleError, match=r"which is no network.*Allowed: networks with a linear.*visum predict BUNDLE"
    ):
        export(run.bundle)
    assert not (run.folder / "exports").exists()


def test_what_cannot_be_is_said_before_any_work(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"to.*onnx"):
        export(shipped, to="abacus")  # type: ignore[arg-type]
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds other files than an export"):
        export(shipped, out=tmp_path)
    bundles.write(bundles.read(shipped), tmp_path / "bare", [])
    with pytest.raises(BundleError, match="has no golden images"):
        export(tmp_path / "bare")


def test_an_exporter_that_is_wrong_writes_nothing(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(bundle: Bundle, *rest: Any) -> dict[str, bytes]:
        turned = {**bundle.weights, "head.bias": bundle.weights["head.bias"][::-1].copy()}
        return right(replace(bundle, weights=turned), *rest)

    right = EXPORTERS["onnx"]
    monkeypatch.setitem(EXPORTERS, "onnx", wrong)
    with pytest.raises(ModelError, match="does not answer as the bundle does"):
        export(shipped, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_golden_pictures_halve_exactly(photos: Photos) -> None:
    from visum.data.pixels import fit
    from visum.types import Preprocess

    picture = photos["coffee"]
    for way, sides in (("pad", (86, 128)), ("crop", (128, 192)), ("squash", (128, 128))):
        spec = Preprocess(size=64, fit=way)  # type: ignore[arg-type]
        small = reference.halving(picture, spec)
        assert small.shape[:2] == sides
        assert fit(small, spec).shape == (64, 64, 3)
        np.testing.assert_array_equal(decode(reference.png(small)).pixels, small)
    assert reference.halving(picture[:1, :300], Preprocess(size=64)).shape == (2, 128, 3)


def test_every_target_can_be_asked_for() -> None:
    from typing import get_args

    assert set(get_args(exporting.Target)) == set(EXPORTERS) == set(RUNNERS)


@pytest.fixture(scope="module")
def cats_and_cups(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled pieces of the photos, of classes that the bundle knows."""
    root = tmp_path_factory.mktemp("cats-and-cups")
    for name, label in (("chelsea", "Egyptian cat"), ("coffee", "espresso")):
        (root / label).mkdir()
        for number in range(13):
            at = 6 * number
            Image.fromarray(photos[name][at : at + 220, at : at + 280]).save(root / label / f"{number}.png")
    return root


def test_a_lower_precision_needs_images(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"no run lies around.*--data DATA"):
        export(shipped, int8=True)
    with pytest.raises(UsageError, match="--int8 and --bf16"):
        export(shipped, int8=True, bf16=True)
    with pytest.raises(UsageError, match=r"--to torch in int8\. Allowed: float32, bf16"):
        export(shipped, to="torch", int8=True)


def test_images_that_are_gone_are_told(run: Run, tmp_path: Path) -> None:
    bundle = bundles.read(run.bundle)
    found = held.validation(run.folder, bundle, None)
    assert len(found) == int((Manifest.load(run.folder / "manifest.parquet").splits == "validation").sum())
    rows_ = Manifest.load(run.folder / "manifest.parquet")
    (tmp_path / "bundle").mkdir()
    replace(rows_, root=str(tmp_path)).save(tmp_path / "manifest.parquet")
    with pytest.raises(NotEnoughData, match=r"validation images are not where they were, first .*--data DATA"):
        held.validation(tmp_path / "bundle", bundle, None)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_int8_is_judged_on_the_users_images(shipped: Path, cats_and_cups: Path, tmp_path: Path, target: Any) -> None:
    done = export(shipped, to=target, int8=True, max_drop=100, data=cats_and_cups, out=tmp_path / "out")
    (only,) = done.tried
    assert (done.precision, only.precision, only.chosen, only.n, only.size) == ("int8", "int8", True, 26, 64)
    assert only.low <= only.change <= only.high
    assert only.megabytes < 6  # of 13.5 in float32
    found = visum.verify(tmp_path / "out")
    assert found.passed, found.message
    assert found.tolerance == pytest.approx(max(0.02, 2 * done.largest_difference))
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (told["precision"], told["notes"]["n"]) == ("int8", 26)


@pytest.mark.slow
def test_what_loses_too_much_falls_back(
    shipped: Path, cats_and_cups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruined(model: Any, squares: Any) -> Any:
        made = quantise.bfloat16(model)
        for tensor in made.graph.initializer:
            if tensor.raw_data and len(tensor.dims) == 4:
                tensor.raw_data = tensor.raw_data[::-1]
        return made

    monkeypatch.setattr(candidate.quantise, "int8", ruined)
    done = export(shipped, int8=True, data=cats_and_cups, out=tmp_path / "out")
    assert [(each.precision, each.chosen) for each in done.tried] == [("int8", False), ("bfloat16", True)]
    assert done.tried[0].change < -0.005 <= done.tried[1].change
    assert done.precision == "bfloat16"
    assert visum.verify(tmp_path / "out").passed


@pytest.mark.slow
def test_the_frontier_is_tried_and_the_best_is_written(shipped: Path, cats_and_cups: Path, tmp_path: Path) -> None:
    done = export(shipped, max_drop=100, target_latency=30.0, data=cats_and_cups, out=tmp_path / "out")
    assert [(each.precision, each.size) for each in done.tried] == [
        (precision, 64) for precision in ("float32", "bfloat16", "int8")
    ]
    assert sum(each.chosen for each in done.tried) == 1
    assert any(each.best for each in done.tried)
    assert visum.verify(tmp_path / "out").passed
    with pytest.raises(
        ModelError, match=r"nothing that was tried will do: float32 at 64 px.*within 0\.1 ms.*--max-drop"
    ):
        export(shipped, target_latency=0.0001, data=cats_and_cups, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_sides_that_are_tried(shipped: Path) -> None:
    base = bundles.read(shipped)
    large = replace(base, preprocess=replace(base.preprocess, size=224))
    assert exporting.plan("torch", "float32", large, True)[:2] == [("float32", Kind(224)), ("bfloat16", Kind(224))]
    assert exporting.plan("onnx", "int8", large, False) == [
        (each, Kind(224)) for each in ("int8", "bfloat16", "float32")
    ]
    probed = replace(large, architecture={key: large.architecture[key] for key in ("kind", "backbone", "stages")})
    assert students.kinds(large) == ()  # its head looks at the network's own last features alone
    ends = [Kind(side, end) for end in ("blocks.6", "blocks.5") for side in (224, 192, 160)]
    assert students.kinds(probed) == (Kind(192), Kind(160), *ends)
    assert exporting.plan("onnx", "float32", probed, True)[3:] == [
        (precision, Kind(side)) for side in (192, 160) for precision in ("float32", "int8")
    ]
    assert len(exporting.plan("onnx", "float32", probed, True, taught=True)) == 3 + 2 * 8


def test_answers_are_those_of_the_thresholds(shipped: Path) -> None:
    base = bundles.read(shipped)
    p = np.array([[0.6, 0.4], [0.4, 0.6]], np.float32)
    two = replace(base, classes=("a", "b"), task="binary", thresholds=(0.3,))
    assert candidate.decided(two, p).tolist() == [1, 1]
    assert candidate.decided(replace(two, thresholds=()), p).tolist() == [0, 1]
    several = replace(base, classes=("a", "b"), task="multilabel", thresholds=(0.5, 0.3))
    assert candidate.decided(several, p).tolist() == [[1, 1], [0, 1]]


@pytest.mark.slow
def test_a_thousand_photos_get_the_same_top_class(clothing: Path, shipped: Path, made: exporting.Exported) -> None:
    """D20: of each photo, the export says what the bundle says of the same pixels; a tie may fall either way."""
    files = sorted(clothing.rglob("*.jpg"))
    chosen = [files[at] for at in np.linspace(0, len(files) - 1, 1000).astype(int)]
    run, classifier = RUNNERS["onnx"](folder.read(made.folder).files), visum.load(shipped, engine="onnxruntime")
    for start in range(0, 1000, 25):
        seen = [np.array(decode(path).pixels) for path in chosen[start : start + 25]]
        for answer, pixels, path in zip(classifier.predict(seen), seen, chosen[start:], strict=False):
            got, wanted = run(pixels[None])[0], answer.probabilities
            assert np.abs(got - wanted).max() < 5e-3, path
            assert wanted.max() - wanted[got.argmax()] <= proof.TIE, path
