"""A teacher: what it is asked, of whom, in which order of classes, and who is refused."""

from __future__ import annotations

import pickle
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visum.errors import BundleError, UsageError
from visum.models import predict
from visum.models.embed import no_vectors
from visum.models.ensemble import join
from visum.ship import bundle as bundles
from visum.types import Manifest, column, rows
from visum.workflow import ladder, teacher
from visum.workflow.ladder import Ground
from visum.workflow.outcome import Run


@pytest.fixture(scope="module")
def probe(run: Run) -> teacher.Teacher:
    return teacher.read(run.folder, 0.5, 4.0)


@pytest.fixture(scope="module")
def table(run: Run) -> Manifest:
    return Manifest.load(run.folder / "manifest.parquet")


def ground(table: Manifest) -> Ground:
    """All that a teacher needs of it: rows, labels, seed."""
    return Ground(table, None, None, no_vectors(table), (), (), 0)  # type: ignore[arg-type]


def other_way_round(table: Manifest) -> Manifest:
    last = len(table.classes) - 1
    labels = column([tuple(last - k for k in label) for label in table.labels])
    return replace(table, classes=table.classes[::-1], labels=labels)


def test_it_says_what_the_bundle_says_calibrated(probe: teacher.Teacher, table: Manifest) -> None:
    here = ground(table)
    taught = teacher.ask(probe, here, "auto", None)
    assert taught is not None
    for split, said in (("train", taught.logits), ("validation", taught.rung.validation.logits)):
        wanted = predict.of_table(rows(table, np.flatnonzero(here.labelled(split))), predict.Model(probe.bundle)).logits
        np.testing.assert_allclose(said, wanted / probe.bundle.temperature, rtol=1e-5, atol=1e-5)
    sent = pickle.loads(pickle.dumps(taught))  # to the other processes of a run  # noqa: S301
    np.testing.assert_array_equal(sent.logits, taught.logits)
    assert sent.key == taught.key
    assert (taught.rung.name, taught.rung.architecture, taught.rung.at) == (ladder.TEACHER, None, None)
    assert taught.rung.metrics()["accuracy"].value > 0.8


def test_its_classes_may_have_another_order(probe: teacher.Teacher, table: Manifest) -> None:
    turned = other_way_round(table)
    teacher.check(probe, turned)
    one, two = teacher.ask(probe, ground(table), "auto", None), teacher.ask(probe, ground(turned), "auto", None)
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(two.logits, one.logits[:, ::-1])
    assert two.rung.metrics()["accuracy"] == one.rung.metrics()["accuracy"]


def test_an_ensemble_of_one_bundle_twice_teaches_the_same(
    probe: teacher.Teacher, table: Manifest, tmp_path: Path
) -> None:
    made = bundles.write(join([probe.bundle, probe.bundle], "logits"), tmp_path / "both", [])
    both = teacher.read(made.folder or tmp_path, 0.5, 4.0)
    one, two = teacher.ask(probe, ground(table), "auto", None), teacher.ask(both, ground(table), "auto", None)
    assert one is not None
    assert two is not None

    def centred(z: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return z - z.mean(1, keepdims=True)

    np.testing.assert_allclose(centred(two.logits), centred(one.logits), rtol=1e-4, atol=1e-4)
    assert both.digest != probe.digest
    assert both.seen == frozenset()  # nothing is known of a bundle that lies elsewhere


def test_other_classes_or_another_task_are_refused_by_name(probe: teacher.Teacher, table: Manifest) -> None:
    strange = replace(table, classes=("zero", *table.classes[1:]))
    words = r"other classes than the data: only .* has '0'; only the data has 'zero'"
    with pytest.raises(BundleError, match=words):
        teacher.check(probe, strange)
    with pytest.raises(BundleError, match=r"is multiclass and the data multilabel.*--task multiclass"):
        teacher.check(probe, replace(table, task="multilabel"))


def test_the_rung_that_it_teaches_is_tried() -> None:
    assert teacher.with_rung(ladder.LADDER, ladder.FINETUNE) == (*ladder.LADDER, ladder.FINETUNE)
    assert teacher.with_rung(ladder.FROM_SCRATCH, ladder.SCRATCH) == ladder.FROM_SCRATCH
    with pytest.raises(UsageError, match=r"teaches finetune, .*--ladder majority,embedding\+probe,finetune"):
        teacher.with_rung((ladder.MAJORITY, ladder.PROBE), ladder.FINETUNE)


def test_who_would_take_more_than_half_of_the_time_is_not_asked_on(
    probe: teacher.Teacher, table: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher who needs a second for each picture, and 153 + 72 of them: all is told after twice ``FIRST``."""
    here = ground(table)
    n, clock, asked = int((here.labelled("train") | here.labelled("validation")).sum()), [0.0], [0]

    def slowly(some: Manifest, *_: object) -> np.ndarray:  # type: ignore[type-arg]
        clock[0] += len(some)
        asked[0] += len(some)
        return np.zeros((len(some), 10), np.float32)

    monkeypatch.setattr(teacher, "_answers", slowly)
    monkeypatch.setattr(teacher, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    assert teacher.ask(probe, here, "auto", 2.0 * n + 1) is not None
    assert asked == [n]
    asked[0] = 0
    assert teacher.ask(probe, here, "auto", 2.0 * n - 1) is None
    assert asked == [2 * teacher.FIRST]
    (found,) = teacher.doubts(probe, table, None)
    assert "Give a longer --budget" in found.message
    assert teacher.known(probe, table, ladder.FINETUNE, None)["rung"] is None


def test_images_that_it_was_trained_on_are_told(probe: teacher.Teacher, table: Manifest) -> None:
    taught = teacher.ask(probe, ground(table), "auto", None)
    assert teacher.doubts(probe, table, taught) == []
    turned = replace(table, splits=column([{"train": "test", "test": "train"}.get(s, s) for s in table.splits]))
    (found,) = teacher.doubts(probe, turned, taught)
    assert "was trained on 153 test images" in found.message
    assert found.numbers == {"validation_images": 0, "test_images": 153}
    assert teacher.known(probe, turned, ladder.SCRATCH, taught)["trained_on"] == {"validation": 0, "test": 153}
