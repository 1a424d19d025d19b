"""Verifying what was shipped: the run's own bundle passes on every engine that is here; tolerances must make sense."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import visum
from visum.errors import RecipeError, UsageError
from visum.models import compiled
from visum.workflow.outcome import Run
from visum.workflow.train import train
from visum.workflow.verify import verify


def test_the_bundle_of_a_run_verifies_wherever_it_is_moved(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "some where"
    shutil.copytree(run.bundle, moved)
    for folder in (run.folder, run.bundle, moved):
        found = verify(folder, tolerance=1e-6)
        assert found.passed
        assert found.images == 8
        assert found.largest_difference <= 1e-6
    assert {row.expected for row in found.rows} == set("01234567")  # one class after the other


def test_golden_images_are_validation_files_and_answered_as_expected(run: Run, split_digits: Path) -> None:
    golden = json.loads((run.bundle / "golden" / "expected.json").read_text())["images"]
    answers = visum.load(run.bundle).predict([run.bundle / "golden" / each["file"] for each in golden])
    for each, answer in zip(golden, answers, strict=True):
        np.testing.assert_allclose(answer.probabilities, each["probabilities"], rtol=0, atol=1e-6)
        (original,) = split_digits.glob(f"valid/*/{each['name']}")
        assert original.read_bytes() == (run.bundle / "golden" / each["file"]).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("engine", compiled.installed())
def test_every_engine_here_verifies_a_bundle_with_a_network(
    engine: str, split_digits: Path, tmp_path: Path, run: Run
) -> None:
    made = train(split_digits, out=tmp_path / "run", size=64, ladder=("majority", "embedding+probe"))
    assert verify(made.folder, engine=engine).passed


@pytest.mark.parametrize("tolerance", [0, -1, float("nan"), float("inf")])
def test_a_tolerance_is_a_number_above_zero(tolerance: float, run: Run) -> None:
    with pytest.raises(UsageError, match=r"tolerance .*a number above 0.*--tolerance 0\.02"):
        verify(run.bundle, tolerance=tolerance)


def test_an_engine_that_is_not_here(run: Run) -> None:
    with pytest.raises(RecipeError, match="engine is 'abacus'"):
        verify(run.bundle, engine="abacus")
