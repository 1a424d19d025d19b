"""The textbook network: spelled, read back, held to the same layers written by hand, and at home where timm's networks are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from visum.data.pixels import fit, tensor
from visum.errors import ModelError
from visum.models import cnn, compiled, prefix, zoo
from visum.models.cnn import Cnn
from visum.models.weights import Backbone, digest_of_weights
from visum.types import Pixels

WIDTHS = st.lists(st.integers(1, 4096), min_size=1, max_size=8).map(tuple)


@given(
    st.builds(
        Cnn,
        widths=WIDTHS,
        depth=st.integers(1, 8),
        stem=st.integers(0, 4096),
        kernel=st.sampled_from(range(1, 16, 2)),
        pool=st.sampled_from(list(cnn.POOLS)),
        activation=st.sampled_from(list(cnn.ACTIVATIONS)),
        batch_norm=st.booleans(),
        dropout=st.floats(0, 1, exclude_max=True),
        fc=st.just(()) | WIDTHS,
    )
)
def test_every_network_has_a_name_that_is_read_as_it(layers: Cnn) -> None:
    name = cnn.spelled(layers)
    assert cnn.parse(name) == layers
    assert cnn.is_name(name)


def test_what_is_not_said_is_the_default_and_what_is_default_is_not_said() -> None:
    assert cnn.parse("cnn") == Cnn()
    assert cnn.spelled(cnn.parse("cnn:pool=max, widths=32-64-128 ,dropout=0.0,batch_norm=on")) == "cnn"
    assert cnn.spelled(replace(Cnn(), fc=(256, 128))) == "cnn:fc=256-128"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "cnn:activation=rellu",
            r"activation is 'rellu' \(did you mean relu\?\), where relu, leaky_relu, .* is allowed",
        ),
        ("cnn:widhts=32", "there is no setting 'widhts', did you mean widths\\?"),
        ("cnn:", "there is no setting ''"),
        ("cnn:pool", "pool is '', where max, average is allowed"),
        ("cnn:kernel=4", "kernel is '4', where an odd number from 1 to 15 is allowed"),
        ("cnn:widths=32-0", "widths is '32-0'"),
        ("cnn:widths=-32", "widths is '-32'"),
        ("cnn:widths=٣٢", "widths is '٣٢'"),
        ("cnn:widths=" + "9" * 5000, "widths is '9+'"),
        ("cnn:widths=" + "-".join(["8"] * 9), "widths is '8-8"),
        ("cnn:dropout=1", "dropout is '1', where 0 or more and less than 1 is allowed"),
        ("cnn:dropout=nan", "dropout is 'nan'"),
        ("cnn:pool=max,pool=average", "pool is said twice"),
        ("cnn:batch_norm=yes", "batch_norm is 'yes', where on, off is allowed"),
        ("cnn:kernel=2,pool=mean,x=1", "kernel is '2'.*; pool is 'mean'.*; there is no setting 'x'"),
    ],
)
def test_a_misspelling_is_told_with_all_its_faults(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=rf"cannot be built: {words}.*Allowed: cnn, or cnn:SETTING=VALUE.*Try: cnn:"):
        zoo.build(name)


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor, activation: Any, pool: Any) -> torch.Tensor:
    """``cnn:widths=6-10,kernel=5,fc=7`` in evaluation, by functions of PyTorch alone."""
    for stage in (0, 1):
        x = functional.conv2d(x, state[f"stages.{stage}.conv.weight"], padding=2)
        statistics = (
            state[f"stages.{stage}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = pool(activation(functional.batch_norm(x, *statistics)), 2)
    x = activation(functional.linear(x.mean((2, 3)), state["fc.1.weight"], state["fc.1.bias"]))
    return functional.linear(x, state["classifier.weight"], state["classifier.bias"])


@pytest.mark.parametrize(
    ("word", "activation"),
    [
        ("relu", torch.relu),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("gelu", lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2),
        ("swish", lambda x: x * torch.sigmoid(x)),
        ("mish", lambda x: x * torch.tanh(torch.log1p(torch.exp(x)))),
    ],
)
@pytest.mark.parametrize(("kind", "pool"), [("max", functional.max_pool2d), ("average", functional.avg_pool2d)])
def test_layers_are_the_textbook_s(word: str, activation: Any, kind: str, pool: Any) -> None:
    torch.manual_seed(0)
    network = cnn.build(f"cnn:widths=6-10,kernel=5,pool={kind},activation={word},fc=7,dropout=0.5", 4)
    network.train()
    for _ in range(2):  # statistics of its own
        network(torch.randn(8, 3, 20, 12))
    network.eval()
    x = torch.randn(3, 3, 20, 12)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), by_hand(network.state_dict(), x, activation, pool))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (28, 28), (33, 64)])
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    network = cnn.build("cnn:widths=4-4-4-4-4-4-4-4", 5)
    assert network(torch.zeros(2, 3, *size)).shape == (2, 5)


def test_without_batch_norm_convolutions_have_a_bias_and_dropout_drops() -> None:
    network: Any = cnn.build("cnn:batch_norm=off,dropout=0.5,fc=16", 3)
    kinds = [type(module).__name__ for module in network.modules()]
    assert kinds.count("BatchNorm2d") == 0
    assert kinds.count("Dropout") == 2
    assert network.stages[0].conv.bias is not None
    x = torch.randn(4, 3, 28, 28)
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_stem_and_depth_are_the_layers_that_are_written_by_hand() -> None:
    network: Any = cnn.build("cnn:stem=4,widths=6,depth=2,pool=average", classes=3)
    shapes = [tuple(p.shape) for p in network.parameters() if p.ndim == 4]
    assert shapes == [(4, 3, 5, 5), (6, 4, 3, 3), (6, 6, 3, 3)]
    x = torch.randn(2, 3, 28, 28)
    stem, stage = network.stem, network.stages[0]
    y = functional.relu(stem.norm(functional.conv2d(x, stem.conv.weight, stride=2, padding=2)))
    assert y.shape[-2:] == (14, 14)
    y = functional.relu(stage.norm(functional.conv2d(y, stage.conv.weight, padding=1)))
    y = functional.relu(stage.norm2(functional.conv2d(y, stage.conv2.weight, padding=1)))
    y = functional.avg_pool2d(y, 2).mean((2, 3))
    torch.testing.assert_close(network(x), network.classifier(y))
    assert network.feature_info[0]["reduction"] == 4


def test_activations_neither_fade_nor_grow_at_the_start() -> None:
    """He et al. 2015, eq. 10: a rectifier halves the variance, and the weights make up for it."""
    torch.manual_seed(0)
    network: Any = cnn.build("cnn:widths=64-64-64-64-64-64-64-64,batch_norm=off,kernel=1")
    x = torch.randn(64, 3, 256, 1)  # one pixel wide: nothing is pooled
    with torch.inference_mode():
        first = network.stages[0](x).square().mean()
        last = network.stages(x).square().mean()
    assert 0.4 < float(last / first) < 2.5


def test_it_learns_what_textbooks_learn() -> None:
    """Handwritten digits of writers whom it has never seen: better than a linear model of the pixels, which gets 92.1 %."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    pictures = torch.from_numpy((x.reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32)).expand(-1, 3, -1, -1)
    labels = torch.from_numpy(y)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = cnn.build("cnn:widths=24-48,fc=64", 10).train()
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(6):
        for batch in torch.randperm(1200).split(40):
            optimiser.zero_grad()
            functional.cross_entropy(network(pictures[batch]), labels[batch]).backward()
            optimiser.step()
    with torch.inference_mode():
        right = network.eval()(pictures[1200:]).argmax(1) == labels[1200:]
    torch.set_num_threads(threads)
    assert right.float().mean() > 0.95


