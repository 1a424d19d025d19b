"""The rate that a data set bears: tried on real digits behind a cut."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visum import train
from visum.data import load, sources
from visum.data import split as splits
from visum.models import weights
from visum.models.embed import Network, embed
from visum.runtime import Stage, no_step
from visum.workflow import finetune, ladder, lesson, trial
from visum.workflow.course import Course
from visum.workflow.tuning import Tuning
from workflow.helping import facts

USUAL = {field.name: inspect.signature(train).parameters[field.name].default for field in fields(Tuning)}
Asked = tuple[ladder.Ground, lesson.Lesson, float]


@pytest.fixture
def asked(digits: Path) -> Asked:
    backbone = weights.find(size=64)
    network = Network(backbone, backbone.preprocess)
    table, _ = load.index(sources.read(digits).manifest, backbone.preprocess)
    table = splits.split(table, np.arange(len(table)))
    vectors = embed(table, network)["plain"].vectors
    ground = ladder.Ground(table, backbone.preprocess, network, vectors, (), (), 0)
    tuning = Tuning(**{**USUAL, "augment": "none"})
    start = ladder.climb(ladder.PROBE, ground)
    made, _ = finetune.prepared(ground, start, tuning, Course("blocks.5", 1, 1, 0.0), Stage(no_step))
    with torch.no_grad():
        return ground, made, -lesson.score(ground, made, made.model.eval())[0]


def test_the_usual_rate_is_taken_where_it_does_no_harm_and_tried_once(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground, made, loss = asked
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    assert trial.rate(ground, made, loss, "usual") == trial.usual("adamw") == 1e-3
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())

    def never(*_: Any) -> float:
        raise AssertionError("it is in the store")

    monkeypatch.setattr(trial, "tried", never)
    assert trial.rate(ground, made, loss, "usual") == 1e-3


@pytest.mark.slow
def test_a_rate_that_breaks_the_network_is_passed_over(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times the usual rate ruins it, and so do smaller ones until one does not."""
    ground, made, loss = asked
    monkeypatch.setattr(trial, "USUAL", {"adamw": 0.1})
    found = trial.rate(ground, made, loss, "large")
    assert found < 0.1
    reached = {share: trial.tried(ground, made, 0.1 * share) or np.inf for share in trial.SMALLER}
    first = next((share for share, each in reached.items() if each <= trial.HARM * loss), trial.SMALLER[-1])
    assert found == pytest.approx(0.1 * first)
    assert reached[1.0] > trial.HARM * loss


def test_no_number_is_harm(asked: Asked) -> None:
    ground, made, _ = asked
    broken = replace(made, objective=lambda model, batch: (model(batch.x).sum() * torch.nan, None))
    assert trial.tried(ground, broken, 1e-3) is None
    assert all(value.isfinite().all() for value in made.model.state_dict().values())


@pytest.mark.slow
def test_it_is_told_which_rate_was_taken(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "USUAL", {"adamw": 5e-4})
    settings: dict[str, Any] = {"size": 64, "ladder": (ladder.PROBE, ladder.FINETUNE), "epochs": 1, "cut": "blocks.6"}
    run = train(digits, out=tmp_path / "run", augment="none", **settings)
    assert "adamw 0.0005" in facts(run.folder, "metrics.json")["ladder"][-1]["detail"]
