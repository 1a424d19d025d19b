"""Optimisers and groups held to torch, timm and the papers' formulas, and to exact resumption."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.optim import Optimizer

from visum.errors import RecipeError, UsageError
from visum.learn import optim
from visum.learn.optim import OPTIMISERS

RATE, DECAY = 0.01, 0.1


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(seed: int = 0) -> nn.Sequential:
    """Convolution, depthwise convolution, norm and two linear layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),  # a bias before a norm has a slope of nothing but rounding
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Sequential(nn.Linear(32, 6), nn.GELU(), nn.Linear(6, 5)),
    )


def train(model: nn.Module, optimiser: Optimizer, steps: range, of: int = 10) -> None:
    """Steps on noise that depends on the step alone, at rates that fall."""
    for step in steps:
        torch.manual_seed(step)
        optim.set_rate(optimiser, RATE * (1 - step / of), step / of)
        optimiser.zero_grad()
        model(torch.randn(4, 3, 6, 6)).square().mean().backward()
        optimiser.step()


def build(name: str, model: nn.Module, **settings: Any) -> Optimizer:
    return OPTIMISERS[name](optim.groups(model, lr=RATE, weight_decay=DECAY), RATE, DECAY, **settings)


def assert_same(one: nn.Module, other: nn.Module, **close: float) -> None:
    for name, value in other.state_dict().items():
        torch.testing.assert_close(
            one.state_dict()[name], value, **close, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sgd", lambda groups: torch.optim.SGD(groups)),
        ("momentum", lambda groups: torch.optim.SGD(groups, momentum=0.9)),
        ("nesterov", lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True)),
        ("adam", lambda groups: torch.optim.Adam(groups)),
        ("adamw", lambda groups: torch.optim.AdamW(groups)),
    ],
)
def test_equals_torch(name: str, theirs: Any) -> None:
    model, twin = network(), network()
    expected = theirs(
        [
            {"params": [p for p in twin.parameters() if p.ndim > 1], "lr": RATE, "weight_decay": DECAY},
            {"params": [p for p in twin.parameters() if p.ndim == 1], "lr": RATE, "weight_decay": 0.0},
        ]
    )
    train(model, build(name, model), range(6))
    train(twin, expected, range(6))
    assert_same(model, twin, rtol=1e-5, atol=1e-7)


def test_lion_is_the_paper() -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 4))
    optimiser = OPTIMISERS["lion"]([{"params": [w]}], RATE, DECAY)
    m, expected = torch.zeros(4, 4), w.detach().clone()
    for _ in range(4):
        w.grad = torch.randn(4, 4)
        expected = expected - RATE * ((0.9 * m + 0.1 * w.grad).sign() + DECAY * expected)  # Chen et al. 2023, Program 1
        m = 0.99 * m + 0.01 * w.grad
        optimiser.step()
    torch.testing.assert_close(w.detach(), expected)


def test_adam_then_sgd_is_adam_and_then_sgd() -> None:
    model, twin = network(), network()
    ours = build("adam_then_sgd", model, switch=0.5)
    adam = build("adam", twin)
    train(model, ours, range(5))
    train(twin, adam, range(5))
    assert_same(model, twin, rtol=1e-4, atol=1e-6)
    ratios = [math.sqrt(group["step_square"] / group["moment_square"]) for group in ours.param_groups]
    sgd = torch.optim.SGD(
        [
            {"params": group["params"], "lr": RATE, "share": ratio, "weight_decay": group["weight_decay"]}
            for group, ratio in zip(adam.param_groups, ratios, strict=True)
        ],
        momentum=0.9,
        dampening=0.9,
    )
    for p in twin.parameters():
        sgd.state[p]["momentum_buffer"] = adam.state[p]["exp_avg"].clone()
    train(model, ours, range(5, 10))
    train(twin, sgd, range(5, 10))
    assert_same(model, twin, rtol=1e-4, atol=1e-6)


