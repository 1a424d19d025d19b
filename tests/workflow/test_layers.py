"""What layers know, on real digits; and what is said where there is nothing to look into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from visum.errors import ModelError, NotEnoughData
from visum.workflow import insight, layers, origin

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


@pytest.fixture(scope="module")
def seen(network_run: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[layers.Layers, Path]:
    out = tmp_path_factory.mktemp("layers")
    return layers.explain_layers(
        network_run.folder, split_digits, against=network_run.folder, out=out, engine="torch"
    ), out


@pytest.mark.slow
def test_late_layers_know_digits_and_test_stays_sealed(seen: tuple[layers.Layers, Path], split_digits: Path) -> None:
    found, _ = seen
    assert (found.how, found.seen) == ("split", 0)
    assert found.judged == len(list((split_digits / "valid").rglob("*.png")))
    assert found.learnt == len(list((split_digits / "train").rglob("*.png")))
    task = found.known[0]
    assert [each.name for each in found.known] == ["class", "edges", "colour", "texture"]
    value, low, high = task.scores[found.stages[-1]]
    assert low > 3 * task.chance
    assert low < value < high
    assert max(task.scores[stage][0] for stage in found.stages) > task.scores[found.stages[0]][0]


@pytest.mark.slow
def test_a_model_against_itself_is_alike_layer_by_layer(seen: tuple[layers.Layers, Path]) -> None:
    found, out = seen
    assert found.across is not None
    np.testing.assert_allclose(found.across, found.alike)
    np.testing.assert_allclose(np.diag(found.alike), 1)
    assert json.loads(json.dumps(found.as_json()))["cka"][0][0] == 1
    assert "Beside" in (out / "layers.html").read_text()


@pytest.mark.slow
def test_without_splits_every_picture_is_judged_by_a_probe_that_never_saw_it(network_run: Run, digits: Path) -> None:
    found = layers.explain_layers(network_run.folder, digits, most=60, engine="torch")
    assert (found.how, found.judged, found.known[0].n) == ("folds", 60, 60)
    assert found.seen > 0


def test_too_few_pictures_are_counted(network_run: Run, digits: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"30 labelled images, too few .* Allowed: 60 or more"):
        layers.explain_layers(network_run.folder, digits, most=30)


def test_a_sample_keeps_the_share_of_each_class() -> None:
    strata = np.repeat([0, 1, 2], (60, 30, 10))
    assert np.bincount(strata[insight.drawn(100, 20, 0, strata)]).tolist() == [12, 6, 2]
    assert insight.drawn(5, 20, 0).tolist() == [0, 1, 2, 3, 4]


def test_classical_bundles_have_no_layers(
    network_run: Run, split_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    plain = origin.opened(network_run.folder)
    for kind, words in (("classical", "classical model"), ("ensemble", "ensemble")):
        monkeypatch.setattr(origin, "opened", lambda _, kind=kind: replace(plain, architecture={"kind": kind}))
        with pytest.raises(ModelError, match=words):
            layers.explain_layers(network_run.folder, split_digits)
