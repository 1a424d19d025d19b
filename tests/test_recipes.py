"""Every recipe is one that ``visum train`` takes, and says how it is used."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from visum import config
from visum.types import Task
from visum.workflow import ladder, tuning
from visum.workflow.train import train

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_is_taken_and_says_how_it_is_used(path: Path) -> None:
    settings = config.resolve(train, recipe=path, sets=(), flags={"data": "photos"})
    ladder.check(
        ladder.FROM_SCRATCH if settings["weights"] == "none" else settings["ladder"],
        untrained=settings["weights"] == "none",
    )
    task: Task = settings["task"] or "multiclass"
    tuning.check(
        tuning.Tuning(**{each.name: settings[each.name] for each in fields(tuning.Tuning)}), task, settings["backbone"]
    )
    assert path.read_text().splitlines()[0].startswith("# visum train ")
    assert f"--recipe recipes/{path.name}" in path.read_text().splitlines()[0]
