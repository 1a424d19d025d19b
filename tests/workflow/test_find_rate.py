"""``visum train DATA --find-lr``: a rate for what a run would train, found without training it."""

from __future__ import annotations

import csv
import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from PIL import Image

import visum as library
from cli.conftest import Visum
from cli.conftest import visum as visum
from visum.errors import UsageError
from visum.workflow import find_rate
from visum.workflow.find_rate import Found, find_learning_rate
from visum.workflow.train import train
from visum.workflow.tuning import Tuning

CNN = "cnn:widths=16-32"
QUICK: dict[str, Any] = {"size": 64, "cut": "blocks.5", "augment": "none"}


def test_settings_are_those_of_train() -> None:
    usual, kinds = inspect.signature(train).parameters, get_type_hints(train, include_extras=True)
    own = get_type_hints(find_learning_rate, include_extras=True)
    for name, parameter in inspect.signature(library.find_learning_rate).parameters.items():
        assert (parameter.default, parameter.kind) == (usual[name].default, usual[name].kind), name
        assert str(own[name]) == str(kinds[name]), name
    of_time = {
        "epochs",
        "learning_rate",
        "schedule",
        "warm_up",
        "ema",
        "unfreeze",
        "patience",
        "start_size",
        "snapshots",
    }
    left = {each.name for each in fields(Tuning)} - set(inspect.signature(find_learning_rate).parameters)
    of_machine = {"device", "precision"}  # a hundred steps are taken on the processor, in float32
    of_attacks = {
        "harden",
        "harden_steps",
        "harden_weight",
        "epsilon",
    }  # they grow over epochs: a hundred steps meet none
    assert left <= of_time | of_machine | of_attacks, (
        "what is trained, on what and for what must be tried as it will be"
    )


@pytest.mark.slow
def test_the_flag_says_what_to_type_next(
    visum: Visum, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From scratch, where a loss must fall; the picture and the numbers lie where the run will be."""
    monkeypatch.setenv("VISUM_THREADS", "1")  # small tensors on several threads wait for each other
    out, more = tmp_path / "run", f"--weights none --backbone {CNN} --size 16 --batch 32 --augment none --mixup 0"
    net = more.split()
    code, said, err = visum("train", digits, "--out", out, *net, "--learning-rate", "1", "--find-lr")
    assert code == 0, err
    rate = said.split("Suggested learning rate: ")[1].split("\n")[0]
    assert 1e-3 < float(rate) < 0.3
    typed = f"visum train {digits} --out {out} {more} --learning-rate {rate}"
    assert said.rstrip().endswith(f"Next: {typed}")
    assert f"picture {out / 'find_lr.png'}" in said
    assert sorted(path.name for path in out.iterdir()) == ["find_lr.csv", "find_lr.png"]
    assert Image.open(out / "find_lr.png").size == (1120, 700)
    with (out / "find_lr.csv").open() as file:
        rows = list(csv.DictReader(file))
    rates, losses, smoothed = (np.array([float(row[key]) for row in rows]) for key in ("rate", "loss", "smoothed"))
    np.testing.assert_allclose(rates, np.geomspace(1e-6, 1, 100)[: len(rates)], rtol=1e-4)
    running = 0.0
    for number, loss in enumerate(losses):
        running = 0.9 * running + 0.1 * loss
        assert smoothed[number] == pytest.approx(running / (1 - 0.9 ** (number + 1)), abs=1e-5)
    assert losses[0] == pytest.approx(np.log(10), abs=0.3), "a new network knows nothing"
    assert float(rate) == pytest.approx(rates[10:][smoothed[10:].argmin()] / 10, rel=0.06)


@pytest.mark.slow
def test_behind_a_cut_it_starts_from_the_probe(digits: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find_rate, "STEPS", 20)
        found = find_learning_rate(digits, out=tmp_path / "run", optimiser="sgd", **QUICK)
    assert (found.cut, found.optimiser) == ("blocks.5", "sgd")
    with found.table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.steps >= 10
    assert float(rows[1]["rate"]) == pytest.approx(1e-6 * 1e7 ** (1 / 19), rel=1e-4), (
        "up to 10: nothing scales its steps"
    )
    assert float(rows[0]["loss"]) < 1.5 < np.log(10)


@pytest.mark.slow
def test_the_next_command_trains_a_network(visum: Visum, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the ladder of the command was; where nothing fell there is none."""
    suggestion: float | None = 0.00213
    asked: list[dict[str, Any]] = []

    def pretend(data: Path, *, optimiser: str = "adamw") -> Found:
        asked.append({"data": data, "optimiser": optimiser})
        return Found(suggestion, 0.0213, "blocks.5", optimiser, 60, Path("p.png"), Path("t.csv"))

    monkeypatch.setattr(find_rate, "find_learning_rate", pretend)
    probe, rate = "embedding+probe", "--learning-rate 0.0021"
    for typed, wanted in (
        ("--optimiser sgd", f"--optimiser sgd {rate} --ladder {probe},finetune"),
        ("--budget 4m", f"--budget 4m {rate}"),
        ("--ladder majority,hog+knn", f"{rate} --ladder majority,hog+knn,{probe},finetune"),
        (f"--ladder {probe},finetune", f"--ladder {probe},finetune {rate}"),
        ("--weights none --backbone resnet18", f"--weights none --backbone resnet18 {rate}"),
    ):
        code, said, _ = visum("train", digits, *typed.split(), "--find-lr", "--json")
        assert code == 0
        assert json.loads(said)["next"] == f"visum train {digits} {wanted}"
    assert asked[0] == {"data": digits, "optimiser": "sgd"}
    suggestion = None
    assert json.loads(visum("train", digits, "--find-lr", "--json").out)["next"] is None
    assert "No rate is suggested" in visum("train", digits, "--find-lr").out


def test_faults_come_before_any_work(visum: Visum, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="adamm"):
        find_learning_rate(digits, out=tmp_path / "run", optimiser="adamm", **QUICK)
    with pytest.raises(UsageError, match="does not fit a multiclass task"):
        find_learning_rate(digits, out=tmp_path / "run", loss="asymmetric", **QUICK)
    code, _, err = visum("train", digits, "--find-lr", "--show-batch")
    assert (code, "--show-batch and --find-lr. Allowed: one of them at a time" in err) == (2, True)
    code, _, err = visum("train", digits, "--find-lr", "--epochs", "0")
    assert (code, "epochs is 0" in err) == (2, True)
