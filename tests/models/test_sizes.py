"""Which sizes a network takes: held to what PyTorch does at these sizes with real numbers, and to timm's own interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from visum.data.pixels import fit, tensor
from visum.errors import ModelError
from visum.models import sizes, zoo
from visum.models.weights import Backbone, digest_of_weights
from visum.types import Pixels

VIT = "vit_tiny_patch16_224"
SLOW = [
    pytest.param(name, side, good, marks=pytest.mark.slow)
    for name, side, good in (
        ("vit_b_16", 96, True),
        ("swin_tiny_patch4_window7_224", 160, True),
        ("coatnet_nano_rw_224", 208, False),
        ("coatnet_nano_rw_224", 192, True),
    )
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Pictures this small are not worth waking a second thread for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def runs(name: str, side: int) -> bool:
    """With real numbers."""
    try:
        with torch.inference_mode():
            zoo.create(name, size=side)(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize(
    ("name", "side", "good"),
    [(VIT, 96, True), ("resnet18", 50, True), ("squeezenet1_1", 12, False), ("cnn", 1, True), *SLOW],
)
def test_what_is_taken_is_what_runs(name: str, side: int, good: bool) -> None:
    assert runs(name, side) is good
    assert sizes.tried(name, (224, side)) == ((224, side) if good else (224,))


def test_what_cannot_be_tried_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum())  # there are no numbers to sum on the meta device

    monkeypatch.setattr(zoo, "create", lambda *_, **__: Odd())
    monkeypatch.setattr(zoo, "preprocess", lambda _: zoo.Preprocess(size=224))
    assert sizes.tried("odd", (224, 96)) == (224, 96)
    sizes.check("odd", 96)


def test_packaged_networks_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "create", lambda *_, **__: pytest.fail("nothing need be built"))
    assert sizes.taken("efficientnet_lite0", None, (64, 224)) == (64, 224)
    assert sizes.taken("efficientnet_lite0", "mine.safetensors", (64, 224)) == (64, 224)


def test_a_size_that_cannot_be_met_names_those_that_can() -> None:
    words = (
        rf"{VIT} does not take pictures of 100 px: its patches of 16 px would not see the last 4\. "
        r"Allowed: 96, 112, 224 px, among others\. Try: --size 96"
    )
    with pytest.raises(ModelError, match=words):
        zoo.build(VIT, size=100)
    assert all(runs(VIT, side) for side in sizes.nearest(VIT, 100))


@pytest.fixture(scope="module")
def vit() -> dict[str, NDArray[Any]]:
    """A transformer as it was trained: with positions that tell places apart."""
    torch.manual_seed(0)
    state = zoo.build(VIT).state_dict()
    return {key: value.numpy() for key, value in state.items()}


def by_timm(vit: dict[str, NDArray[Any]], side: int) -> Any:
    """The same network for another size, by timm alone: built at its own, loaded, then told the new one."""
    network = timm.create_model(VIT).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in vit.items()})
    network.set_input_size(side)
    return network


def test_positions_are_carried_to_another_size_as_timm_does(
    vit: dict[str, NDArray[Any]], photos: dict[str, Pixels]
) -> None:
    spec = zoo.preprocess(VIT, 96)
    pixels = np.stack([fit(photo, spec) for photo in photos.values()])
    theirs = by_timm(vit, 96)
    moved = sizes.carried(VIT, vit, zoo.build(VIT, size=96), 96)
    assert moved["pos_embed"].shape == (1, 1 + 6 * 6, 192) != vit["pos_embed"].shape
    np.testing.assert_allclose(moved["pos_embed"], theirs.pos_embed.detach().numpy(), atol=1e-5)
    assert all(moved[key] is vit[key] for key in vit if key != "pos_embed")
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pixels, spec))
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        found = zoo.trunk(VIT, vit, (), spec)(torch.from_numpy(pixels))
    torch.testing.assert_close(found[:, -192:], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_weights_of_any_size_and_any_head_are_this_network(vit: dict[str, NDArray[Any]]) -> None:
    small = {key: value.numpy() for key, value in zoo.build(VIT, classes=3, size=96).state_dict().items()}
    zoo.check_fit(VIT, small)
    again = zoo.loaded(VIT, small, 96)  # trained and used at 96 px: nothing is interpolated
    assert torch.equal(again.pos_embed, torch.from_numpy(small["pos_embed"]))
    headless = {key: value for key, value in small.items() if not key.startswith("head.")}
    zoo.check_fit(VIT, headless)
    with pytest.raises(ModelError, match="these weights are not vit_small_patch16_224's"):
        zoo.check_fit("vit_small_patch16_224", small)


@pytest.mark.slow
def test_a_transformer_runs_as_a_graph_at_another_size(vit: dict[str, NDArray[Any]], photos: dict[str, Pixels]) -> None:
    import onnxruntime

    from visum.models import compiled

    spec = zoo.preprocess(VIT, 64)
    pixels = np.stack([fit(photo, spec) for photo in photos.values()])
    graph = compiled.exported(Backbone(VIT, vit, spec, (), digest_of_weights(vit)), spec)
    (found,) = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})
    theirs = by_timm(vit, 64)
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pixels, spec))
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True).numpy()
    np.testing.assert_allclose(found[:, -192:], expected, atol=1e-4)


@pytest.mark.slow
def test_what_cannot_be_carried_is_not_called_another_network_s() -> None:
    """ResMLP mixes patches by a linear layer: for another number of patches there are no weights."""
    name = "resmlp_12_224"
    weights = {key: value.numpy() for key, value in zoo.build(name).state_dict().items()}
    words = rf"{name}'s weights cannot be carried over from 224 px to 96 px\. Allowed: 224 px\. Try: --size 224"
    with pytest.raises(ModelError, match=words):
        zoo.loaded(name, weights, 96)
    with pytest.raises(ModelError, match=f"these weights are not {name}'s"):
        zoo.loaded(name, {"a": np.zeros(3, np.float32)}, 96)


def test_a_network_that_cannot_be_built_for_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    build = timm.create_model

    def strict(name: str, **settings: Any) -> Any:
        if "img_size" in settings:
            raise TypeError("Odd.__init__() got an unexpected keyword argument 'img_size'")
        return build(name, **settings)

    monkeypatch.setattr(timm, "create_model", strict)
    with pytest.raises(ModelError, match=r"px: it is made for 224 px alone\. Allowed: 224 px\. Try"):
        zoo.build(VIT, size=96)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")
@pytest.mark.parametrize(
    ("name", "same"), [("swin_tiny_patch4_window7_224", {"window_size": 7}), ("coatnet_nano_rw_224", {})]
)
def test_relative_positions_are_carried_too(name: str, same: dict[str, Any], photos: dict[str, Pixels]) -> None:
    torch.manual_seed(0)
    theirs: Any = timm.create_model(name).eval()
    weights = {key: value.numpy() for key, value in theirs.state_dict().items()}
    theirs.set_input_size((96, 96), **same)
    spec = zoo.preprocess(name, 96)
    pixels = np.stack([fit(photo, spec) for photo in photos.values()])
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pixels, spec))
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        found = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pixels))
    torch.testing.assert_close(found[:, -expected.shape[1] :], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_torchvisions_transformer_is_carried_by_torchvision() -> None:
    from collections import OrderedDict

    from torchvision.models.vision_transformer import interpolate_embeddings

    weights = {key: value.numpy() for key, value in zoo.build("vit_b_32").state_dict().items()}
    state = OrderedDict((key, torch.from_numpy(value)) for key, value in weights.items())
    expected = interpolate_embeddings(96, 32, state)["encoder.pos_embedding"]
    assert torch.equal(zoo.loaded("vit_b_32", weights, 96).encoder.pos_embedding, expected)
