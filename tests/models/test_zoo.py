"""Architectures by name, and the trunk: every pooled stage is held to timm's or torchvision's own features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from numpy.typing import NDArray

from visum.data.pixels import fit, tensor
from visum.errors import ModelError
from visum.models import pools, zoo
from visum.types import Pixels, Preprocess


def tensors(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def seeded(name: str) -> tuple[torch.nn.Module, dict[str, NDArray[Any]]]:
    """A network with initial values that are the same in every run, and these values."""
    torch.manual_seed(0)
    network = zoo.build(name)
    return network, tensors(network)


def squares(photos: dict[str, Pixels], spec: Preprocess) -> Pixels:
    return np.stack([fit(photo, spec) for photo in photos.values()])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "resnet18.a1_in1k"])
def test_timm_and_torchvision_networks_with_any_number_of_classes(name: str) -> None:
    network = zoo.build(name, classes=7)
    assert not network.training
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert zoo.build(name)(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_names_are_timms_torchvisions_and_our_own() -> None:
    names = zoo.names()
    assert len(names) == len(set(names))
    theirs = set(timm.list_models()) | set(torchvision.models.list_models(module=torchvision.models))
    assert set(names) == {"cnn", *theirs}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("resnet-18", "resnet18"), ("sqeezenet1_0", "squeezenet1_0"), ("tf_eficientnet_lite0", "tf_efficientnet_lite0")],
)
def test_a_typo_is_told_the_nearest_names(typed: str, meant: str) -> None:
    with pytest.raises(ModelError, match=rf"no architecture is called '{typed}'\. Try: one of (.*, )?{meant}(,|$)"):
        zoo.build(typed)


@pytest.mark.parametrize("typed", ["", "zzqq##", "hf_hub:timm/qq", "../../x"])
def test_a_name_like_no_other_is_told_where_names_are(typed: str) -> None:
    with pytest.raises(ModelError, match=r"no architecture is called .* Try: visum models SEARCH"):
        zoo.build(typed)


def test_an_unknown_tag_of_a_known_network() -> None:
    with pytest.raises(ModelError, match=r"'resnet18\.nonsense' cannot be built: Invalid pretrained tag"):
        zoo.build("resnet18.nonsense")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224"])
def test_preprocessing_is_what_timm_records(name: str) -> None:
    config = timm.get_pretrained_cfg(name)
    spec = zoo.preprocess(name)
    assert spec.size == config.input_size[-1]
    assert spec.filter == config.interpolation
    np.testing.assert_allclose(spec.mean, np.array(config.mean) * 255)
    np.testing.assert_allclose(spec.std, np.array(config.std) * 255)
    assert zoo.preprocess(name, 96).size == 96


def test_preprocessing_of_torchvision() -> None:
    theirs = torchvision.models.get_model_weights("squeezenet1_0").DEFAULT.transforms()
    spec = zoo.preprocess("squeezenet1_0")
    assert [spec.size] == theirs.crop_size
    assert spec.filter == theirs.interpolation.value
    np.testing.assert_allclose(np.array(spec.mean) / 255, theirs.mean, atol=1e-6)
    np.testing.assert_allclose(np.array(spec.std) / 255, theirs.std, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("tf_efficientnet_lite0", 64),
        pytest.param("swin_tiny_patch4_window7_224", 224, marks=pytest.mark.slow),
    ],
)
def test_stages_are_the_means_of_timms_feature_maps(name: str, size: int, photos: dict[str, Pixels]) -> None:
    network, weights = seeded(name)
    spec = zoo.preprocess(name, size)
    pictures = squares(photos, spec)
    features = timm.create_model(name, features_only=True).eval()
    theirs = network.state_dict()
    features.load_state_dict(
        {k: theirs[k if k in theirs else k.replace("layers_", "layers.")] for k in features.state_dict()}
    )
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pictures, spec))
        found = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pictures))
        last = network.forward_head(network.forward_features(x), pre_logits=True)
        maps = features(x)[-3:]
    channels = features.feature_info.channels()[-3:]
    means = [
        m.mean((1, 2)) if m.shape[-1] == c and m.shape[1] != c else m.mean((2, 3))
        for m, c in zip(maps, channels, strict=True)
    ]
    close(found, torch.cat([*means, last], dim=1))


def test_stages_of_a_transformer_are_the_means_of_its_tokens(photos: dict[str, Pixels]) -> None:
    name = "vit_tiny_patch16_224"
    network, weights = seeded(name)
    spec = zoo.preprocess(name)
    pictures = squares(photos, spec)
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pictures, spec))
        found = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pictures))
        pairs = network.forward_intermediates(
            x, indices=[9, 10, 11], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
        means = [torch.cat([prefix, patches], dim=1).mean(1) for patches, prefix in pairs]
        last = network.forward_head(network.forward_features(x), pre_logits=True)
    close(found, torch.cat([*means, last], dim=1))


def test_stages_by_name(photos: dict[str, Pixels]) -> None:
    _, weights = seeded("resnet18")
    spec = zoo.preprocess("resnet18", 64)
    pixels = torch.from_numpy(squares(photos, spec))
    with torch.inference_mode():
        all_three = zoo.trunk("resnet18", weights, (), spec)(pixels)
        first = zoo.trunk("resnet18", weights, ("layer2",), spec)(pixels)
    close(first, torch.cat([all_three[:, :128], all_three[:, -512:]], dim=1))
    with pytest.raises(ModelError, match=r"resnet18 has no stage layer7\. Allowed: .*layer4"):
        zoo.trunk("resnet18", weights, ("layer4", "layer7"), spec)


@pytest.mark.parametrize(
    "name",
    [
        "shufflenet_v2_x0_5",
        pytest.param("googlenet", marks=pytest.mark.slow),
        pytest.param("mnasnet0_5", marks=pytest.mark.slow),
    ],
)
def test_torchvision_networks_give_what_their_classifier_sees(name: str, photos: dict[str, Pixels]) -> None:
    network, weights = seeded(name)
    spec = zoo.preprocess(name, 64)
    pictures = squares(photos, spec)
    classifier: Any = network.fc if hasattr(network, "fc") else network.classifier
    with torch.inference_mode():
        features = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pictures))
        close(classifier(features), network(torch.from_numpy(tensor(pictures, spec))))


def test_torchvision_networks_with_features_give_their_mean(photos: dict[str, Pixels]) -> None:
    network: Any
    network, weights = seeded("squeezenet1_0")
    spec = zoo.preprocess("squeezenet1_0", 64)
    pictures = squares(photos, spec)
    with torch.inference_mode():
        found = zoo.trunk("squeezenet1_0", weights, (), spec)(torch.from_numpy(pictures))
        close(found, network.features(torch.from_numpy(tensor(pictures, spec))).mean((2, 3)))


@pytest.mark.slow
def test_a_network_of_two_scales(photos: dict[str, Pixels]) -> None:
    network: Any
    network, weights = seeded("crossvit_9_240")
    spec = zoo.preprocess("crossvit_9_240")
    pictures = squares(photos, spec)
    with torch.inference_mode():
        found = zoo.trunk("crossvit_9_240", weights, (), spec)(torch.from_numpy(pictures))
        x = torch.from_numpy(tensor(pictures, spec))
        tokens = network.forward_features(x)  # the last stage (normalised), one tensor a scale
        last = network.forward_head(tokens, pre_logits=True)
    widths = [t.shape[2] for t in tokens]
    assert len(widths) == 2
    assert found.shape[1] == 3 * sum(widths) + last.shape[1]
    close(found[:, -last.shape[1] :], last)


def test_pooling_finds_the_axes_of_space() -> None:
    x = torch.arange(2 * 5 * 7 * 7.0).view(2, 5, 7, 7)
    assert torch.equal(pools.pooled(x), pools.pooled(x.permute(0, 2, 3, 1)))
    assert torch.equal(pools.pooled(x), pools.pooled(x.flatten(2).transpose(1, 2)))
    assert torch.equal(pools.pooled(x), pools.pooled(pools.pooled(x)))
    assert torch.equal(pools.pooled([x, x]), torch.cat([pools.pooled(x)] * 2, dim=1))


def test_weights_of_another_network_are_refused() -> None:
    _, weights = seeded("resnet18")
    zoo.check_fit("resnet18", weights)
    message = r"not resnet34's: \d+ of \d+ tensors differ, first layer1\.2\.conv1\.weight: wanted \(64, 64, 3, 3\), got nothing"
    with pytest.raises(ModelError, match=message):
        zoo.check_fit("resnet34", weights)
    with pytest.raises(
        ModelError, match="these weights are not resnet34's"
    ):  # nor do they run, wherever they come from
        zoo.trunk("resnet34", weights, (), zoo.preprocess("resnet34", 64))
    changed = {**weights, "conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}
    with pytest.raises(
        ModelError, match=r"1 of \d+ tensors differ, first conv1\.weight: wanted \(64, 3, 7, 7\), got \(64, 1, 7, 7\)"
    ):
        zoo.check_fit("resnet18", changed)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "shufflenet_v2_x0_5"])
def test_a_classifier_of_other_classes_or_none_and_no_counters_do_fit(name: str) -> None:
    _, weights = seeded(name)
    body = {k: v for k, v in tensors(zoo.build(name, classes=3)).items() if not k.endswith("num_batches_tracked")}
    zoo.check_fit(name, body)
    bare = {k: v for k, v in body.items() if not k.startswith(("fc.", "classifier."))}
    assert len(bare) == len(body) - 2
    zoo.check_fit(name, bare)
    spec = zoo.preprocess(name, 64)
    whole = {**weights, **bare}
    with torch.inference_mode():
        pixels = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8)
        close(zoo.trunk(name, bare, (), spec)(pixels), zoo.trunk(name, whole, (), spec)(pixels))


def test_renaming_by_position(tmp_path: Path) -> None:
    network, weights = seeded("resnet18")
    torch.save(
        {f"module.{number}": value for number, value in enumerate(network.state_dict().values())}, tmp_path / "a.pth"
    )
    renamed = zoo.rename_by_position("resnet18", tmp_path / "a.pth")
    assert list(renamed) == list(weights)
    for name, value in renamed.items():
        np.testing.assert_array_equal(value, weights[name])
    with pytest.raises(ModelError, match=r"a\.pth does not match resnet34 tensor for tensor"):
        zoo.rename_by_position("resnet34", tmp_path / "a.pth")


@pytest.mark.slow
def test_a_transformer_of_torchvision_runs_as_a_graph(photos: dict[str, Pixels]) -> None:
    from visum.models import compiled
    from visum.models.weights import Backbone, digest_of_weights

    network: Any
    network, _ = seeded("vit_b_16")
    torch.nn.init.normal_(network.heads.head.weight)  # zeros at first, which would tell nothing
    weights = tensors(network)
    spec = zoo.preprocess("vit_b_16")
    pictures = squares(photos, spec)
    backbone = Backbone("vit_b_16", weights, spec, (), digest_of_weights(weights))
    found = compiled.engine(backbone, spec, "onnxruntime").run(pictures)
    with torch.inference_mode():
        close(network.heads(torch.from_numpy(found)), network(torch.from_numpy(tensor(pictures, spec))))
