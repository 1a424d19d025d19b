"""A cut network is the same network: suffix(prefix(x)) == trunk(x), for every stage and several families."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from visum.data.pixels import fit
from visum.errors import ModelError
from visum.models import compiled, prefix, weights, zoo
from visum.models.embed import Network
from visum.models.weights import Backbone
from visum.types import Pixels, Preprocess

SIZE = 64


@pytest.fixture(scope="module")
def squares(photos: dict[str, Pixels]) -> Pixels:
    spec = Preprocess(size=SIZE)
    return np.stack([fit(photos["chelsea"], spec), fit(photos["coffee"], spec), fit(photos["chelsea"][:150], spec)])


def untrained(name: str, size: int = SIZE) -> Backbone:
    network = zoo.build(name)
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    return Backbone(name, tensors, replace(zoo.preprocess(name), size=size), (), weights.digest_of_weights(tensors))


@pytest.mark.parametrize("cut", ["none", "blocks.0", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "blocks.6"])
def test_two_halves_are_the_whole(cut: str, squares: Pixels) -> None:
    import torch

    backbone = weights.find(size=SIZE)
    halves = prefix.split(backbone, cut)
    whole = zoo.trunk(backbone.name, backbone.weights, backbone.stages, backbone.preprocess)
    with torch.no_grad():
        x = torch.from_numpy(squares)
        expected = whole(x).numpy()
        found = halves.suffix(halves.prefix(x).reshape(3, *halves.shape)).numpy()
    late = {"blocks.5": ("blocks.5", "blocks.6"), "blocks.6": ("blocks.6",)}
    assert halves.stages == late.get(cut, ("blocks.4", "blocks.5", "blocks.6"))
    np.testing.assert_allclose(found, expected[:, -found.shape[1] :], atol=2e-4)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenetv3_small_050",
        pytest.param("vgg11", marks=pytest.mark.slow),
        "convnext_atto",
        "vit_tiny_patch16_224",
    ],
)
def test_families(name: str) -> None:
    import torch

    backbone = untrained(name, 224 if name.startswith("vit") else SIZE)
    size = backbone.preprocess.size
    x = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = zoo.trunk(name, backbone.weights, (), backbone.preprocess)
    cut = prefix.cuts(backbone)[-2]
    halves = prefix.split(backbone, cut)
    with torch.no_grad():
        expected = whole(x)
        found = halves.suffix(halves.prefix(x).reshape(2, *halves.shape))
    torch.testing.assert_close(found, expected[:, -found.shape[1] :], atol=1e-4, rtol=1e-4)
    assert found.shape[1] < expected.shape[1]  # the first of the three watched stages lies before the cut


@pytest.mark.slow
def test_a_prefix_is_compiled_and_kept_like_any_backbone(squares: Pixels) -> None:
    import torch

    backbone = replace(weights.find(size=SIZE), cut="blocks.4")
    halves = prefix.split(backbone, "blocks.4")
    with torch.no_grad():
        expected = halves.prefix(torch.from_numpy(squares)).numpy()
    for name in compiled.installed():
        found = compiled.engine(backbone, backbone.preprocess, name).run(squares)
        assert np.abs(found - expected).max() < 5e-2 * np.abs(expected).max()
    plain = replace(backbone, cut="")
    assert compiled.graph_path(backbone, backbone.preprocess) != compiled.graph_path(plain, plain.preprocess)
    assert Network(backbone, backbone.preprocess).digest != Network(plain, plain.preprocess).digest


@pytest.mark.parametrize("last", ["blocks.4", "blocks.5", "blocks.6"])
def test_a_network_that_ends_early_has_the_first_columns(last: str, squares: Pixels) -> None:
    import torch

    backbone = weights.find(size=SIZE)
    short = prefix.shortened(replace(backbone, last=last))
    whole = zoo.trunk(backbone.name, backbone.weights, backbone.stages, backbone.preprocess)
    with torch.no_grad():
        expected, found = (each(torch.from_numpy(squares)).numpy() for each in (whole, short))
    assert found.shape[1] == {"blocks.4": 112, "blocks.5": 304, "blocks.6": 624}[last]
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=2e-4)
    left = {name for name, _ in short.named_parameters()}
    assert not any("conv_head" in name for name in left)
    assert any("blocks.6" in name for name in left) == (last == "blocks.6")
    with pytest.raises(ModelError, match=r"pools no stage 'blocks.9'.*blocks.4, blocks.5, blocks.6"):
        prefix.shortened(replace(backbone, last="blocks.9"))


@pytest.mark.slow
def test_a_network_that_ends_early_is_compiled_under_a_name_of_its_own(squares: Pixels) -> None:
    backbone = weights.find(size=SIZE)
    short = replace(backbone, last="blocks.4")
    assert compiled.graph_path(backbone, backbone.preprocess) != compiled.graph_path(short, short.preprocess)
    assert Network(backbone, backbone.preprocess).digest != Network(short, short.preprocess).digest
    vectors = [Network(each, each.preprocess, "onnxruntime").engine.run(squares) for each in (backbone, short)]
    np.testing.assert_allclose(vectors[1], vectors[0][:, :112], atol=2e-4)


def test_only_the_suffix_is_in_the_suffix() -> None:
    backbone = weights.find(size=SIZE)
    halves = prefix.split(backbone, "blocks.4")
    names = set(prefix.tensors(halves.suffix))
    assert names == {name for name in backbone.weights if name.startswith(("blocks.5", "blocks.6", "conv_head", "bn2"))}
    for parameter in halves.suffix.parameters():
        parameter.data += 1
    whole = prefix.merged(backbone, prefix.tensors(halves.suffix))
    assert list(whole) == list(backbone.weights)
    for name, value in backbone.weights.items():
        changed = name in dict(halves.suffix.named_parameters(prefix="")) or f"network.{name}" in dict(
            halves.suffix.named_parameters()
        )
        np.testing.assert_array_equal(whole[name], value + 1 if changed else value)


def test_a_stage_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r"no stage 'blocks\.9'.*none, blocks\.0.*--cut blocks\.4"):
        prefix.split(weights.find(size=SIZE), "blocks.9")


def test_a_cut_inside_a_stage_names_the_stage() -> None:
    with pytest.raises(ModelError, match=r"layer2\.0\.conv1 lies within the stage layer2.*--cut layer2"):
        prefix.split(untrained("resnet18"), "layer2.0.conv1")


def test_a_cut_that_others_reach_across_is_refused() -> None:
    backbone = replace(untrained("resnet18"), stages=("layer4",))
    with pytest.raises(ModelError, match="needs more than its output"):
        prefix.split(backbone, "layer2.0.conv1")
