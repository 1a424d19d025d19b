"""Judging a bundle: the same data gives the same metrics, the bundle's classes rule, looks at the test images are counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score

from visum.errors import DataError, NotEnoughData, RecipeError, StorageError, VisumError
from visum.storage import finite
from visum.types import Predictions, decisions
from visum.workflow.evaluate import evaluate
from visum.workflow.outcome import Run
from workflow.helping import facts


@pytest.fixture
def own(run: Run, tmp_path: Path) -> Path:
    """A copy of the run, since judging its test images is written down in it."""
    shutil.copytree(run.folder, tmp_path / "run")
    return tmp_path / "run"


def test_the_same_images_give_the_metrics_of_the_run(own: Path, split_digits: Path) -> None:
    for split in ("validation", "test"):
        found = evaluate(own / "bundle", split_digits, split=split)  # type: ignore[arg-type]
        assert finite(found.metrics) == facts(own, "metrics.json")["splits"][split]
        assert found.split == split
        assert found.trained_on == 0
    assert evaluate(own, split_digits).split == "test"


def test_each_look_at_the_sealed_images_is_counted(own: Path, split_digits: Path) -> None:
    evaluate(own / "bundle", split_digits)
    evaluate(own, split_digits, split="test")
    assert facts(own)["test_openings"] == 3
    evaluate(own, split_digits, split="validation")
    assert facts(own)["test_openings"] == 3
    shutil.move(own / "bundle", own.parent / "shipped")
    evaluate(own.parent / "shipped", split_digits)
    assert facts(own)["test_openings"] == 3


def test_images_that_were_trained_on_are_told(own: Path, split_digits: Path) -> None:
    found = evaluate(own, split_digits, split="train")
    assert found.trained_on == len(found.predictions) == facts(own)["data"]["splits"]["train"]


def test_what_silence_would_be_worth_is_told_where_images_suffice(own: Path, split_digits: Path) -> None:
    found = evaluate(own, split_digits)
    assert found.risk is not None
    assert found.risk["n"] == len(found.predictions) >= 50
    assert found.risk["risk"]["value"] == pytest.approx(1 - found.metrics["metrics"]["accuracy"]["value"])
    assert {each["name"] for each in found.risk["measures"]} == {"max_softmax", "margin", "entropy"}
    shutil.rmtree(few := own.parent / "few", ignore_errors=True)
    for digit in ("1", "2"):
        shutil.copytree(split_digits / "test" / digit, few / digit)
    assert evaluate(own, few).risk is None


def test_what_is_written_is_what_was_found(own: Path, split_digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged"
    found = evaluate(own, split_digits, out=out)
    written = json.loads((out / "metrics.json").read_text())
    assert written["splits"] == {"test": finite(found.metrics)}
    assert (written["task"], written["classes"]) == ("multiclass", [str(digit) for digit in range(10)])
    said = Predictions.load(out / "predictions", "test")
    assert accuracy_score(said.labels, decisions(said)) == found.metrics["metrics"]["accuracy"]["value"]


def test_folders_of_some_classes_are_judged_in_the_order_of_the_bundle(own: Path, digits: Path, tmp_path: Path) -> None:
    for name in ("8", "2"):
        shutil.copytree(digits / name, tmp_path / "some" / name)
    found = evaluate(own, tmp_path / "some")
    assert found.split == ""
    counts = [each["n"] for each in found.metrics["per_class"]]
    assert [number for number, count in enumerate(counts) if count] == [2, 8]
    assert found.metrics["metrics"]["accuracy"]["value"] > 0.85


def test_a_class_that_the_bundle_does_not_know(own: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "8", tmp_path / "some" / "eight")
    shutil.copytree(digits / "2", tmp_path / "some" / "2")
    with pytest.raises(DataError, match="eight"):
        evaluate(own, tmp_path / "some")


def test_unreadable_images_are_told_and_left_out(own: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "8", tmp_path / "some" / "8")
    shutil.copytree(digits / "2", tmp_path / "some" / "2")
    (tmp_path / "some" / "2" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = evaluate(own, tmp_path / "some")
    assert [name for name, _ in found.unreadable] == ["2/bad.png"]
    assert len(found.predictions) == len(list((tmp_path / "some").rglob("0*.png")))
    for path in (tmp_path / "some").rglob("0*.png"):
        path.write_bytes(b"")
    with pytest.raises(NotEnoughData, match=r"none of \d+ files could be read.*visum doctor"):
        evaluate(own, tmp_path / "some")


def test_a_split_that_is_not_there(own: Path, digits: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"no images in the split 'test'.*--split"):
        evaluate(own, digits, split="test")


def test_refusals_come_before_work(own: Path, split_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        evaluate(own, split_digits, out=tmp_path / "file")
    with pytest.raises(RecipeError, match="engine"):
        evaluate(own, split_digits, engine="abacus")
    with pytest.raises(VisumError, match=r"Allowed: a folder with bundle\.json"):
        evaluate(tmp_path / "gone", split_digits)


def test_a_hostile_record_beside_a_bundle_harms_nothing(own: Path, split_digits: Path) -> None:
    for text in ("[]", "{", '{"test_digest": 3}', '{"test_openings": "many"}'):
        (own / "run.json").write_text(text)
        evaluate(own, split_digits)
        assert (own / "run.json").read_text() == text
    (own / "manifest.parquet").write_bytes(b"PAR1")
    assert evaluate(own, split_digits).trained_on == 0
