"""The audit as a command: planted faults are found, nothing of the user's is touched, the store is read the second time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.data import load
from visum.errors import NotEnoughData, RecipeError, StorageError
from visum.models import compiled
from visum.storage import digest_file
from visum.types import Finding, Manifest, in_split
from visum.workflow.audit import by_severity, find_problems, look, looks


@pytest.fixture(scope="module")
def faulty(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in given splits with one of each: a copy across splits, a copy under two labels, swapped labels, a bad file."""
    root = tmp_path_factory.mktemp("faulty")
    for name in "0145":
        for number, path in enumerate(sorted((digits / name).iterdir())):
            part = "test" if number % 5 == 0 else "train"
            (root / part / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / part / name)
    first = {name: sorted((root / "train" / name).iterdir())[0] for name in "0145"}
    shutil.copy(first["0"], root / "test" / "0" / "seen.png")
    shutil.copy(first["1"], root / "train" / "4" / "torn.png")
    shutil.move(sorted((root / "train" / "0").iterdir())[3], root / "train" / "5" / "wrong.png")
    (root / "train" / "5" / "bad.png").write_bytes(b"GIF")
    return root


@pytest.fixture(scope="module")
def found(faulty: Path) -> list[Finding]:
    return find_problems(faulty, size=64)


def of_kind(found: list[Finding], kind: str) -> Finding:
    return next(finding for finding in found if finding.kind == kind)


def test_planted_faults_are_found(found: list[Finding]) -> None:
    kinds = {finding.kind for finding in found}
    assert {"duplicate_across_splits", "duplicate_across_classes", "unreadable", "suspect_label"} <= kinds, kinds
    assert "test/0/seen.png" in of_kind(found, "duplicate_across_splits").ids
    assert "train/4/torn.png" in of_kind(found, "duplicate_across_classes").ids
    assert of_kind(found, "unreadable").ids == ("train/5/bad.png",)
    assert "train/5/wrong.png" in of_kind(found, "suspect_label").ids


def test_findings_come_most_serious_first(found: list[Finding]) -> None:
    order = ["serious", "warning", "info"]
    ranks = [order.index(finding.severity) for finding in found]
    assert ranks == sorted(ranks)
    some = [
        Finding("a", "info", ""),
        Finding("b", "serious", ""),
        Finding("c", "info", ""),
        Finding("d", "warning", ""),
    ]
    assert [finding.kind for finding in by_severity([], some)] == ["b", "d", "a", "c"]
    listed = [Finding("e", "warning", ""), Finding("a", "warning", "of the listing, and seen once more")]
    assert [(finding.kind, finding.severity) for finding in by_severity(listed, some)] == [
        ("b", "serious"),
        ("e", "warning"),
        ("d", "warning"),
        ("a", "info"),
        ("c", "info"),
    ]


def test_nothing_of_the_users_is_touched_and_findings_are_written_where_asked(faulty: Path, tmp_path: Path) -> None:
    before = {path: (digest_file(path), path.stat().st_mtime_ns) for path in faulty.rglob("*") if path.is_file()}
    told = find_problems(faulty, size=64, out=tmp_path / "out")
    after = {path: (digest_file(path), path.stat().st_mtime_ns) for path in faulty.rglob("*") if path.is_file()}
    assert before == after
    written = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert [each["kind"] for each in written] == [finding.kind for finding in told]
    assert all(set(each) == {"kind", "severity", "message", "ids", "numbers"} for each in written)
    table = Manifest.load(tmp_path / "out" / "manifest.parquet")
    assert in_split(table, "test").any()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"findings.json", "manifest.parquet"}


def test_a_second_look_reads_the_store(faulty: Path, found: list[Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is decoded or embedded twice")

    monkeypatch.setattr(load, "shrink", never)
    monkeypatch.setattr(compiled, "engine", never)
    assert find_problems(faulty, size=64) == found


def test_one_look_at_a_picture_is_all_measurements_end_to_end(photos: dict[str, NDArray[np.uint8]]) -> None:
    row = look(photos["coffee"])
    assert row.ndim == 1
    assert row.dtype == np.float32
    assert np.isfinite(row).all()
    assert look(photos["chelsea"]).shape == row.shape
    assert looks.__doc__


def test_one_class_or_no_labels_can_be_audited(digits: Path, tmp_path: Path) -> None:
    """No classifier needs to be trained to find copies and blank pictures."""
    shutil.copytree(digits / "3", tmp_path / "one" / "3")
    shutil.copy(next((digits / "3").iterdir()), tmp_path / "one" / "3" / "copy.png")
    Image.new("L", (8, 8), 7).save(tmp_path / "one" / "3" / "blank.png")
    kinds = {finding.kind for finding in find_problems(tmp_path / "one", size=64)}
    assert {"duplicate", "blank"} <= kinds
    assert "suspect_label" not in kinds


def test_refusals(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        find_problems(digits, out=tmp_path / "file")
    with pytest.raises(RecipeError, match="visum audit --help"):
        find_problems(digits, size=5)
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "1.jpg").write_bytes(b"")
    with pytest.raises(NotEnoughData, match=r"none of 2 files could be read; the first: .*empty.*visum doctor"):
        find_problems(tmp_path / "bad")


def test_names_that_are_no_text_are_told_as_text(digits: Path, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for name in ("1", "2"):
        shutil.copytree(digits / name, root / name)
    (root / "1" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    found = find_problems(root, size=64, out=tmp_path / "out")
    assert of_kind(found, "unreadable").ids == ("1/\\xff.png",)
    json.dumps([finding.__dict__ for finding in found]).encode()
