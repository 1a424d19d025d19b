"""Attacks against closed forms of a linear classifier, against each other, and against a small network on real digits."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from visum.errors import ModelError, NotEnoughData, UsageError
from visum.judge.attack import ATTACKS, STANDARD, fab, losses, named
from visum.judge.attack.apgd import checkpoints, rivals
from visum.judge.attack.ball import Ball, answers, generator, holds
from visum.judge.attack.masking import SIGNS, signs
from visum.judge.attack.smooth import smoothed
from visum.judge.attack.square import share
from visum.judge.attack.standard import assess

SIDE, CLASSES = 8, 10
BALLS = (Ball("linf", 8.0), Ball("l2", 300.0))
QUICK = ("fgsm", "pgd10", "apgd-ce12", "apgd-t4", "fab-t4", "square40")


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Real handwritten digits, whole pixel values: ``[1797, 3, 8, 8]`` and labels."""
    source = load_digits()
    grey = torch.from_numpy(np.rint(source.images * 15.9375)).float()
    return grey[:, None].repeat(1, 3, 1, 1), torch.from_numpy(source.target).long()


@cache
def network() -> nn.Module:
    """A small network that was trained in the usual way: right on 97 % of digits it has not seen."""
    torch.manual_seed(0)
    x, y = digits()
    made = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, CLASSES),
    )  # fmt: skip
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    for step in range(150):
        rows = torch.randint(0, 1200, (64,), generator=generator(step))
        optimiser.zero_grad()
        nn.functional.cross_entropy(made(x[rows] / 255), y[rows]).backward()
        optimiser.step()
    return made.eval().requires_grad_(False)


def classifier(x: Tensor) -> Tensor:
    return network()(x / 255)  # type: ignore[no-any-return]


def held_out(n: int) -> tuple[Tensor, Tensor]:
    network()  # trained here, since attacks call it where no gradients are kept
    x, y = digits()
    return x[1200 : 1200 + n], y[1200 : 1200 + n]


def linear(classes: int = 3, seed: int = 0) -> tuple[nn.Linear, Tensor, Tensor]:
    """A linear classifier, pictures in the middle of the range (no value can reach its end), its own answers."""
    draw = generator(seed)
    layer = nn.Linear(3 * SIDE * SIDE, classes).requires_grad_(False)
    layer.weight[:] = torch.randn(layer.weight.shape, generator=draw) * 0.01
    layer.bias[:] = torch.randn(classes, generator=draw) * 0.1
    x = torch.randint(100, 156, (24, 3, SIDE, SIDE), generator=draw).float()
    return layer, x, layer(x.flatten(1)).argmax(1)


