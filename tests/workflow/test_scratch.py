"""A network that starts from random weights, end to end on real digits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from closeness import CLOSE, apart
from visum import train, verify
from visum.errors import ModelError, StorageError, UsageError
from visum.models import predict, weights
from visum.ship import bundle
from visum.types import Manifest, Predictions, in_split, rows
from visum.workflow import ladder
from workflow.helping import facts, timeless

CNN: dict[str, Any] = {"weights": "none", "backbone": "cnn:widths=16-32", "size": 16, "batch": 16, "mixup": 0.0}


def test_it_learns_and_ships_what_it_learnt(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", epochs=15, augment="none", learning_rate=0.01, **CNN)
    assert tuple(run.ladder) == ladder.FROM_SCRATCH
    assert run.chosen == ladder.SCRATCH
    assert run.scores["accuracy"].value > 0.8  # 4 times in 10 by chance at most, with ten classes
    assert verify(run.bundle).passed
    held, table = (
        Predictions.load(run.folder / "predictions", "validation"),
        Manifest.load(run.folder / "manifest.parquet"),
    )
    model = predict.Model(bundle.read(run.bundle))
    again = predict.of_table(rows(table, in_split(table, "validation")), model)
    assert apart(again.logits, held.logits) < CLOSE[model.network.engine.precision]
    assert "embed" not in [stage["name"] for stage in facts(run.folder)["stages"]]
    assert (run.folder / "report.html").stat().st_size > 20_000


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network_and_another_another(digits: Path, tmp_path: Path) -> None:
    first, second, other = (
        train(digits, out=tmp_path / name, epochs=2, seed=seed, **CNN)
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    )
    assert timeless(first.folder) == timeless(second.folder)
    assert timeless(first.folder) != timeless(other.folder)


def test_cutmix_mixup_l1_and_an_average_of_weights_together(digits: Path, tmp_path: Path) -> None:
    more = {"mixup": 0.2, "cutmix": 1.0, "l1": 1e-5, "ema": 0.99}
    run = train(digits, out=tmp_path / "run", epochs=2, **{**CNN, **more})
    assert run.ladder[ladder.SCRATCH].n == run.ladder[ladder.MAJORITY].n
    assert verify(run.bundle).passed


@pytest.mark.slow
def test_pictures_grow_while_it_learns(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visum.learn import objectives

    usual, sides = objectives.supervised, []

    def watched(loss: Any) -> Any:
        wanted = usual(loss)

        def objective(model: Any, batch: Any) -> Any:
            sides.append(batch.x.shape[-1])
            return wanted(model, batch)

        return objective

    monkeypatch.setattr(objectives, "supervised", watched)
    run = train(digits, out=tmp_path / "run", epochs=3, start_size=16, **{**CNN, "size": 32})
    assert sorted(set(sides)) == [16, 24, 32]
    assert sides == sorted(sides)
    assert verify(run.bundle).passed


@pytest.mark.slow
def test_each_round_of_the_schedule_leaves_a_network(digits: Path, tmp_path: Path) -> None:
    """Snapshots are bundles like any other, which an ensemble is made of; stopped between them or not."""
    from visum import ensemble
    from visum.learn import checkpoint

    settings = {"epochs": 4, "snapshots": 2, "learning_rate": 0.01, **CNN}
    run = train(digits, out=tmp_path / "run", **settings)
    with (run.folder / "history.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["rung"] == ladder.SCRATCH]
    rates = [float(line["learning_rate"]) for line in lines]
    assert max(rates[1], rates[3]) < 0.01 * min(rates[0], rates[2])  # the end of a round is its slowest moment
    both = [run.folder / "snapshots" / number for number in ("1", "2")]
    assert all(verify(folder).passed for folder in both)
    first, second = (bundle.read(folder) for folder in both)
    assert not np.array_equal(first.weights["head.weight"], second.weights["head.weight"])
    joined = ensemble((both[0], both[1]), data=digits, out=tmp_path / "joined")
    assert verify(joined.bundle).passed
    tested = facts(joined.folder, "metrics.json")["splits"]["test"]["n"]
    assert tested == run.scores["accuracy"].n  # the splits of the run around them

    written = checkpoint.write

    def gone(*arguments: Any) -> None:
        written(*arguments)
        raise StorageError("the disk is gone")

    with pytest.MonkeyPatch.context() as patch:
        for _ in range(3):
            patch.setattr("visum.learn.loop.checkpoint.write", gone)
            with pytest.raises(StorageError):
                train(digits, out=tmp_path / "cut", **settings)
            patch.undo()
    again = train(digits, out=tmp_path / "cut", **settings)
    for number in ("1", "2"):
        weights = bundle.read(again.folder / "snapshots" / number).weights
        for name, value in bundle.read(run.folder / "snapshots" / number).weights.items():
            np.testing.assert_array_equal(weights[name], value)


@pytest.mark.slow
def test_a_residual_network_with_branches_left_out(digits: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"weights": "none", "backbone": "resnet10t", "size": 32, "epochs": 1}
    plain, dropped = (train(digits, out=tmp_path / str(p), drop_path=p, **settings) for p in (0.0, 0.5))
    assert verify(dropped.bundle).passed
    assert timeless(plain.folder) != timeless(dropped.folder)


@pytest.mark.slow
def test_a_budget_says_how_long(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", budget=30.0, **CNN)
    assert facts(run.folder)["finetune"]["epochs"] > 3
    assert run.seconds < 31.5


@pytest.mark.slow
def test_any_architecture_of_timm(digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", weights="none", backbone="resnet10t", size=32, epochs=1)
    assert verify(run.bundle).passed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ladder": ("embedding+probe",)}, "where the network has no weights"),
        ({"ladder": ("finetune",)}, "scratch"),
        ({"backbone": "cnn:width=3"}, "widths"),
        ({"backbone": "no_such_net"}, "no_such_net"),
        ({"drop_path": 0.1}, "no residual branches"),
        ({"epochs": 5, "snapshots": 2}, "--epochs 4"),
        ({"start_size": 16}, "less than 16, the size they grow to"),
        ({"start_size": 16, "cut": "blocks.4"}, "--cut none"),
        ({"start_size": 32, "backbone": "vit_tiny_patch16_224"}, "made for pictures of 224 px"),
    ],
)
def test_what_cannot_be_is_told(digits: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, ModelError), match=words):
        train(digits, out=tmp_path / "run", **{**CNN, **settings})


def test_random_weights_are_a_function_of_the_seed() -> None:
    one, two, other = (weights.untrained("cnn", size=32, seed=seed) for seed in (0, 0, 1))
    assert one.digest == two.digest != other.digest
