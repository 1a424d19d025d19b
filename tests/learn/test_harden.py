"""Hardening against closed forms of linear models, SciPy's divergences, published algorithms, and real digits under attack."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax
from sklearn.datasets import load_digits
from torch import Tensor, nn

from visum.learn import harden, losses
from visum.learn.objectives import Batch, supervised
from visum.types import Preprocess, Task

SPEC = Preprocess(size=8, mean=(100.0, 120.0, 140.0), std=(50.0, 60.0, 70.0))
TASKS: tuple[Task, ...] = ("multiclass", "multilabel")


def cross_entropy(task: Task = "multiclass") -> losses.Loss:
    return losses.LOSSES[losses.DEFAULT[task]](task=task, counts=np.ones(10), images=100)


def digits(n: int) -> tuple[Tensor, Tensor]:
    """Real digits, 8 x 8, as normalised pixels ``[n, 3, 8, 8]`` and one-hot labels."""
    found = load_digits()
    grey = torch.tensor(found.images[:n] * 255 / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(side).view(1, 3, 1, 1) for side in (SPEC.mean, SPEC.std))
    return (grey - mean) / std, nn.functional.one_hot(torch.tensor(found.target[:n]), 10).float()


def number(value: Tensor) -> float:
    return float(value.detach().item())


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))


def batch(x: Tensor, target: Tensor, part: slice = slice(None)) -> Batch:
    return Batch(x, target, np.random.default_rng(0), part)


def test_a_ball_in_normalised_units_is_the_ball_in_pixels() -> None:
    x, _ = digits(50)
    within = harden.ball(SPEC, 0.3)
    torch.manual_seed(0)
    moved = within.nearest(x, x + 10 * within.anywhere(x))
    mean, std = (torch.tensor(side).view(1, 3, 1, 1) for side in (SPEC.mean, SPEC.std))
    before, after = x * std + mean, moved * std + mean
    assert (after - before).abs().max() == pytest.approx(0.3 * 255, rel=1e-5)
    assert after.min() == pytest.approx(0, abs=1e-3)
    assert after.max() == pytest.approx(255, abs=1e-3)
    torch.testing.assert_close(within.nearest(x, x), x)
    spread = within.anywhere(x) * std
    assert spread.std() == pytest.approx(0.3 * 255 / 3**0.5, rel=0.02)


def test_the_attack_finds_the_worst_point_of_a_linear_model() -> None:
    """Of two classes the loss rises with one linear function, whose largest value in a box is at a corner."""
    x, _ = digits(40)
    model, within = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), harden.ball(SPEC, 0.1)
    target = nn.functional.one_hot(torch.arange(40) % 2, 2).float()
    weight = (model[1].weight[0] - model[1].weight[1]).detach().view(1, 3, 8, 8)
    push = torch.where(target[:, :1, None, None] > 0, -weight.sign(), weight.sign())
    corner = within.nearest(x, x + within.radius * push)
    loss = cross_entropy()
    found = harden.attacked(*(model, lambda z: loss(z, target), x, within.anywhere(x), within), step=2.5 / 20, steps=20)
    torch.testing.assert_close(found, corner)


@pytest.mark.parametrize("name", ["pgd", "fast", "free", "trades"])
def test_a_ball_of_almost_nothing_is_plain_training(name: str) -> None:
    x, target = digits(30)
    model, within = linear(), harden.ball(SPEC, 1e-7)
    given = {"within": within, "task": "multiclass"}
    objective = harden.HARDEN[name].build(
        cross_entropy(), **{key: value for key, value in given.items() if key in harden.HARDEN[name].takes}
    )
    plain, _ = supervised(cross_entropy())(model, batch(x, target))
    hard, _ = objective(model, batch(x, target))
    assert number(hard) == pytest.approx(number(plain), rel=1e-3)


@pytest.mark.parametrize("name", ["pgd", "fast", "trades"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    """No statistic of a batch norm sees the attack's passes, nothing rests that learnt, no gradient is left at a weight."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 10))
    model.train()
    model[1].eval()
    x, target = digits(16)
    given = {"within": harden.ball(SPEC, 0.1), "task": "multiclass"}
    way = harden.HARDEN[name]
    loss, logits = way.build(cross_entropy(), **{key: value for key, value in given.items() if key in way.takes})(
        model, batch(x, target)
    )
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model[1].num_batches_tracked == 0
    assert all(p.grad is None for p in model.parameters())
    assert logits.shape == (16, 10)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_parts_of_a_batch_see_the_attack_of_the_whole() -> None:
    """Two processes that share a batch draw the same starts."""
    x, target = digits(12)
    model, way = linear(), harden.fast(cross_entropy(), within=harden.ball(SPEC, 0.2))
    values = []
    for part in (slice(0, 12), slice(0, 5), slice(5, 12)):
        torch.manual_seed(7)
        values.append(number(way(model, batch(x, target, part))[0]))
    assert values[0] == pytest.approx((5 * values[1] + 7 * values[2]) / 12, rel=1e-5)


def test_free_is_the_published_algorithm() -> None:
    """Shafahi et al. 2019, algorithm 1, written out: the move grows by the radius times the last gradient's sign."""
    x, target = digits(20)
    model, within = linear(), harden.ball(SPEC, 0.15)
    loss, way = cross_entropy(), harden.Free(cross_entropy(), within=within)
    move = torch.zeros_like(x)
    for _ in range(4):
        moved = within.nearest(x, x + move).requires_grad_()
        wanted = loss(model(moved), target).mean()
        (slope,) = torch.autograd.grad(wanted, moved)
        move = torch.clamp(move + within.radius * slope.sign(), -within.radius, within.radius)
        found, _ = way(model, batch(x, target))
        assert number(found) == pytest.approx(number(wanted), rel=1e-6)
        found.backward()
    assert way.move is not None
    torch.testing.assert_close(way.move, move)
    way(model, batch(x[:7], target[:7]))[0].backward()  # another size: from none
    assert way.move is not None
    assert way.move.shape == (7, 3, 8, 8)
    way.begin()
    assert number(way(model, batch(x, target))[0]) == pytest.approx(number(loss(model(x), target).mean()), rel=1e-6)


