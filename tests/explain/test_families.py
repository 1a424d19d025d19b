"""What ``auto`` makes of each family of networks, from the textbook's first to the last."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from explain.subjects import bundled, subject_of
from visum.errors import ModelError
from visum.explain import attribution, cams
from visum.models.families import FAMILIES
from visum.types import Pixels

LAYERS = {
    "AlexNet": "features.11",
    "ResNet": "layer3",
    "DenseNet": "features.denseblock3",
    "EfficientNet": "blocks.4",
    "MobileNet": "blocks.3",
    "SqueezeNet": "features.12",
    "ViT": "blocks.11",
    "Swin": "layers.2",
    "CoAtNet": "stages.2",
    "ConvNeXt": "stages.2",
}
"""The deepest map with 10 cells a side or more. (VGG has too many weights for one look.)"""


def seen(photos: dict[str, NDArray[np.uint8]], size: int) -> Pixels:
    step = 448 // size
    return np.ascontiguousarray(photos["astronaut"][: size * step : step, : size * step : step])[None]


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [("cnn:widths=8-16-24", 28, "stages.0"), ("cnn:widths=8-16", 64, "stages.1"), ("resnet10t", 64, "layer1")],
)
def test_small_inputs(name: str, size: int, layer: str, photos: dict[str, NDArray[np.uint8]]) -> None:
    method, subject = attribution.resolve("auto", subject_of(bundled(name, size)))
    assert method == "layercam"
    assert subject.layer == layer
    heat = attribution.EXPLAINERS[method].run(subject, seen(photos, size), np.array([0]), np.array([-1]))
    assert heat.shape == (1, size, size)
    assert np.isfinite(heat).all()


def test_below_the_receptive_field(photos: dict[str, NDArray[np.uint8]]) -> None:
    """A layer of one cell, or no layer with more: ``auto`` falls back to hiding parts, and who insists is told what works."""
    last = subject_of(bundled("resnet10t", 32), "layer4")
    with pytest.raises(ModelError, match=r"layer4 has no map over the picture.*earlier stage"):
        attribution.EXPLAINERS["gradcam"].run(last, seen(photos, 32), np.array([0]), np.array([-1]))
    tiny = subject_of(bundled("cnn:widths=8-16-24", 1))
    assert attribution.resolve("auto", tiny) == ("occlusion", tiny)
    with pytest.raises(ModelError, match=r"at 1 px no layer.*smaller than what one cell sees.*occlusion, lime"):
        attribution.resolve("gradcam", tiny)


@pytest.mark.slow
def test_behind_the_last_block_only_the_class_token_counts(photos: dict[str, NDArray[np.uint8]]) -> None:
    """Where the head sees no stage but the class token, the patches of the last block have no say."""
    made = bundled("vit_tiny_patch16_224", 64)
    last = {"head.weight": np.ascontiguousarray(made.weights["head.weight"][-192:])}
    subject = subject_of(replace(made, weights={**made.weights, **last}))
    assert subject.network is not None
    assert cams.layer(subject.network, 4) == "blocks.10"


@pytest.mark.slow
def test_a_layer_that_is_not_asked(photos: dict[str, NDArray[np.uint8]]) -> None:
    """Dropout within fused attention is a module that never runs."""
    subject = subject_of(bundled("vit_tiny_patch16_224", 64), "blocks.3.attn.attn_drop")
    with pytest.raises(ModelError, match=r"does not depend on the layer blocks\.3\.attn\.attn_drop"):
        attribution.EXPLAINERS["gradcam"].run(subject, seen(photos, 64), np.array([0]), np.array([-1]))


@pytest.mark.slow
@pytest.mark.parametrize("family", list(LAYERS))
def test_auto(family: str, photos: dict[str, NDArray[np.uint8]]) -> None:
    method, subject = attribution.resolve("auto", subject_of(bundled(FAMILIES[family].member, 224)))
    assert (method, subject.layer) == ("layercam", LAYERS[family])
    squares = np.repeat(seen(photos, 224), 3, axis=0)
    heat = attribution.EXPLAINERS[method].run(subject, squares, np.arange(3), np.full(3, -1))
    assert heat.shape == (3, 224, 224)
    assert heat.max() > 0
    assert np.isfinite(heat).all()
