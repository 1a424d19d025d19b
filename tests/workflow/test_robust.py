"""Corrupted pictures through the compiled engine, on real digits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visum.data import corrupt, load
from visum.data.drawn import squares
from visum.errors import BundleError, NotEnoughData, UsageError
from visum.models.predict import Model
from visum.ship import bundle
from visum.types import Manifest, Preprocess, rows, targets
from visum.workflow import robust
from visum.workflow.clock import Clock
from visum.workflow.outcome import Run


@pytest.fixture(scope="module")
def asked(network_run: Run) -> tuple[Model, Manifest]:
    """A bundle of a network, and all 300 digits."""
    shipped = bundle.read(network_run.bundle)
    table, _ = load.index(Manifest.load(network_run.folder / "manifest.parquet"), shipped.preprocess)
    return Model(shipped), table


def test_the_block_is_what_the_model_says_to_each_corrupted_picture(asked: tuple[Model, Manifest]) -> None:
    model, table = asked
    block = robust.corruption_block(model, table, kinds=("gaussian_noise", "saturate"), severities=(1, 5), most=40)
    assert (block["n"], block["of"]) == (40, len(table))
    some = rows(table, robust.in_turn(table, 0)[:40])
    pixels = squares(some, model.bundle.preprocess)(np.arange(40))
    noisy = corrupt.corrupted(pixels, "gaussian_noise", 5, seed=0, keys=some.sha256.tolist())
    wanted = np.mean(
        [
            int(model.logits(picture[None]).argmax()) == label
            for picture, label in zip(noisy, targets(some), strict=True)
        ]
    )
    row = next(row for row in block["kinds"] if row["kind"] == "gaussian_noise")
    assert row["curve"][-1]["accuracy"]["value"] == pytest.approx(wanted)
    assert row["curve"][0]["accuracy"] == block["clean"]
    assert block["worst"] == ["gaussian_noise"]  # saturate is held out, and grey digits have no colour to lose
    again = robust.corruption_block(model, table, kinds=("gaussian_noise", "saturate"), severities=(1, 5), most=40)
    assert {**again, "seconds": 0} == {**block, "seconds": 0}


def test_time_decides_how_many_and_the_first_are_asked_in_any_case(asked: tuple[Model, Manifest]) -> None:
    model, table = asked
    clock = Clock(time.monotonic(), 1e-6, robust.ROUND, 0)
    block = robust.corruption_block(model, table, kinds=("jpeg",), severities=(5,), clock=clock)
    assert block["n"] == robust.ROUND
    counted: list[int] = []
    block = robust.corruption_block(
        model, table, kinds=("jpeg",), severities=(5,), most=70, baseline=("itself", model), step=counted.append
    )
    assert sum(counted) == 70 * 2 * 2
    assert block["baseline"]["mean_corruption_error"]["value"] in (1.0, None)


def test_every_beginning_has_the_classes_in_their_shares(asked: tuple[Model, Manifest]) -> None:
    _, table = asked
    order, y = robust.in_turn(table, 3), targets(table)
    assert sorted(order.tolist()) == list(range(len(table)))
    whole = np.bincount(y, minlength=10) / len(y)
    for n in (32, 100, 200):
        assert np.abs(np.bincount(y[order[:n]], minlength=10) / n - whole).max() < 1.5 / n * 2
    mixed = rows(table, np.random.default_rng(0).permutation(len(table)))
    assert mixed.sha256[robust.in_turn(mixed, 3)].tolist() != table.sha256[robust.in_turn(table, 4)].tolist()


def test_what_cannot_be_told_is_said(asked: tuple[Model, Manifest]) -> None:
    model, table = asked
    with pytest.raises(NotEnoughData, match="5 labelled images"):
        robust.corruption_block(model, rows(table, np.arange(5)))
    with pytest.raises(UsageError, match="fogg"):
        robust.corruption_block(model, table, kinds=("fogg",))
    with pytest.raises(UsageError, match="severities"):
        robust.corruption_block(model, table, severities=(0, 1))
    unlabelled = replace(table, labels=np.array([()] * len(table) + [None], object)[:-1])
    with pytest.raises(NotEnoughData):
        robust.corruption_block(model, unlabelled)


@pytest.mark.slow
def test_the_command_writes_what_it_found(network_run: Run, split_digits: Path, tmp_path: Path) -> None:
    made = robust.corrupt_images(
        network_run.bundle,
        split_digits,
        baseline=network_run.bundle,
        kinds=("fog", "saturate"),
        severities=(5, 1),
        images=40,
        out=tmp_path / "found",
    )
    facts = json.loads((tmp_path / "found" / "corruption.json").read_text())
    assert facts == made.facts
    assert (facts["n"], facts["severities"], facts["split"]) == (40, [1, 5], "test")
    page = made.page.read_text()
    assert page.count("<svg") == 2
    assert facts["sentence"] in page
    assert "mean corruption error" in page
    assert made.trained_on == 0
    with pytest.raises(UsageError, match="severities"):
        robust.corrupt_images(network_run.bundle, split_digits, severities=(7,), out=tmp_path / "found")
    other = replace(bundle.read(network_run.bundle), preprocess=Preprocess(size=96))
    bundle.write(other, tmp_path / "other", [])
    with pytest.raises(BundleError, match="another size"):
        robust.corrupt_images(network_run.bundle, split_digits, baseline=tmp_path / "other", out=tmp_path / "found")
