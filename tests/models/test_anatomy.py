"""Shapes, weights and work: held to what torchvision publishes of its networks and to PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visum.errors import ModelError
from visum.models import anatomy, zoo

SLOW = [
    "resnet152",
    "densenet201",
    "swin_b",
    "convnext_base",
    "efficientnet_b1",
    "maxvit_t",
    "vit_l_32",
]
PUBLISHED = [
    "resnet50",
    "vgg16",
    "mobilenet_v3_large",
    "shufflenet_v2_x1_0",
    "swin_t",
    "vit_b_16",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PUBLISHED)
def test_work_and_weights_are_those_that_torchvision_publishes(name: str) -> None:
    """``_ops``: multiply-adds in thousand millions, counted by torchvision's maintainers at the size of evaluation."""
    weights = next(iter(torchvision.models.get_model_weights(name)))
    size = weights.transforms.keywords["crop_size"]
    meta = weights.meta
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
        found = anatomy.of_network(network, torch.zeros(1, 3, size, size))
    assert found.parameters == meta["num_params"]
    assert found.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.005, abs=0.0006)


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",
        "vit_tiny_patch16_224",
        pytest.param("coatnet_nano_rw_224", marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
        pytest.param("xcit_nano_12_p16_224", marks=pytest.mark.slow),
    ],
)
def test_work_is_what_torch_counts(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name).eval()
        x = torch.zeros(1, 3, 224, 224)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
        found = anatomy.of_network(network, x)
    assert 2 * found.multiply_adds == counter.get_total_flops()


def test_real_pictures_give_the_same_as_shapes_alone() -> None:
    """On the processor attention is another operator than without one."""
    name = "vit_tiny_patch16_224"
    real = anatomy.of_network(zoo.build(name, size=64), torch.zeros(1, 3, 64, 64))
    assert real == anatomy.examine(name, 64)


def test_efficientnet_lite0_by_its_paper_s_parent() -> None:
    """TensorFlow publishes 407 M for Lite0, normalisation and activations included; convolutions alone are 5 % less. They are
    those of EfficientNet-B0 (0.39 G: Tan and Le 2019, table 2) without the channel attention."""
    lite, b0 = (anatomy.examine(name, 224).multiply_adds for name in ("tf_efficientnet_lite0", "tf_efficientnet_b0"))
    assert 0.94 * 407e6 < lite < 407e6
    assert b0 == pytest.approx(0.39e9, rel=0.02)
    assert 0.99 < lite / b0 < 1


def test_layers_of_a_network_written_by_hand() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.grouped = nn.Conv2d(8, 16, (1, 3), groups=4)
            self.up = nn.ConvTranspose2d(16, 4, 3, stride=2)
            self.unused = nn.Linear(3, 3)
            self.drop = nn.Dropout()
            self.head = nn.Linear(4, 10)

        def forward(self, x: torch.Tensor) -> Any:
            x = self.up(self.grouped(self.conv(x)))
            self.drop(x)
            x = x @ x.transpose(2, 3)  # outside of any module
            return self.head(x.mean((2, 3)))

    found = anatomy.of_network(Small(), torch.zeros(1, 3, 10, 12))
    rows = {row.name: (row.kind, row.shape, row.parameters, row.multiply_adds) for row in found.layers}
    assert rows == {
        "conv": ("Conv2d 3x3 /2", (8, 5, 6), 216, 8 * 5 * 6 * 27),
        "grouped": ("Conv2d 1x3", (16, 5, 4), 16 * 2 * 3 + 16, 16 * 5 * 4 * 6),
        "up": ("ConvTranspose2d 3x3 /2", (4, 11, 9), 16 * 4 * 9 + 4, 16 * 5 * 4 * 4 * 9),
        "head": ("Linear", (10,), 50, 40),
    }
    outside = 4 * 11 * 11 * 9
    assert found.multiply_adds == sum(row.multiply_adds for row in found.layers) + outside
    assert found.parameters == sum(row.parameters for row in found.layers) + 12


def test_attention_that_torch_would_run_as_one_operator() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(x.reshape(1, -1, 8))

    tokens = 3 * 4 * 4 // 8
    linear, products = 4 * tokens * 8 * 8 + 2 * tokens * 8 * 16, 2 * tokens * tokens * 8
    assert anatomy.of_network(Attending(), torch.randn(1, 3, 4, 4)).multiply_adds == linear + products


def test_large_networks_are_shown_in_parts_and_small_ones_layer_by_layer() -> None:
    names = [layer.name for layer in anatomy.examine("resnet50", 64).layers]
    assert names == [*("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"), "global_pool", "fc"]
    vit = [layer.name for layer in anatomy.examine("vit_tiny_patch16_224", 224).layers]
    assert vit == ["patch_embed", *(f"blocks.{number}" for number in range(12)), "norm", "head"]
    tiny = anatomy.examine("cnn:widths=8,fc=4,dropout=0.1", 28).layers
    assert [(layer.name, layer.shape) for layer in tiny] == [
        ("stages.0.conv", (8, 28, 28)),
        ("stages.0.norm", (8, 28, 28)),
        ("stages.0.act", (8, 28, 28)),
        ("stages.0.pool", (8, 14, 14)),
        ("fc.1", (4,)),
        ("fc.2", (4,)),
        ("classifier", (1000,)),
    ]


def test_work_grows_with_the_area_and_weights_do_not() -> None:
    small, large = anatomy.examine("resnet18", 128), anatomy.examine("resnet18", 256)
    assert large.multiply_adds / small.multiply_adds == pytest.approx(4, rel=0.01)
    assert large.parameters == small.parameters
    assert anatomy.examine("resnet18", 128, classes=3).parameters == small.parameters - 997 * 513


def test_a_network_that_asks_for_numbers_while_it_is_built() -> None:
    """torchvision's RegNets read a tensor's value, which shapes alone do not have; then it is built for real."""
    found = anatomy.examine("regnet_y_400mf", 224)
    meta = torchvision.models.RegNet_Y_400MF_Weights.IMAGENET1K_V1.meta
    assert found.parameters == meta["num_params"]
    assert found.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.005)


def test_nothing_of_a_network_is_changed() -> None:
    network = zoo.build("resnet18")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    anatomy.of_network(network, torch.zeros(1, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_size_that_is_not_taken_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ModelError, match=r"vgg16 does not take pictures of 8 px: .* Allowed: 32 px, among others"):
        anatomy.examine("vgg16", 8)
