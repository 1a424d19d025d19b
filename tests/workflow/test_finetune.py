"""The rung that trains the end of the network, end to end on real digits and photos."""

from __future__ import annotations

import csv
import inspect
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from closeness import CLOSE, apart
from visum import train, verify
from visum.errors import ModelError, UsageError
from visum.models import predict, weights
from visum.models.embed import Augmented, Network, embed
from visum.models.prefix import WHOLE, Halves
from visum.ship import bundle
from visum.types import Manifest, Predictions, in_split, rows
from visum.workflow import course, ladder
from visum.workflow.tuning import Tuning
from workflow.helping import facts, timeless
from workflow.test_train import mosaics

LADDER = (ladder.PROBE, ladder.FINETUNE)
USUAL = Tuning(**{field.name: inspect.signature(train).parameters[field.name].default for field in fields(Tuning)})
QUICK = {"size": 64, "ladder": LADDER, "epochs": 2, "augment": "none"}


def test_it_becomes_a_bundle_like_any_other(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", **QUICK)
    assert tuple(run.ladder) == LADDER
    way = facts(run.folder)["finetune"]
    assert (way["cut"], way["epochs"], way["views"]) == ("blocks.4", 2, 1)
    # shipped as it was judged, whichever of the two won
    assert verify(run.bundle).passed
    assert run.scores["accuracy"].value > 0.75
    with (run.folder / "history.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["rung"] == ladder.FINETUNE]
    rung = facts(run.folder, "metrics.json")["ladder"][-1]
    assert [line["step"] for line in lines] == ["1", "2"]
    assert [line["l2"] for line in lines] == ["", ""]
    assert 0 < float(lines[0]["seconds"]) < float(lines[1]["seconds"]) < rung["seconds"] + 0.01
    assert rung["seconds"] < rung["at"] < facts(run.folder)["seconds"]
    assert all(float(line["train_loss"]) > 0 and float(line["learning_rate"]) > 0 for line in lines)
    if "best of 2 epochs" in rung["detail"]:
        best = min(lines, key=lambda line: float(line["validation_loss"]))
        assert float(best["validation_score"]) == pytest.approx(rung["metrics"]["accuracy"]["value"], abs=1e-6)


@pytest.mark.slow
def test_what_was_trained_on_cached_maps_is_what_the_compiled_network_says(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is forced to be the fine-tuned one, whose validation answers came from PyTorch and float16 maps."""
    monkeypatch.setattr(ladder, "best", lambda rungs: rungs[-1])
    run = train(digits, out=tmp_path / "run", **QUICK)
    assert run.chosen == ladder.FINETUNE
    assert verify(run.bundle).passed
    table, held = (
        Manifest.load(run.folder / "manifest.parquet"),
        Predictions.load(run.folder / "predictions", "validation"),
    )
    model = predict.Model(bundle.read(run.bundle))
    again = predict.of_table(rows(table, in_split(table, "validation")), model)
    assert list(again.ids) == list(held.ids)
    assert apart(again.logits, held.logits) < CLOSE[model.network.engine.precision]


@pytest.mark.slow
def test_stopped_between_epochs_or_not_the_numbers_are_the_same(digits: Path, tmp_path: Path) -> None:
    from visum.errors import StorageError
    from visum.learn import checkpoint

    longer = {**QUICK, "epochs": 3}
    whole = train(digits, out=tmp_path / "whole", **longer)
    original, written = checkpoint.write, []

    def write(*arguments: Any) -> None:
        original(*arguments)
        written.append(1)
        if len(written) == 2:
            raise StorageError("the disk is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        with pytest.raises(StorageError):
            train(digits, out=tmp_path / "cut", **longer)
    assert (tmp_path / "cut" / "checkpoints" / "last.safetensors").is_file()
    train(digits, out=tmp_path / "cut", **longer)
    assert timeless(whole.folder) == timeless(tmp_path / "cut")


def test_augmented_views_are_drawn_once_and_differ(digits: Path) -> None:
    from visum.data import load as loading
    from visum.data import sources

    backbone = weights.find(size=64)
    network = Network(replace(backbone, cut="blocks.4"), backbone.preprocess)
    table, _ = loading.index(sources.read(digits).manifest, backbone.preprocess)
    some = replace(table)
    one, two = Augmented("light", 0, 0), Augmented("light", 0, 1)
    found = embed(some, network, views=("plain", one, two))
    assert found[one].vectors.shape == (300, 112 * 4 * 4)
    assert not np.array_equal(found[one].vectors, found[two].vectors)
    assert not np.array_equal(found["plain"].vectors, found[one].vectors)
    again = embed(some, Network(network.backbone, network.preprocess), views=(one,))
    np.testing.assert_array_equal(again[one].vectors, found[one].vectors)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cut": "blocks.9"}, "no stage 'blocks.9'"),
        ({"loss": "asymmetric"}, "does not fit a multiclass task"),
        ({"optimiser": "adamm"}, "adamw"),
        ({"augment": "flipp"}, "flip"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"mixup": -0.1, "dropout": 1.0}, r"mixup is -0.1(.|\n)*dropout is 1.0"),
        ({"unfreeze": "never"}, "head_first"),
        ({"schedule": "cosinus"}, "cosine"),
        ({"ladder": (ladder.FINETUNE,)}, "starts from the probe"),
    ],
)
def test_impossible_settings_are_told_before_or_without_harm(
    digits: Path, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises((UsageError, ModelError), match=words):
        train(digits, out=tmp_path / "run", **{**QUICK, **settings})


@pytest.mark.slow
def test_the_course_fits_the_time_that_is_left(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are given: what is chosen must be the deepest and longest that fits."""

    class Ground:
        untrained = False

        def labelled(self, split: str) -> object:
            return np.ones({"train": 1000, "validation": 100}[split], bool)

    ground = Ground()
    ground.network = Network(weights.find(size=64), weights.find(size=64).preprocess)  # type: ignore[attr-defined]
    ground.preprocess = ground.network.preprocess  # type: ignore[attr-defined]
    monkeypatch.setattr(course.plan, "speed", lambda _: 0.01)
    costs = {("blocks.4",): (0.01, 0.02), ("blocks.5",): (0.01, 0.002), ("blocks.6",): (0.01, 0.001)}

    def given(_: object, halves: Halves, *__: object) -> tuple[float, float]:
        return (0.0, 0.05) if halves.shape[0] == 3 else costs[halves.stages[:1]]  # the whole network takes pixels

    monkeypatch.setattr(course, "_costs", given)
    told_rate = replace(USUAL, learning_rate=1e-3)  # none is tried
    chosen = [course.course(ground, told_rate, left) for left in (20, 40, 100, 200, 1000, None)]  # type: ignore[arg-type]
    told = [way and (way.cut, way.epochs) for way in chosen]
    assert told[0] is None
    assert told[1] == ("blocks.5", 4)
    assert told[2] == ("blocks.4", 3)
    assert told[3] is not None
    assert told[3][0] == "blocks.4"
    assert told[3][1] > 3
    assert told[4] == ("blocks.4", course.MOST_EPOCHS)
    assert told[5] == ("blocks.4", course.USUAL_EPOCHS)
    for way, left in zip(chosen[1:5], (40, 100, 200, 1000), strict=True):
        assert way is not None
        assert way.seconds <= left

    def another(first: str, gained: bool, left: float, **asked: object) -> str | None:
        done, wanted = course.Course(first, 3, 2, 1.0), replace(told_rate, **asked)
        way = course.second({}, ground, wanted, left, done, gained)  # type: ignore[arg-type]
        return way and way.cut

    assert another("blocks.4", True, 1000) == WHOLE
    assert another("blocks.4", True, 100) is None
    assert another("blocks.5", True, 100) == "blocks.4"  # deeper than what gained, as deep as time allows
    assert another("blocks.4", False, 100) == "blocks.5"
    assert another("blocks.6", False, 100) is None
    assert another(WHOLE, True, 1000) is None
    assert another("blocks.4", True, 1000, epochs=2) is None  # nothing was left to choose


@pytest.mark.slow
def test_a_budget_that_leaves_time_is_used_for_it(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", size=64, budget=90.0)
    way = facts(run.folder)["finetune"]
    assert ladder.FINETUNE in run.ladder
    assert course.ENOUGH_EPOCHS <= way["epochs"] <= course.MOST_EPOCHS  # what fits depends on the machine
    assert way["views"] == -(-way["epochs"] // 2)
    assert run.seconds < 90
    other = facts(run.folder)["finetune_again"]  # some sixty digits are trained on in seconds: time is left
    assert other["cut"] != way["cut"]
    assert list(run.ladder)[-2:] == [ladder.FINETUNE, f"{ladder.FINETUNE} {course.Course(**other).where}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_other_kinds_of_problems(kind: str, digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    if kind == "multilabel":
        lines = [f"data/{number:03d}.png,{'|'.join(sorted(on))}" for number, on in enumerate(mosaics(data, digits, 90))]
        data = tmp_path / "table.csv"
        data.write_text("path,label\n" + "\n".join(lines))
    else:
        for label in "01":
            shutil.copytree(digits / label, data / label)
    run = train(data, out=tmp_path / "run", delimiter="|", **QUICK)
    assert facts(run.folder, "metrics.json")["task"] == kind
    assert tuple(run.ladder) == LADDER
    assert verify(run.bundle).passed


@pytest.mark.slow
def test_it_starts_from_the_probe_wherever_that_stands(digits: Path, tmp_path: Path) -> None:
    names = (ladder.PROBE, "hog+linear_svm", ladder.FINETUNE)
    run = train(digits, out=tmp_path / "run", **{**QUICK, "ladder": names, "epochs": 1})
    assert tuple(run.ladder) == names


@pytest.mark.slow
def test_the_whole_network_may_be_trained(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a weight of it stays what it was, and the bundle answers what the trained network said."""
    monkeypatch.setattr(ladder, "best", lambda rungs: rungs[-1])
    run = train(digits, out=tmp_path / "run", **{**QUICK, "cut": "none", "epochs": 1})
    found, old = bundle.read(run.bundle).weights, weights.find(size=64).weights
    moved = [name for name, value in old.items() if not np.array_equal(found[f"backbone.{name}"], value)]
    assert "conv_stem.weight" in moved
    held = Predictions.load(run.folder / "predictions", "validation")
    table = Manifest.load(run.folder / "manifest.parquet")
    model = predict.Model(bundle.read(run.bundle))
    again = predict.of_table(rows(table, in_split(table, "validation")), model)
    assert apart(again.logits, held.logits) < CLOSE[model.network.engine.precision]


@pytest.mark.slow
def test_no_epoch_is_begun_that_would_not_end_in_time(digits: Path, tmp_path: Path) -> None:
    """The clock of the loop stands at an hour an epoch: one is run, since a start is owed, and no second."""
    from visum.learn import loop

    class Slow:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            cls.now += 1800
            return cls.now

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", Slow)
        run = train(digits, out=tmp_path / "run", budget=200.0, **{**QUICK, "epochs": 5})
    assert (run.folder / "history.csv").read_text().count("finetune") == 1
