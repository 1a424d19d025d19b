"""From any bundle to any student, end to end on real digits."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import visum
from visum.errors import BundleError, RecipeError, StorageError, UsageError
from visum.learn import checkpoint
from visum.ship import bundle as bundles
from visum.workflow import ladder
from visum.workflow.outcome import Run
from workflow.helping import facts, timeless

STUDENT: dict[str, Any] = {
    **{"weights": "none", "backbone": "cnn:widths=16-32", "size": 16, "batch": 16, "epochs": 3},
    **{"augment": "none", "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def student(run: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return visum.distill(run.folder, split_digits, out=tmp_path_factory.mktemp("student") / "run", **STUDENT)


def test_it_becomes_a_bundle_like_any_other(run: Run, student: Run) -> None:
    assert tuple(student.ladder) == (ladder.MAJORITY, ladder.TEACHER, ladder.SCRATCH)
    assert student.chosen == ladder.SCRATCH  # the teacher is a yardstick
    assert visum.verify(student.bundle).passed
    told = facts(student.folder)["teacher"]
    assert (told["digest"], told["share"], told["temperature"]) == (bundles.digest(run.bundle), 0.5, 4.0)
    assert (told["rung"], told["trained_on"]) == (ladder.SCRATCH, {"validation": 0, "test": 0})
    assert told["validation"]["accuracy"] == student.ladder[ladder.TEACHER].value > 0.8
    line = facts(student.folder, "metrics.json")["ladder"][1]
    assert (line["name"], line["at"], line["chosen"]) == (ladder.TEACHER, None, False)
    card = (student.bundle / "MODEL_CARD.md").read_text()
    assert f"digest {told['digest'][:16]}" in card
    assert "50 % of the loss by" in card
    assert "teacher" in (student.folder / "report.html").read_text()


@pytest.mark.slow
def test_teacher_and_share_decide_and_nothing_else_does(
    run: Run, student: Run, split_digits: Path, tmp_path: Path
) -> None:
    """No share: the same bytes as training without a teacher; with one, others."""
    plain = visum.train(split_digits, out=tmp_path / "plain", **STUDENT)
    none = visum.distill(run.bundle, split_digits, out=tmp_path / "none", teacher_share=0, **STUDENT)
    a, b, c = (bundles.read(each.bundle).weights for each in (plain, none, student))
    assert a.keys() == b.keys() == c.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not all(np.array_equal(a[name], c[name]) for name in a)


@pytest.mark.slow
def test_stopped_between_epochs_or_not_the_numbers_are_the_same(
    run: Run, student: Run, split_digits: Path, tmp_path: Path
) -> None:
    original, written = checkpoint.write, []

    def write(*arguments: Any) -> None:
        original(*arguments)
        written.append(1)
        if len(written) == 2:
            raise StorageError("the disk is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        with pytest.raises(StorageError):
            visum.distill(run.folder, split_digits, out=tmp_path / "cut", **STUDENT)
    visum.distill(run.folder, split_digits, out=tmp_path / "cut", **STUDENT)
    assert timeless(tmp_path / "cut") == timeless(student.folder)


def test_a_folder_of_another_teacher_is_not_gone_on_with(
    run: Run, student: Run, split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command, but the bundle behind the name was replaced."""
    monkeypatch.setattr(bundles, "digest", lambda _: "another")
    with pytest.raises(UsageError, match="holds a run with other data or settings"):
        visum.distill(run.folder, split_digits, out=student.folder, **STUDENT)


def test_misfits_are_told_before_anything_is_paid_for(run: Run, digits: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(8):
            picture = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / "pets" / name / f"{number}.png")
    with pytest.raises(BundleError, match=r"only .* has '0', '1'.* and 5 more; only the data has 'cat', 'dog'"):
        visum.distill(run.folder, tmp_path / "pets", out=tmp_path / "run")
    with pytest.raises(BundleError, match="no bundle"):
        visum.distill(digits, digits, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(RecipeError, match=r"teacher_share is 2(.|\n)*teacher_temperature is 0"):
        visum.distill(run.folder, digits, teacher_share=2, teacher_temperature=0)
    with pytest.raises(UsageError, match="teaches finetune, which this ladder leaves out"):
        visum.distill(run.folder, digits, out=tmp_path / "none", ladder=(ladder.PROBE,))


def test_its_settings_are_those_of_train() -> None:
    ours, theirs = (inspect.signature(each).parameters for each in (visum.distill, visum.train))
    assert list(ours)[:2] == ["teacher", "data"]
    assert set(ours) == set(theirs)
    assert ours["teacher"].default is inspect.Parameter.empty
    assert all(ours[name].default == theirs[name].default for name in theirs if name != "teacher")


@pytest.mark.slow
def test_the_end_of_a_network_is_taught_as_well(run: Run, split_digits: Path, tmp_path: Path) -> None:
    """On maps behind a cut, from a classical teacher that sees pictures in another way."""
    other = visum.train(split_digits, out=tmp_path / "other", size=64, fit="squash", ladder=("hog+linear_svm",))
    rungs = (ladder.PROBE, ladder.FINETUNE)
    made = visum.distill(other.bundle, split_digits, out=tmp_path / "run", size=64, epochs=2, ladder=rungs)
    assert tuple(made.ladder) == (ladder.PROBE, ladder.TEACHER, ladder.FINETUNE)
    assert f"50 % of the loss by {other.bundle}" in facts(made.folder, "metrics.json")["ladder"][-1]["detail"]
    assert made.ladder[ladder.FINETUNE].value > 0.7
