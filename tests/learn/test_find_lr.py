"""The range test on real digits and on a quadratic whose largest stable rate is known."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from visum.errors import UsageError
from visum.learn import optim
from visum.learn.find_lr import RangeTest, find_lr, suggest

Batch = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    """Real handwritten digits in a fixed shuffle, 64 a batch."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    pictures, labels = torch.from_numpy(x[order]).float() / 16, torch.from_numpy(y[order])
    return list(zip(pictures.split(64), labels.split(64), strict=True))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def seek(model: nn.Module, batches: Any, name: str = "adamw", **settings: Any) -> RangeTest:
    def optimiser(rate: float) -> torch.optim.Optimizer:
        return optim.OPTIMISERS[name](optim.groups(model, lr=rate, weight_decay=0.0), rate, 0.0)

    return find_lr(model, batches, loss, optimiser, **settings)


@pytest.mark.parametrize(("name", "high"), [("adamw", 10.0), ("nesterov", 100.0)])
def test_the_suggestion_learns_digits_and_rates_far_off_do_not(batches: list[Batch], name: str, high: float) -> None:
    found = seek(network(), itertools.cycle(batches), name, high=high)
    assert found.suggestion is not None
    lost = {}
    for times in (1e-3, 1.0, 1e3):
        model = network()
        rate = found.suggestion * times
        optimiser = optim.OPTIMISERS[name](optim.groups(model, lr=rate, weight_decay=0.0), rate, 0.0)
        for batch in batches:
            optimiser.zero_grad()
            loss(model, batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            lost[times] = sum(loss(model.eval(), batch).item() for batch in batches) / len(batches)
    assert lost[1.0] < 0.7
    assert lost[1e-3] > 2 * lost[1.0]
    assert not lost[1e3] < 2 * lost[1.0]


def test_stays_below_the_largest_stable_rate_of_a_quadratic() -> None:
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    y = x @ torch.ones(10, 1)
    largest = 2 / float(torch.linalg.eigvalsh(2 * x.T @ x / 200)[-1])
    model = nn.Linear(10, 1, bias=False)
    found = find_lr(
        model,
        itertools.repeat((x, y)),
        lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
        lambda rate: torch.optim.SGD(model.parameters(), rate),
        low=1e-5,
        high=100.0,
        steps=150,
    )
    assert found.suggestion is not None
    assert largest / 100 < found.suggestion < largest
    assert largest < found.rates[-1] < 30 * largest  # ended soon after it broke
    lowest = np.minimum.accumulate(found.losses)
    broken = found.losses > np.maximum(4 * lowest, found.losses[0])
    assert broken.tolist() == [False] * (len(broken) - 1) + [True]


def test_rates_grow_by_a_constant_factor(batches: list[Batch]) -> None:
    found = seek(network(), itertools.cycle(batches), low=1e-5, high=1e-2, steps=31, smooth=0.0)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e-2, 31))
    with torch.no_grad():  # before the first step nothing has been learnt
        torch.manual_seed(1)
        assert found.losses[0] == pytest.approx(loss(network(), batches[0]).item(), abs=0.3)


def test_smoothing_starts_without_a_debt(batches: list[Batch]) -> None:
    def still(model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, batch) * 0 + 3

    model = network()
    found = find_lr(model, batches, still, lambda rate: torch.optim.SGD(model.parameters(), rate), steps=10)
    np.testing.assert_allclose(found.losses, np.full(10, 3.0), rtol=1e-6)


def test_a_lucky_first_batch_is_no_fall() -> None:
    rates, losses = np.geomspace(1e-6, 1, 40).tolist(), [2 - 0.01 * n for n in range(30)] + [3.0] * 10
    assert suggest(rates, losses) == pytest.approx(rates[29] / 10)
    assert suggest(rates, [0.1, 0.5, 1.0, *losses[3:]]) == pytest.approx(rates[29] / 10)
    assert suggest(rates, [3 + 0.01 * n for n in range(40)]) is None
    assert suggest([], []) is None
    assert suggest(rates, losses, 100.0) is None, "a fall within the noise is none"
    assert suggest([0.5, 1.0], [2.0, 1.0]) == 0.5, "never below the first"


def test_raw_losses_are_those_that_were_smoothed(batches: list[Batch]) -> None:
    told: list[int] = []
    found = seek(network(), itertools.cycle(batches), steps=20, step=told.append)
    running = 0.0
    for number, value in enumerate(found.raw):
        running = 0.9 * running + 0.1 * value
        assert found.losses[number] == pytest.approx(running / (1 - 0.9 ** (number + 1)))
    assert sum(told) == len(found.rates) == 20


def test_gradients_are_clipped_where_a_run_clips_them(batches: list[Batch]) -> None:
    """A norm of zero stops everything, so that the same batch keeps its loss."""
    model = network()[0]

    def ours(rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), rate)

    def plain(m: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(m(batch[0]), batch[1])

    still = find_lr(model, itertools.repeat(batches[0]), plain, ours, steps=10, clip=1e-9)
    free = find_lr(model, itertools.repeat(batches[0]), plain, ours, steps=10)
    assert np.ptp(still.raw) < 1e-6 < np.ptp(free.raw)


def test_everything_is_as_before(batches: list[Batch]) -> None:
    model = network()
    model.eval()
    model[1].train()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    seek(model, batches, steps=20)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [False, True, False, False, False]
    assert all(p.grad is None for p in model.parameters())

    def breaks(model: nn.Module, batch: Batch) -> Tensor:
        if not torch.equal(model[0].weight, before["0.weight"]):
            raise RuntimeError("on the way")
        return loss(model, batch)

    with pytest.raises(RuntimeError, match="on the way"):
        find_lr(model, batches, breaks, lambda rate: torch.optim.SGD(model.parameters(), rate))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_breaks_ends_the_test(batches: list[Batch]) -> None:
    model = network()

    def ours(rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), rate)

    calls = itertools.count()

    def sometimes(model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, batch) * (math.nan if next(calls) == 6 else 1)

    found = find_lr(model, batches, sometimes, ours)
    assert len(found.rates) == len(found.losses) == 6
    assert np.isfinite(found.losses).all()
    nothing = find_lr(model, batches, lambda m, batch: loss(m, batch) * math.nan, ours)
    assert (len(nothing.rates), nothing.suggestion) == (0, None)
    wild = find_lr(model, itertools.cycle(batches), loss, ours, high=1000.0, steps=60)
    assert len(wild.rates) < 60
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_no_suggestion_where_the_loss_never_falls(batches: list[Batch]) -> None:
    model = network()
    count = itertools.count(1)
    rising = find_lr(
        model,
        batches,
        lambda m, batch: loss(m, batch) * 0 + next(count),
        lambda rate: torch.optim.SGD(model.parameters(), rate),
        diverged=100.0,
        steps=10,
    )
    assert rising.suggestion is None
    assert len(rising.rates) == 10


def test_the_batches_may_end_first(batches: list[Batch]) -> None:
    assert len(seek(network(), iter(batches[:5]), steps=100).rates) == 5


def test_ranges_are_checked(batches: list[Batch]) -> None:
    for wrong in ({"low": 0.0}, {"low": 1.0}, {"high": math.nan}, {"high": 1e9}):
        with pytest.raises(UsageError, match=r"rates from .* Allowed: 0 < low < high <= 1000\."):
            seek(network(), batches, **wrong)
    with pytest.raises(UsageError, match=r"a range test of 1 steps\. Allowed: at least 2\."):
        seek(network(), batches, steps=1)
