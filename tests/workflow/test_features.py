"""Features of a real network beside the real pictures that activate them; and what is said of layers that do not exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from visum.errors import ModelError
from visum.workflow.features import explain_features

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


@pytest.mark.slow
def test_drawings_beat_every_real_picture_and_the_strongest_real_ones_come_first(
    network_run: Run, tmp_path: Path
) -> None:
    wanted = ("blocks.2:3", "7")
    found = explain_features(network_run.folder, wanted, out=tmp_path, steps=24, engine="torch")
    assert [each.name for each in found.found] == list(wanted)
    for each in found.found:
        assert each.activation > each.top[0][1]
        assert each.activation > each.noise
        assert [value for _, value in each.top] == sorted((value for _, value in each.top), reverse=True)
        assert json.dumps(each.facts())
    assert all(name.split("/")[1] == "7" for name, _ in found.found[1].top[:3])
    assert {path.name for path in tmp_path.iterdir()} == {
        "features.html",
        "feature-00-blocks.2_3.png",
        "feature-01-7.png",
    }
    assert "2 of 2 drawings" in (tmp_path / "features.html").read_text()


def test_filters_alone_draw_nothing(network_run: Run, tmp_path: Path) -> None:
    found = explain_features(network_run.folder, out=tmp_path)
    assert (found.first, found.kernels.shape) == ("conv_stem", (32, 3, 3, 3))
    assert not found.found
    assert (tmp_path / "features.html").read_text().count("<img") == 32
    assert np.ptp(found.kernels) > 0


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("blocks.99", r"no class and no layer is called 'blocks.99'. Allowed: the layers blocks.0.* the classes 0, 1"),
        ("blocks.2:4000", r"no channel 4000. Allowed: 0 to 39"),
        ("blocks.2:x", "no class and no layer"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(network_run: Run, wanted: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        explain_features(network_run.folder, (wanted,))