def test_it_is_a_backbone_like_any_other(photos: dict[str, Pixels]) -> None:
    """Stages, trunk, graph, cut."""
    import onnxruntime

    name = "cnn:widths=8-12-16,fc=24,activation=mish,pool=average"
    network: Any = zoo.build(name, classes=3)
    assert zoo.stages(network) == ("stages.0", "stages.1", "stages.2")
    assert zoo.classifiers(network) == ("classifier",)
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    spec = zoo.preprocess(name, 30)
    pixels = np.stack([fit(photo, spec) for photo in photos.values()])
    with torch.inference_mode():
        x = torch.from_numpy(tensor(pixels, spec))
        found = zoo.trunk(name, weights, (), spec)(torch.from_numpy(pixels))
        assert found.shape == (3, 8 + 12 + 16 + 24)
        torch.testing.assert_close(found[:, 20:36], network.forward_features(x).mean((2, 3)))
        torch.testing.assert_close(network.classifier(found[:, 36:]), network(x))
    backbone = Backbone(name, weights, spec, (), digest_of_weights(weights))
    graph = compiled.exported(backbone, spec)
    (told,) = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})
    np.testing.assert_allclose(told, found.numpy(), atol=1e-4)
    halves = prefix.split(backbone, "stages.1")
    assert halves.shape == (12, 7, 7)
    with torch.inference_mode():
        middle = halves.prefix(torch.from_numpy(pixels)).view(3, *halves.shape)
        torch.testing.assert_close(halves.suffix(middle), found[:, 8:])  # what lies before the cut is not pooled


def test_every_word_is_a_layer_of_torch() -> None:
    for word in (*cnn.ACTIVATIONS.values(), *cnn.POOLS.values()):
        assert issubclass(getattr(nn, word), nn.Module)
