"""Opinions of real bundles: their members, their passes of dropout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.data import load
from visum.data.sources import read
from visum.learn import probe
from visum.models import embed as embedding
from visum.models import ensemble, uncertain, weights
from visum.models.embed import Network
from visum.models.opinions import opinions
from visum.models.predict import Model, of_table
from visum.types import Bundle, Manifest, Preprocess, probabilities, targets


@pytest.fixture(scope="module")
def table(photos: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Manifest:
    root = tmp_path_factory.mktemp("parts")
    for name, photo in photos.items():
        (root / name).mkdir()
        for number in range(4):
            Image.fromarray(photo[9 * number :, 15 * number :][:290, :300]).save(root / name / f"{number}.png")
    return load.index(read(root).manifest, Preprocess(size=64))[0]


@pytest.fixture(scope="module")
def bundle(table: Manifest) -> Bundle:
    backbone = weights.find(size=64)
    x = embedding.embed(table, Network(backbone, backbone.preprocess))["plain"].vectors
    tensors: dict[str, Any] = {f"backbone.{name}": value for name, value in backbone.weights.items()}
    tensors |= {f"head.{name}": value for name, value in probe.fit(x, targets(table), 3).items()}
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    return Bundle("multiclass", table.classes, architecture, backbone.preprocess, tensors, temperature=3.0)


def test_a_plain_bundle_has_one_opinion(table: Manifest, bundle: Bundle) -> None:
    assert opinions(table, Model(bundle)) == {}


def test_members_say_what_they_say_alone_in_the_order_of_the_ensemble(table: Manifest, bundle: Bundle) -> None:
    order = [2, 0, 1]
    head = {f"head.{name}": bundle.weights[f"head.{name}"][..., order] for name in ("weight", "bias")}
    turned = replace(
        bundle, classes=tuple(bundle.classes[k] for k in order), weights={**bundle.weights, **head}, temperature=1.0
    )
    found = opinions(table, Model(ensemble.join([bundle, turned], "probabilities")))
    assert list(found) == ["members"]
    assert found["members"].shape == (2, 12, 3)
    alone = of_table(table, Model(bundle))
    assert found["members"][0] == pytest.approx(probabilities(alone), abs=1e-6)
    assert found["members"][1] == pytest.approx(probabilities(replace(alone, temperature=1.0)), abs=1e-5)


def test_passes_of_dropout_scatter_around_the_answer(table: Manifest, bundle: Bundle) -> None:
    mean = np.zeros(bundle.weights["head.weight"].shape[0], np.float32)
    trained = replace(
        bundle,
        architecture={**bundle.architecture, uncertain.RATE: 0.2},
        weights={**bundle.weights, uncertain.MEAN: mean},
    )
    found = opinions(table, Model(trained), passes=30)
    assert found["dropout"].shape == (30, 12, 3)
    assert found["dropout"].sum(2) == pytest.approx(np.ones((30, 12)), abs=1e-5)
    assert found["dropout"].std(0).max() > 0.001
    assert found["dropout"].mean(0) == pytest.approx(probabilities(of_table(table, Model(bundle))), abs=0.15)