def test_the_switch_neither_jumps_nor_stalls() -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.zeros(400))
    optimiser = OPTIMISERS["adam_then_sgd"]([{"params": [w]}], RATE, 0.0, switch=0.5)
    lengths = []
    for step in range(40):
        before = w.detach().clone()
        w.grad = torch.randn(400) * 1e-3  # a scale that plain SGD at this rate would hardly move by
        optim.set_rate(optimiser, RATE, step / 40)
        optimiser.step()
        lengths.append((w.detach() - before).norm().item())
    assert lengths[20] == pytest.approx(lengths[19], rel=0.5)
    assert sum(lengths[20:]) == pytest.approx(sum(lengths[:20]), rel=0.7)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_resumed_run_ends_with_the_same_bits(name: str) -> None:
    straight = network()
    train(straight, build(name, straight), range(10))
    first = network()
    optimiser = build(name, first)
    train(first, optimiser, range(7))
    saved = optimiser.state_dict()
    tensors = {  # what safetensors can hold, and what JSON can hold
        (index, key): value.clone()
        for index, state in saved["state"].items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    plain = {
        index: {key: value for key, value in state.items() if not isinstance(value, Tensor)}
        for index, state in saved["state"].items()
    }
    groups = json.loads(json.dumps(saved["param_groups"]))
    state = {index: dict(values) for index, values in plain.items()}
    assert json.loads(json.dumps(list(plain.values()))) == list(plain.values())
    for (index, key), value in tensors.items():
        state[index][key] = value
    second = network(seed=1)
    second.load_state_dict(first.state_dict())
    resumed = build(name, second)
    resumed.load_state_dict({"state": state, "param_groups": groups})
    train(second, resumed, range(7, 10))
    assert_same(second, straight, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_decoupled_decay_shrinks_by_rate_times_decay(name: str) -> None:
    w = nn.Parameter(torch.ones(8, 8))
    w.grad = torch.zeros(8, 8)
    OPTIMISERS[name]([{"params": [w]}], RATE, DECAY).step()
    torch.testing.assert_close(w.detach(), torch.full((8, 8), 1 - RATE * DECAY))


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "test_resnet"])
def test_groups_equal_timm(name: str) -> None:
    model = timm.create_model(name, num_classes=3)
    skip = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    names = {p: name for name, p in model.named_parameters()}
    theirs = {
        names[p]: (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(model, DECAY, skip, layer_decay=0.7)
        for p in group["params"]
    }
    found = optim.groups(model, lr=RATE, weight_decay=DECAY, layer_decay=0.7)
    ours = {names[p]: (group["share"], group["weight_decay"]) for group in found for p in group["params"]}
    assert sum(len(group["params"]) for group in found) == len(ours) == len(names)
    for p, pair in theirs.items():
        assert ours[p] == pytest.approx(pair), p
    assert all(group["lr"] == RATE * group["share"] for group in found)
    assert len({share for share, _ in ours.values()}) > 3


def test_without_layer_decay_there_are_two_groups() -> None:
    model = network()
    plain, decaying = optim.groups(model, lr=RATE, weight_decay=DECAY)
    assert {p.ndim for p in plain["params"]} == {1}
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert (plain["weight_decay"], decaying["weight_decay"]) == (0, DECAY)
    assert plain["share"] == decaying["share"] == 1


def test_a_bias_with_several_axes_does_not_decay() -> None:
    model = nn.Module()
    model.weight, model.relative_position_bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    plain, _ = optim.groups(model, lr=RATE, weight_decay=DECAY)
    assert plain["params"][0] is model.relative_position_bias
    assert optim.l1(model).item() == 4


def test_depth_is_the_callers_or_that_of_the_blocks() -> None:
    model = network()
    assert {name: depth for name, depth in optim.depths(model).items() if name.endswith("weight")} == {
        "0.weight": 0,
        "1.weight": 1,
        "2.weight": 1,  # a norm goes with the kernel before it
        "4.0.weight": 2,
        "4.2.weight": 3,
    }
    by_hand = optim.groups(
        model, lr=1.0, weight_decay=0, layer_decay=0.5, depth_of=lambda name: 7 - 2 * (name[0] == "0")
    )
    assert [group["share"] for group in by_hand] == [0.25, 1, 1]
    assert by_hand[0]["params"][0] is model[0].weight


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    found = optim.groups(model, lr=RATE, weight_decay=DECAY, layer_decay=0.5)
    assert not any(p is model[0].weight for group in found for p in group["params"])
    model.requires_grad_(False)
    with pytest.raises(UsageError, match=r"every layer is frozen, so that there is nothing to train\. Try: a stage"):
        optim.groups(model, lr=RATE, weight_decay=DECAY)
    assert optim.l1(model).item() == 0


def test_set_rate_keeps_shares() -> None:
    model = network()
    found = optim.groups(model, lr=RATE, weight_decay=DECAY, layer_decay=0.5)
    optimiser = OPTIMISERS["muon"](found, RATE, DECAY)
    optim.set_rate(optimiser, 0.2, 0.3)
    assert {group["lr"] for group in optimiser.param_groups} == {0.2, 0.1, 0.05, 0.025}
    assert {group["done"] for group in optimiser.param_groups} == {0.3}


def test_clip_equals_torch_and_reports_the_length_before() -> None:
    model, twin = network(), network()
    for each in (model, twin):
        torch.manual_seed(1)
        each(torch.randn(4, 3, 6, 6)).square().sum().backward()
    length = nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
    assert optim.clip(model, 0.5) == pytest.approx(float(length))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    assert optim.clip(model, 0.7) == pytest.approx(0.5, rel=1e-4)
    before = copy.deepcopy([p.grad for p in model.parameters()])
    assert model[0].weight.grad is not None
    for broken in (math.nan, math.inf):
        model[0].weight.grad[0, 0, 0, 0] = broken
        assert not math.isfinite(optim.clip(model, 0.1))
        for p, gradient in list(zip(model.parameters(), before, strict=True))[1:]:
            torch.testing.assert_close(p.grad, gradient, rtol=0, atol=0)


def test_l1_is_the_sum_of_weights_and_pulls_by_their_sign() -> None:
    model = network()
    total = optim.l1(model)
    assert total.item() == pytest.approx(sum(p.abs().sum().item() for p in model.parameters() if p.ndim > 1), rel=1e-5)
    total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(model[0].weight.grad, model[0].weight.detach().sign())
    assert model[4][0].bias.grad is None


def test_check_fills_in_defaults_and_names_every_fault() -> None:
    assert optim.check("nesterov", lr=0.1, clip=None) == {"momentum": 0.9, "lr": 0.1, "clip": None}
    assert optim.check("adam_then_sgd")["switch"] == 0.5
    with pytest.raises(UsageError, match=r"no optimiser is called 'adamv'\. Allowed: sgd, .* Try: adam"):
        optim.check("adamv")
    with pytest.raises(RecipeError) as caught:
        optim.check(
            "adamw", lr=0.0, weight_decay=math.nan, layer_decay=1.5, clip=-1.0, beta2=1, accumulate=0, momentum=0.9
        )
    assert caught.value.faults == (
        "lr is 0.0. Allowed: a number, more than 0, at most 1000.",
        "weight_decay is nan. Allowed: a number, at least 0, at most 10.",
        "layer_decay is 1.5. Allowed: a number, more than 0, at most 1.",
        "clip is -1.0. Allowed: a number, more than 0.",
        "beta2 is 1. Allowed: a number, at least 0, less than 1.",
        "accumulate is 0. Allowed: a whole number, at least 1, at most 4096.",
        "momentum is no setting of optimiser adamw. Allowed: lr, weight_decay, layer_decay, clip, l1, accumulate, beta1, beta2.",
    )