def distances(layer: nn.Linear, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """Closed form: lead over each other class by the dual norm of the difference of weights; the least of them."""
    lead = layer(x.flatten(1)).gather(1, y[:, None]) - layer(x.flatten(1))
    weights = layer.weight[y][:, None] - layer.weight[None]
    long = lead / (weights.abs().sum(2) if norm == "linf" else weights.norm(dim=2))
    long[torch.arange(len(y)), y] = torch.inf
    return long.amin(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_the_closed_form_distance_of_a_linear_classifier(norm: str) -> None:
    layer, x, y = linear()
    wrong = rivals(layer(x.flatten(1)), y, 9)
    assert wrong.shape == (24, 2)
    ask = lambda pixels: layer(pixels.flatten(1))  # noqa: E731
    found = [fab.nearest(ask, x, y, wrong[:, k], norm, steps=8, halvings=14) for k in range(2)]  # type: ignore[arg-type]
    best = torch.stack([long for _, long in found]).amin(0)
    torch.testing.assert_close(best, distances(layer, x, y, norm), rtol=2e-4, atol=0)
    for moved, long in found:
        assert not holds(ask(moved), y).any()
        torch.testing.assert_close(Ball(norm, 1.0).length(moved - x).view(-1), long)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd10", "apgd-ce20", "apgd-t10", "fab-t10"])
def test_of_two_classes_a_linear_classifier_is_deceived_exactly_beyond_its_distance(name: str, norm: str) -> None:
    layer, x, y = linear(classes=2)
    attack, steps = named(name)
    far = distances(layer, x, y, norm)
    radius = float(far.median()) * 1.0001
    ball = Ball(norm, radius)  # type: ignore[arg-type]
    ask = lambda pixels: layer(pixels.flatten(1))  # noqa: E731
    moved = attack.run(ask, x, y, ball, steps=steps, seed=1)
    clear = (far / radius - 1).abs() > 0.02
    assert clear.sum() >= 15
    np.testing.assert_array_equal(holds(ask(moved), y)[clear], (far > radius)[clear])


def test_one_step_against_a_linear_classifier_is_the_closed_form() -> None:
    layer, x, y = linear(classes=2)
    slope = (layer.weight[1 - y] - layer.weight[y]).view_as(x)
    ask = lambda pixels: layer(pixels.flatten(1))  # noqa: E731
    flat = ATTACKS["fgsm"].run(ask, x, y, Ball("linf", 8.0), steps=1, seed=0)
    torch.testing.assert_close(flat, x + 8 * slope.sign(), rtol=0, atol=0)
    round_ = ATTACKS["fgsm"].run(ask, x, y, Ball("l2", 100.0), steps=1, seed=0)
    torch.testing.assert_close(
        round_, x + 100 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1), rtol=1e-5, atol=1e-4
    )
    pgd = ATTACKS["pgd"].run(ask, x, y, Ball("linf", 0.5), steps=40, seed=0)
    stood = holds(ask(pgd), y)
    assert stood.sum() >= 15
    torch.testing.assert_close(pgd[stood], (x + 0.5 * slope.sign())[stood], rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_onto_a_plane_is_the_shortest_in_the_box(norm: str) -> None:
    from scipy.optimize import linprog, minimize

    draw = np.random.default_rng(0)
    x = draw.uniform(0, 255, (6, 3, 2, 2))
    slope = draw.normal(size=x.shape)
    slope[:, 0, 0, 0] = 0  # a value that does not matter
    lead = draw.uniform(-400, 400, 6)
    move = fab.project(
        torch.from_numpy(x).float(), torch.from_numpy(slope).float(), torch.from_numpy(lead).float(), norm
    )  # type: ignore[arg-type]
    for own, w, c, got in zip(x, slope, lead, move.numpy(), strict=True):
        own, w, got = own.ravel(), w.ravel(), got.ravel()
        assert abs(c + w @ got) < 1e-2
        assert (own + got > -1e-3).all()
        assert (own + got < 255.001).all()
        box = list(zip(-own, 255 - own, strict=True))
        if norm == "linf":  # least t with -t <= move <= t
            size = len(own)
            up = np.hstack([np.vstack([np.eye(size), -np.eye(size)]), -np.ones((2 * size, 1))])
            best = linprog([0] * size + [1], up, np.zeros(2 * size), [[*w, 0]], [-c], [*box, (0, None)]).fun
            np.testing.assert_allclose(np.abs(got).max(), best, rtol=1e-4)
        else:
            plane = {"type": "eq", "fun": lambda d, w=w, c=c: c + w @ d, "jac": lambda d, w=w: w}
            best = minimize(lambda d: d @ d / 2, got * 0, jac=lambda d: d, bounds=box, constraints=plane, tol=1e-10)
            np.testing.assert_allclose(np.linalg.norm(got), np.linalg.norm(best.x), rtol=1e-3)


def test_a_plane_out_of_reach_gives_the_nearest_corner() -> None:
    x, slope = torch.full((1, 3, 2, 2), 200.0), torch.ones(1, 3, 2, 2)
    move = fab.project(x, slope, torch.tensor([1e6]), "linf")
    assert (move == -200).all()
    assert (fab.project(x, slope * 0, torch.tensor([1.0]), "l2") == 0).all()


@pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball.norm)
@pytest.mark.parametrize("name", QUICK)
def test_what_an_attack_returns_is_in_the_ball_and_in_range(name: str, ball: Ball) -> None:
    x, y = held_out(12)
    attack, steps = named(name)
    moved = attack.run(classifier, x, y, ball, steps=steps, seed=3)
    assert moved.shape == x.shape
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert bool((ball.length(moved - x) <= ball.radius * (1 if ball.norm == "linf" else 1 + 1e-6)).all())
    assert torch.equal(moved, attack.run(classifier, x, y, ball, steps=steps, seed=3))
    assert not torch.equal(moved, x)


@pytest.mark.parametrize(
    "ball", [Ball("linf", 20.0), pytest.param(Ball("l2", 300.0), marks=pytest.mark.slow)], ids=lambda ball: ball.norm
)
def test_accuracy_falls_from_attack_to_attack_and_every_find_is_verified(ball: Ball) -> None:
    x, y = held_out(24)
    made = assess(classifier, x, y, ball, QUICK, batch=24)
    worst = [made.right, *(each.worst for each in made.attacks)]
    for before, after in pairwise(worst):
        assert not (after & ~before).any()
    one, many = (each.held.sum() for each in made.attacks[:2])
    assert made.right.sum() >= one >= many >= made.robust.sum()
    assert made.robust.sum() < made.right.sum()
    said = answers(classifier, made.found).argmax(1)
    fooled = np.array([bool(by) for by in made.by])
    np.testing.assert_array_equal(fooled, made.right & ~made.robust)
    np.testing.assert_array_equal(made.answers, said)
    assert (said != y)[torch.from_numpy(fooled)].all()
    assert torch.equal(made.found[torch.from_numpy(~fooled)], x[torch.from_numpy(~fooled)])
    assert bool((ball.length(made.found - x) <= ball.radius * (1 if ball.norm == "linf" else 1 + 1e-6)).all())


def test_a_usual_network_falls_to_nothing() -> None:
    x, y = held_out(40)
    made = assess(classifier, x, y, Ball("linf", 60.0), ("pgd20", *STANDARD))
    assert made.right.mean() > 0.9
    assert [each.tried for each in made.attacks[1:]] == [0, 0, 0, 0]  # nothing is left for the others
    assert made.robust.mean() == 0


def test_what_is_whole_moves_by_whole_values() -> None:
    x, y = held_out(10)
    ball = Ball("l2", 200.0, whole=True)
    moved = ball.inside(x, ATTACKS["square"].run(classifier, x, y, ball, steps=30, seed=0))
    assert torch.equal(moved, moved.round())
    assert not torch.equal(moved, x)
    assert bool((ball.length(moved - x) <= 200.0).all())


def test_what_was_fooled_in_a_smaller_ball_is_not_tried_in_a_larger_one() -> None:
    x, y = held_out(40)
    small = assess(classifier, x, y, Ball("linf", 2.0), ("fgsm", "pgd10"))
    fooled = {each.name: ~each.held for each in small.attacks}
    large = assess(classifier, x, y, Ball("linf", 20.0), ("fgsm", "pgd10"), known=fooled)
    for before, after in zip(small.attacks, large.attacks, strict=True):
        assert after.tried == before.held.sum()
        assert not (after.held & ~before.held).any()
    worst = [each.worst.mean() for each in (*small.attacks, *large.attacks)]
    assert small.right.mean() >= worst[0] >= worst[1] >= worst[3]


@pytest.mark.slow
def test_no_sign_of_masking_where_nothing_is_masked() -> None:
    x, y = held_out(30)
    ball = Ball("linf", 20.0)
    made = assess(classifier, x, y, ball, ("fgsm", "pgd10"))
    found = signs(classifier, x, y, ball, made)
    assert not found["alarm"], found["words"]
    assert tuple(each["sign"] for each in found["signs"]) == SIGNS
    assert found["n"] == min(32, made.right.sum())


def test_masked_gradients_raise_an_alarm() -> None:
    x, y = held_out(12)

    def stepped(pixels: Tensor) -> Tensor:  # rounding has a gradient of 0 everywhere
        return classifier((pixels / 8).round() * 8)

    ball = Ball("linf", 40.0)
    found = signs(stepped, x, y, ball, assess(stepped, x, y, ball, ("pgd10",)))
    assert found["alarm"]
    seen = {each["sign"] for each in found["signs"] if each["found"]}
    assert {"zero gradients", "black box beats white box", "holds at any epsilon"} <= seen
    assert "masked" in found["words"]


def test_a_smoothed_classifier_is_the_mean_answer_under_noise() -> None:
    x, _ = held_out(3)
    mean = smoothed(classifier, 0.25, draws=1000)(x)
    draw = np.random.default_rng(0)
    noise = torch.from_numpy(draw.normal(0, 255 * 0.25, (1000, *x.shape[1:]))).float()
    for row, got in zip(x, mean, strict=True):
        expected = classifier((row + noise).clamp(0, 255)).softmax(1).mean(0)
        torch.testing.assert_close(got.softmax(0), expected, rtol=0, atol=0.06)


def test_cross_entropy_is_torchs_and_keeps_its_direction_where_the_answer_is_sure() -> None:
    z = torch.tensor([[1.0, 2.0, -3.0], [30.0, 0.0, 1.0]], requires_grad=True)
    y = torch.tensor([0, 0])
    found = losses.cross_entropy(z, y)
    torch.testing.assert_close(found, nn.functional.cross_entropy(z, y, reduction="none"), rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(slope.sum(1), torch.zeros(2), rtol=0, atol=1e-7)
    assert slope[1, 0] == pytest.approx(-(slope[1, 1] + slope[1, 2]).item())  # torch's own is 0 here
    assert slope[1, 0] < 0


def test_losses_are_their_definitions() -> None:
    z = torch.tensor([[3.0, 1.0, 0.0, -2.0, -3.0]])
    y, target = torch.tensor([0]), torch.tensor([1])
    assert losses.margin(z, y).item() == 2.0
    assert losses.dlr(z, y, target).item() == pytest.approx(-2 / (3 - 0.5 * (0 + -2)))
    assert losses.dlr(7 * z, y, target).item() == pytest.approx(losses.dlr(z, y, target).item())
    assert losses.dlr(z[:, :3], y, target).item() == -2.0


def test_schedules_are_those_of_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [share(step, 10_000) for step in (0, 10, 11, 51, 201, 8001)] == [0.8, 0.8, 0.4, 0.2, 0.1, 0.8 / 512]
    assert share(6, 5000) == 0.4
    assert STANDARD == ("apgd-ce", "apgd-t", "fab-t", "square")


def test_names_with_numbers() -> None:
    assert named("pgd10") == (ATTACKS["pgd"], 10)
    assert named("apgd-t") == (ATTACKS["apgd-t"], 100)
    for wrong in ("pdg", "pgd0", "fgsm5", "", "pgd 10", "square100001"):
        with pytest.raises(UsageError, match=r"no attack is called.*Allowed: fgsm, pgd"):
            named(wrong)


def test_what_cannot_be_attacked_says_so() -> None:
    x, y = held_out(20)
    with pytest.raises(ModelError, match="logits of 20 of 20 pictures are not numbers"):
        assess(lambda pixels: classifier(pixels) * float("nan"), x, y, BALLS[0], ("fgsm",))
    with pytest.raises(NotEnoughData, match="one class"):
        assess(lambda pixels: classifier(pixels)[:, :1], x, y * 0, BALLS[0], ("fgsm",))
    with pytest.raises(NotEnoughData, match="no picture"):
        assess(classifier, x[:0], y[:0], BALLS[0], ("fgsm",))
