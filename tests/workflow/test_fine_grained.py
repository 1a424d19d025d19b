"""Classes that differ little: heads and pools for them, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visum import train, verify
from visum.errors import UsageError
from visum.models import predict
from visum.ship import bundle
from visum.types import Manifest, Predictions, in_split, rows
from visum.workflow import ladder
from visum.workflow.outcome import Run

QUICK: dict[str, Any] = {"size": 64, "ladder": (ladder.PROBE, ladder.FINETUNE), "epochs": 1, "augment": "none"}


def answers_as_trained(run: Run) -> None:
    """The bundle, read from disk and compiled, says of the validation pictures what PyTorch said in training."""
    assert verify(run.bundle).passed
    table = Manifest.load(run.folder / "manifest.parquet")
    held = Predictions.load(run.folder / "predictions", "validation")
    again = predict.of_table(rows(table, in_split(table, "validation")), predict.Model(bundle.read(run.bundle)))
    assert list(again.ids) == list(held.ids)
    np.testing.assert_allclose(again.logits, held.logits, atol=0.03 * np.abs(held.logits).max())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"head": "cosine", "pool": "attention"}, {"pool": "bilinear"}])
def test_it_is_shipped_as_it_was_trained(
    settings: dict[str, Any], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "best", lambda rungs: rungs[-1])
    run = train(digits, out=tmp_path / "run", **{**QUICK, **settings})
    assert run.chosen == ladder.FINETUNE
    answers_as_trained(run)
    assert run.scores["accuracy"].value > 0.6
    if "head" in settings:
        made = bundle.read(run.bundle)
        assert made.architecture["classifier"] == "cosine"
        assert made.weights["backbone.visum_pool.query"].any()  # which started at 0
        np.testing.assert_allclose(np.linalg.norm(made.weights["classifier.weight"], axis=0), 16, rtol=1e-5)


@pytest.mark.slow
def test_from_scratch_with_a_cosine_head(digits: Path, tmp_path: Path) -> None:
    few = {"weights": "none", "backbone": "cnn:widths=16-32", "size": 16, "batch": 16, "mixup": 0.0}
    more = {"head": "cosine", "margin": 0.2, "scale": 10.0, "augment": "none", "learning_rate": 0.01}
    run = train(digits, out=tmp_path / "run", epochs=10, **few, **more)
    assert run.chosen == ladder.SCRATCH
    assert run.scores["accuracy"].value > 0.7
    answers_as_trained(run)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": "cosinus"}, "cosine"),
        ({"pool": "max"}, "bilinear"),
        ({"margin": 0.5}, "margin and scale are of the cosine head"),
        ({"head": "cosine", "margin": 3.0}, "margin is 3.0"),
    ],
)
def test_impossible_settings_are_told(digits: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        train(digits, out=tmp_path / "run", **{**QUICK, **settings})