def test_attacks_grow_and_then_stay() -> None:
    shares = [harden.growing(done) for done in (0.0, 0.15, 0.3, 0.7, 1.0)]
    assert shares == [0.0, pytest.approx(0.5), 1.0, 1.0, 1.0]
    x, target = digits(20)
    loss, model = cross_entropy(), linear()
    plain = number(loss(model(x), target).mean())
    found = []
    for share in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        way = harden.pgd(loss, within=harden.ball(SPEC, 0.2), grown=lambda share=share: share)
        found.append(number(way(model, batch(x, target))[0]))
    assert found[0] == pytest.approx(plain, rel=1e-5)
    assert found[0] < found[1] < found[2]


def test_replays_come_in_a_row_and_every_batch_as_often_as_it_should() -> None:
    rounds = [harden.replayed(epoch, 5, 3) for epoch in range(6)]
    assert all(len(steps) == 5 for steps in rounds)
    everything = list(itertools.chain.from_iterable(rounds[:3]))
    assert everything == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert rounds[3:] == rounds[:3]
    assert harden.replayed(9, 4, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize("task", TASKS)
def test_divergences_are_scipys(task: Task) -> None:
    draw = torch.Generator().manual_seed(2)
    z = 3 * torch.randn(6, 3, 5, generator=draw)
    if task == "multiclass":
        p = softmax(z.double().numpy(), axis=-1)
        kl = rel_entr(p[:, 0], p[:, 1]).sum(-1)
        js = np.mean([rel_entr(p[:, v], p.mean(1)).sum(-1) for v in range(3)], axis=0)
    else:
        p = np.stack([expit(z.double().numpy()), expit(-z.double().numpy())], -1)
        kl = rel_entr(p[:, 0], p[:, 1]).sum(-1).mean(-1)
        js = np.mean([rel_entr(p[:, v], p.mean(1)).sum(-1).mean(-1) for v in range(3)], axis=0)
    np.testing.assert_allclose(harden.divergence(z[:, 0], z[:, 1], task), kl, rtol=1e-4)
    np.testing.assert_allclose(harden.disagreement(z, task), js, rtol=1e-4)
    assert number(harden.disagreement(z[:, :1].expand(-1, 3, -1), task).abs().max()) < 1e-6


def test_trades_is_its_equation() -> None:
    """Plain loss + weight x KL at the attacked point, which is worse than any random one in the ball."""
    x, target = digits(30)
    model, within, loss = linear(), harden.ball(SPEC, 0.1), cross_entropy()
    torch.manual_seed(3)
    light = number(harden.trades(loss, within=within, task="multiclass", weight=1.0)(model, batch(x, target))[0])
    torch.manual_seed(3)
    heavy = number(harden.trades(loss, within=within, task="multiclass", weight=5.0)(model, batch(x, target))[0])
    plain = number(loss(model(x), target).mean())
    found = light - plain
    assert heavy - plain == pytest.approx(5 * found, rel=1e-4)
    some = within.nearest(x, x + within.anywhere(x))
    assert found > 3 * number(harden.divergence(model(x), model(some), "multiclass").mean())


@pytest.mark.parametrize("task", TASKS)
def test_augmix_asks_for_the_plain_view_and_for_agreement(task: Task) -> None:
    x, target = digits(9)
    model, loss = linear(), cross_entropy(task)
    views = torch.stack([x, x.flip(-1), x.flip(-2)], 1)
    value, logits = harden.augmix(loss, task=task, weight=12.0)(model, batch(views, target))
    every = torch.stack([model(views[:, v]) for v in range(3)], 1)
    wanted = loss(every[:, 0], target).mean() + 12 * harden.disagreement(every, task).mean()
    torch.testing.assert_close(logits, every[:, 0])
    torch.testing.assert_close(value, wanted)
    alike, _ = harden.augmix(loss, task=task)(model, batch(x[:, None].expand(-1, 3, -1, -1, -1), target))
    torch.testing.assert_close(alike, loss(model(x), target).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fast", *(pytest.param(name, marks=pytest.mark.slow) for name in ("free", "trades"))])
def test_hardened_networks_bear_attacks_that_plain_ones_do_not(name: str) -> None:
    """Real digits, a small network, the same steps: accuracy under PGD-20 on digits that were not learnt from."""
    x, target = digits(1500)
    within, way = harden.ball(SPEC, 0.15), harden.HARDEN[name]

    def learnt(objective: Any) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for step in range(120):
            rows = torch.arange(125) + 125 * ((step // 4) % 8)
            torch.manual_seed(step)
            optimiser.zero_grad()
            objective(model, batch(x[rows], target[rows]))[0].backward()
            optimiser.step()
        seen, truth, loss = x[1000:], target[1000:], cross_entropy()
        moved = harden.attacked(
            *(model, lambda z: loss(z, truth), seen, within.anywhere(seen), within), step=0.125, steps=20
        )
        return number((model(moved).argmax(1) == truth.argmax(1)).float().mean())

    given = {"within": within, "task": "multiclass"}
    hard = way.build(cross_entropy(), **{key: value for key, value in given.items() if key in way.takes})
    plain, robust = learnt(supervised(cross_entropy())), learnt(hard)
    assert robust > plain + 0.15, (plain, robust)
    assert robust > 0.4
