"""Students: what is taught answers nearly as its teacher does, from less, and is exported like it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import visum
from visum.models import predict
from visum.ship import bundle as bundles
from visum.types import Manifest, decisions, in_split, rows
from visum.workflow import export as exporting
from visum.workflow import held, students
from visum.workflow.outcome import Run
from visum.workflow.students import Kind
from visum.workflow.train import train


@pytest.fixture(scope="module")
def teacher(split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A probe at 96 px on the digits."""
    place = tmp_path_factory.mktemp("teacher") / "run"
    return train(split_digits, out=place, size=96, ladder=("majority", "embedding+probe"))


@pytest.mark.slow
def test_a_student_of_a_shorter_network_and_smaller_pictures(teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = bundles.read(teacher.bundle)
    pupils = students.pupils(teacher.folder, shipped)
    assert pupils is not None
    table = held.validation(teacher.folder, shipped, None)
    school = students.school(shipped, pupils, table)
    assert school.answers.shape == (len(pupils), len(shipped.classes))
    np.testing.assert_allclose(school.answers.sum(1), 1, atol=1e-5)
    made = school.student(Kind(64, "blocks.5"))
    assert (made.preprocess.size, made.architecture["last"]) == (64, "blocks.5")
    assert made.weights["head.weight"].shape[0] == 112 + 192
    said = predict.of_table(school.held, predict.Model(made))
    right = decisions(said) == said.labels
    assert np.mean(right) > 0.8
    monkeypatch.setattr(students, "kinds", lambda bundle: (Kind(64, "blocks.5"),))
    done = exporting.export(teacher.folder, max_drop=100, target_latency=60.0, out=teacher.folder / "best")
    assert [(e.precision, e.size, e.network, e.head) for e in done.tried] == [
        *((precision, 96, "whole", "own") for precision in ("float32", "bfloat16", "int8")),
        *((precision, 64, "blocks.5", "taught") for precision in ("float32", "int8")),
    ]
    assert done.tried[3].megabytes < done.tried[0].megabytes
    assert done.tried[3].change > -0.15
    assert visum.verify(done.folder).passed


def test_pupils_are_the_train_images_that_are_still_there(run: Run, tmp_path: Path) -> None:
    shipped = bundles.read(run.bundle)
    whole = Manifest.load(run.folder / "manifest.parquet")
    found = students.pupils(run.folder, shipped)
    assert found is not None
    assert found.ids.tolist() == rows(whole, in_split(whole, "train")).ids.tolist()
    assert students.pupils(run.folder, replace(shipped, classes=("other", *shipped.classes[1:]))) is None
    (tmp_path / "bundle").mkdir()
    replace(whole, root=str(tmp_path)).save(tmp_path / "manifest.parquet")
    assert students.pupils(tmp_path / "bundle", shipped) is None
    assert students.kinds(shipped) == ()  # a classical bundle has no network to shrink
