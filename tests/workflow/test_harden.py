"""Hardening by ``visum train``, end to end on real digits, and what is refused before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visum import train, verify
from visum.data import load
from visum.data.drawn import beside, squares
from visum.errors import RecipeError, StorageError, UsageError
from visum.learn import harden
from visum.models import differentiable
from visum.ship import bundle
from visum.types import Manifest, in_split, rows, targets
from visum.workflow import ladder, tuning
from workflow.helping import timeless

CNN: dict[str, Any] = {
    "weights": "none",
    "backbone": "cnn:widths=16-32",
    "size": 16,
    "batch": 16,
    "mixup": 0.0,
    "augment": "none",
    "label_smoothing": 0.0,
    "learning_rate": 0.01,
}


def robust(folder: Path, epsilon: float) -> float:
    """Accuracy of a run's bundle on its test images under PGD-20, made on the bundle itself in levels 0 … 255."""
    shipped = bundle.read(folder / "bundle")
    table, _ = load.index(Manifest.load(folder / "manifest.parquet"), shipped.preprocess)
    table = rows(table, in_split(table, "test"))
    model = differentiable.of_bundle(shipped)
    x = differentiable.pixels(squares(table, shipped.preprocess)(np.arange(len(table))))
    y = torch.from_numpy(targets(table))
    side = torch.ones(1, 3, 1, 1)
    within = harden.Ball(255 * epsilon * side, 0 * side, 255 * side)
    torch.manual_seed(0)
    moved = harden.attacked(
        *(model.forward, lambda z: torch.nn.functional.cross_entropy(z, y, reduction="none"), x, within.anywhere(x)),
        *(within,),
        step=0.125,
        steps=20,
    )
    assert float((moved - x).abs().max()) <= 255 * epsilon + 1e-3
    return float((model(moved).argmax(1) == y).float().mean())


@pytest.mark.slow
def test_a_hardened_bundle_bears_what_a_plain_one_does_not(digits: Path, tmp_path: Path) -> None:
    plain = train(digits, out=tmp_path / "plain", epochs=12, **CNN)
    hard = train(digits, out=tmp_path / "hard", epochs=12, harden="pgd", epsilon=0.08, harden_steps=3, **CNN)
    assert hard.chosen == ladder.SCRATCH
    assert verify(hard.bundle).passed
    assert robust(hard.folder, 0.08) > robust(plain.folder, 0.08) + 0.2
    assert hard.scores["accuracy"].value > 0.5


@pytest.mark.parametrize("way", [pytest.param(each, marks=pytest.mark.slow) for each in ("augmix", "free")])
def test_views_and_replays_go_through_the_loop(way: str, digits: Path, tmp_path: Path) -> None:
    run = train(digits, out=tmp_path / "run", epochs=2, harden=way, **{**CNN, "mixup": 0.2})
    assert verify(run.bundle).passed
    assert run.chosen == ladder.SCRATCH


@pytest.mark.slow
@pytest.mark.parametrize("way", ["free"])  # the one that carries something from step to step
def test_stopped_between_epochs_or_not_the_weights_are_the_same(
    way: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visum.learn import checkpoint

    settings = {"epochs": 2, "harden": way, "epsilon": 0.1, **CNN}
    whole = train(digits, out=tmp_path / "whole", **settings)
    written = checkpoint.write

    def gone(*arguments: Any) -> None:
        written(*arguments)
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("visum.learn.loop.checkpoint.write", gone)
        with pytest.raises(StorageError):
            train(digits, out=tmp_path / "cut", **settings)
    again = train(digits, out=tmp_path / "cut", **settings)
    assert timeless(whole.folder) == timeless(again.folder)


@pytest.mark.slow
def test_a_pretrained_network_is_hardened_from_its_first_layer_on(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visum.workflow import lesson

    monkeypatch.setattr(lesson, "UNDER_ATTACK", 20)
    monkeypatch.setattr(lesson, "STEPS", 2)
    run = train(
        digits,
        out=tmp_path / "run",
        size=32,
        ladder=(ladder.MAJORITY, ladder.PROBE, ladder.FINETUNE),
        epochs=1,
        batch=64,
        harden="fast",
        learning_rate=1e-4,
    )
    assert run.chosen == ladder.FINETUNE  # whatever plain pictures say of it
    assert "the whole network" in next(
        line["detail"] for line in _ladder(run.folder) if line["name"] == ladder.FINETUNE
    )
    assert verify(run.bundle).passed


def _ladder(folder: Path) -> list[dict[str, Any]]:
    import json

    told: list[dict[str, Any]] = json.loads((folder / "metrics.json").read_text())["ladder"]
    return told


def test_views_of_a_picture_are_neighbours_and_functions_of_its_key(photos: dict[str, Any]) -> None:
    batch = np.stack([photos[name][:64, :64] for name in ("astronaut", "coffee")])
    made = beside(batch, 3, seed=0, epoch=1, keys=["a", "b"])
    assert made.shape == (6, 64, 64, 3)
    np.testing.assert_array_equal(made[::3], batch)
    assert not np.array_equal(made[1], made[2])
    np.testing.assert_array_equal(made[3:], beside(batch[1:], 3, seed=0, epoch=1, keys=["b"]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"harden": "pdg", "weights": "none"}, "way of hardening.*pdg.*pgd"),
        ({"harden": "fast", "ladder": ("majority", "embedding+probe")}, "trains none.*finetune"),
        ({"harden": "fast", "ladder": ("embedding+probe", "finetune"), "cut": "blocks.4"}, "sees pixels.*--cut none"),
        ({"epsilon": 0.1}, "--epsilon.*nothing is hardened.*--harden trades"),
        ({"epsilon": 0.1, "ladder": ("embedding+probe", "finetune")}, "--epsilon.*nothing is hardened.*--harden pgd"),
        ({"harden": "augmix", "epsilon": 0.1, "weights": "none"}, "--epsilon.*augmix has none"),
        ({"harden": "fast", "harden_steps": 3, "weights": "none"}, "--harden-steps.*fast has none.*--harden trades"),
        ({"harden": "pgd", "harden_weight": 3.0, "weights": "none"}, "--harden-weight.*pgd has none.*--harden augmix"),
    ],
)
def test_what_makes_no_sense_is_said(settings: dict[str, Any], words: str, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        train(digits, out=tmp_path / "run", size=32, **settings)
    import re

    assert re.search(words, str(told.value), re.DOTALL), str(told.value)


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.5, float("nan")])
def test_a_radius_is_a_share_of_the_way_from_black_to_white(epsilon: float, digits: Path, tmp_path: Path) -> None:
    with pytest.raises((UsageError, RecipeError), match="epsilon"):
        train(digits, out=tmp_path / "run", harden="fast", epsilon=epsilon, **CNN)


def test_without_time_to_harden_nothing_else_is_shipped() -> None:
    class Rung:
        name = "embedding+probe"

    asked: Any = type("Asked", (), {"harden": "fast"})()
    with pytest.raises(UsageError, match="does not fit into this budget"):
        tuning.hardened(asked, [Rung()], ladder.FINETUNE)  # type: ignore[list-item]
