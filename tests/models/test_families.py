"""Every family that textbooks name: built, trained on real pixels, saved, read back, exported; its numbers as published."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import save_file

from visum import safefile
from visum.data.pixels import fit, tensor
from visum.errors import ModelError
from visum.models import anatomy, compiled, families, zoo
from visum.models.families import FAMILIES
from visum.models.weights import Backbone, digest_of_weights
from visum.types import Pixels

SMALL = {"AlexNet": 64}
HEAVY = {"AlexNet", "VGG", "ResNet", "DenseNet", "Swin", "CoAtNet", "ViT", "EfficientNet", "ConvNeXt"}
"""Hundreds of megabytes of weights, or seconds of tracing."""
MEMBERS = [("cnn:widths=16-32,activation=mish,dropout=0.1,fc=24", 28)] + [
    pytest.param(each.member, SMALL.get(name, 32), marks=[pytest.mark.slow] if name in HEAVY else [], id=name)
    for name, each in FAMILIES.items()
]


@pytest.fixture(autouse=True)
def one_seed_one_thread() -> Iterator[None]:
    """Pictures this small are not worth waking a second thread for."""
    before = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parts(photos: dict[str, Pixels], side: int) -> tuple[Pixels, torch.Tensor]:
    """Two parts of each of three photos, uint8 ``[6, side, side, 3]``, and which photo they are of."""
    cut = [photo[top : top + 96, 60 : 60 + 96] for photo in photos.values() for top in (0, 90)]
    spec = zoo.preprocess("cnn", side)
    return np.stack([fit(each, spec) for each in cut]), torch.arange(6) // 2


@pytest.mark.parametrize(("name", "side"), MEMBERS)
def test_a_member_is_built_trained_saved_read_and_exported(
    name: str, side: int, photos: dict[str, Pixels], tmp_path: Path
) -> None:
    import onnxruntime

    network: Any = zoo.build(name, classes=3, size=side)
    pixels, labels = parts(photos, side)
    spec = zoo.preprocess(name, side)
    x = torch.from_numpy(tensor(pixels, spec))

    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    network.train()
    for _ in range(2):
        logits = network(x)
        assert logits.shape == (6, 3)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert math.isfinite(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    moved = {key for key, value in network.named_parameters() if not torch.equal(value, before[key])}
    assert len(moved) > 0.9 * len(before), sorted(set(before) - moved)
    assert set(zoo.classifiers(network)) <= {key.rpartition(".")[0] for key in moved}

    network.eval()
    file = tmp_path / "weights.safetensors"
    save_file({key: value.numpy() for key, value in network.state_dict().items()}, file)
    weights = safefile.safe_tensors(file)
    again: Any = zoo.build(name, classes=3, size=side)
    again.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    with torch.inference_mode():
        assert torch.equal(again(x), network(x))

    backbone = Backbone(name, weights, spec, (), digest_of_weights(weights))
    graph = compiled.exported(backbone, spec)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixels": pixels})
    with torch.inference_mode():
        expected = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pixels)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 0  # six pictures, not six times the same


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_are_those_that_the_network_has(name: str) -> None:
    family = FAMILIES[name]
    found = anatomy.examine(family.member, family.size)
    assert found.parameters == family.parameters
    assert found.multiply_adds == pytest.approx(family.multiply_adds, rel=0.01)
    assert zoo.preprocess(family.member).size == family.size


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_licences_are_those_that_the_library_publishes(name: str) -> None:
    import torchvision

    family = FAMILIES[name]
    if timm.is_model(family.member):
        cfg = timm.get_pretrained_cfg(f"{family.member}.{family.weights}")
        assert cfg.license == family.licence
    if family.source == families.TORCHVISION:
        published = torchvision.models.get_model_weights(family.member)["IMAGENET1K_V1"].meta
        assert published["_metrics"]["ImageNet-1K"]["acc@1"] == family.top1
        assert published["num_params"] == family.parameters
    else:
        assert family.source == families.TIMM


def test_no_top1_is_a_top5() -> None:
    """Surveys' 96.5 % (ResNet), 97.0 % (DenseNet), 98.4 % (EfficientNet) are not what one crop of these networks scores."""
    assert all(50 < family.top1 < 85 for family in FAMILIES.values())
    assert {"AlexNet", "VGG", "ResNet", "DenseNet", "EfficientNet", "MobileNet", "SqueezeNet"} <= set(FAMILIES)
    assert {"ViT", "Swin", "CoAtNet", "ConvNeXt"} <= set(FAMILIES)


def test_a_member_knows_its_family() -> None:
    assert families.family_of("resnet50") == families.family_of("resnet50.a1_in1k") == "ResNet"
    assert families.family_of("resnet51") == ""


def test_no_such_architecture() -> None:
    with pytest.raises(ModelError, match="no architecture is called 'resnet5O'"):
        anatomy.examine("resnet5O", 224)
