"""The moving average held to timm's, to closed forms, and to the law that looking changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from visum.learn import ema


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def a_step(model: nn.Module) -> None:
    """One step of training on noise: weights move, batch-norm statistics move, a counter counts."""
    model.train()
    model(torch.randn(8, 3, 4, 4)).square().sum().backward()
    torch.optim.SGD(model.parameters(), 0.05).step()
    model.zero_grad()


def test_equals_timm_step_by_step(model: nn.Module) -> None:
    theirs = ModelEmaV3(model, decay=0.7, use_warmup=True, foreach=False)
    ours = ema.start(model)
    for step in range(1, 12):
        a_step(model)
        theirs.update(model, step)
        ema.update(ours, model, ema.decay(step, most=0.7))
    expected = theirs.module.state_dict()
    assert list(ours) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value)
    assert ours["1.num_batches_tracked"] == 11
    assert not torch.equal(ours["1.running_mean"], model.state_dict()["1.running_mean"])


def test_decay_equals_timm(model: nn.Module) -> None:
    theirs = ModelEmaV3(model, decay=0.999, use_warmup=True, warmup_power=3 / 4)
    for step in (1, 2, 3, 10, 100, 1_000, 100_000):
        assert ema.decay(step, most=0.999, power=3 / 4) == pytest.approx(theirs.get_decay(step))


def test_power_1_is_the_mean_of_all_weights() -> None:
    model = nn.Linear(2, 1, bias=False)
    average, seen = ema.start(model), []
    for step in range(1, 8):
        nn.init.normal_(model.weight)
        seen.append(model.weight.detach().clone())
        ema.update(average, model, ema.decay(step, power=1))
    torch.testing.assert_close(average["weight"], torch.stack(seen).mean(0))


def test_frozen_weights_stay_bit_for_bit(model: nn.Module) -> None:
    average = ema.start(model)
    for step in range(1, 50):
        ema.update(average, model, ema.decay(step))
    for name, value in model.state_dict().items():
        assert torch.equal(average[name], value)
        assert average[name].data_ptr() != value.data_ptr()


def test_half_precision_is_averaged_in_full() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.zeros_(model.weight)
    average = ema.start(model)
    nn.init.ones_(model.weight)
    for _ in range(3):  # in bfloat16 the second step would be lost: 1e-3 + 0.999e-3 has too few digits
        ema.update(average, model, 0.999)
    assert average["weight"].dtype == torch.float32
    assert average["weight"].item() == pytest.approx(1 - 0.999**3, rel=1e-4)


def test_applied_lends_the_average_and_gives_the_weights_back(model: nn.Module) -> None:
    average = ema.start(model)
    a_step(model)
    before = copy.deepcopy(model.state_dict())
    with ema.applied(model, average) as lent:
        assert lent is model
        assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="inside"), ema.applied(model, average):
        raise RuntimeError("inside")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(before["0.weight"], average["0.weight"])
