"""Losses held to torch, torchvision and timm, to closed forms, and to the law of mixtures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from visum.errors import RecipeError, UsageError
from visum.learn import losses
from visum.learn.losses import LOSSES, Loss
from visum.types import Task

K = 5
COUNTS = np.array([40, 30, 20, 9, 1])
EVERY = [(name, task) for task in losses.DEFAULT for name in losses.fitting(task)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, task: Task = "multiclass", k: int = K, **settings: Any) -> Loss:
    return LOSSES[name](task=task, counts=COUNTS[:k], images=100, **settings)


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(64, K, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(K, (64,), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def one_hot(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, K).float()


@pytest.fixture
def multi_hot() -> Tensor:
    return torch.randint(2, (64, K), generator=torch.Generator().manual_seed(3)).float()


@pytest.fixture
def soft() -> Tensor:
    return torch.rand(64, K, generator=torch.Generator().manual_seed(4)).softmax(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(
    logits: Tensor, labels: Tensor, one_hot: Tensor, soft: Tensor, smoothing: float
) -> None:
    ours = build("cross_entropy", label_smoothing=smoothing)
    for target, theirs in ((one_hot, labels), (soft, soft)):
        expected = functional.cross_entropy(logits, theirs, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(ours(logits, target), expected)


def test_knowing_nothing_costs_log_k() -> None:
    nothing, target = torch.zeros(1, K), torch.eye(K)[:1]
    assert build("cross_entropy")(nothing, target).item() == pytest.approx(math.log(K))
    # (1 - 1/5) ** 2 log 5
    assert build("focal", gamma=2.0)(nothing, target).item() == pytest.approx(0.64 * math.log(5))
    assert build("binary_cross_entropy", "multilabel")(nothing, target).item() == pytest.approx(math.log(2))
    # four absent labels at q = 0.5 - 0.05, one present at p = 0.5
    expected = (4 * 0.45**4 * -math.log(0.55) + math.log(2)) / 5
    assert build("asymmetric", "multilabel")(nothing, target).item() == pytest.approx(expected, rel=1e-5)


def test_focal_without_gamma_is_cross_entropy(logits: Tensor, soft: Tensor, multi_hot: Tensor) -> None:
    torch.testing.assert_close(build("focal", gamma=0.0)(logits, soft), build("cross_entropy")(logits, soft))
    torch.testing.assert_close(
        build("focal", "multilabel", gamma=0.0)(logits, multi_hot),
        build("binary_cross_entropy", "multilabel")(logits, multi_hot),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 1.0])
def test_focal_equals_torchvision(logits: Tensor, multi_hot: Tensor, gamma: float, alpha: float | None) -> None:
    theirs = -1 if alpha is None else alpha  # torchvision's word for none
    ours = build("focal", "multilabel", gamma=gamma, alpha=alpha)(logits, multi_hot)
    torch.testing.assert_close(ours, sigmoid_focal_loss(logits, multi_hot, theirs, gamma).mean(1))
    # two softmax columns are one sigmoid of their difference
    two, target = logits[:, :2], torch.stack([1 - multi_hot[:, 0], multi_hot[:, 0]], 1)
    ours = build("focal", "binary", 2, gamma=gamma, alpha=alpha)(two, target)
    expected = sigmoid_focal_loss(two[:, 1] - two[:, 0], target[:, 1], theirs, gamma)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"gamma_pos": 1.0}, {"gamma_neg": 2.0, "clip": 0.2}, {"clip": 0.0}])
def test_asymmetric_equals_timm(logits: Tensor, multi_hot: Tensor, settings: dict[str, float]) -> None:
    theirs = AsymmetricLossMultiLabel(**{"gamma_pos": 0.0, **settings}, reduction="none")(logits, multi_hot)
    torch.testing.assert_close(build("asymmetric", "multilabel", **settings)(logits, multi_hot), theirs.mean(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balanced", [False, True])
def test_binary_cross_entropy_equals_torch(logits: Tensor, multi_hot: Tensor, smoothing: float, balanced: bool) -> None:
    weight = torch.tensor([60 / 40, 70 / 30, 80 / 20, 91 / 9, 99 / 1]) if balanced else None
    expected = functional.binary_cross_entropy_with_logits(
        logits, multi_hot * (1 - smoothing) + smoothing / 2, reduction="none", pos_weight=weight
    )
    ours = build("binary_cross_entropy", "multilabel", label_smoothing=smoothing, balanced=balanced)
    torch.testing.assert_close(ours(logits, multi_hot), expected.mean(1))


def test_labels_of_all_images_or_none_have_no_rare_side() -> None:
    assert losses.positive_weights(np.array([0, 25, 100]), 100).tolist() == [1, 3, 1]


def test_effective_numbers_are_geometric_sums() -> None:
    counts = np.array([1, 2, 7, 300])
    for beta in (0.5, 0.9, 0.999):
        numbers = np.array([sum(beta**j for j in range(n)) for n in counts])
        expected = (1 / numbers) / (1 / numbers).mean()
        np.testing.assert_allclose(losses.effective_weights(counts, beta), expected, rtol=1e-9)
    np.testing.assert_array_equal(losses.effective_weights(counts, 0), np.ones(4))
    near_one = losses.effective_weights(counts, 1 - 1e-9)
    np.testing.assert_allclose(near_one / near_one[0], 1 / counts, rtol=1e-5)
    # a class that was never seen changes nothing for the others
    with_none = losses.effective_weights(np.append(counts, 0), 0.9)
    np.testing.assert_array_equal(with_none[:4], losses.effective_weights(counts, 0.9))
    assert with_none[4] == 1
    assert losses.effective_weights(np.zeros(2), 0.9).tolist() == [1, 1]


def test_class_balanced_weighs_rows_by_class_and_labels_by_label(
    logits: Tensor, labels: Tensor, one_hot: Tensor, multi_hot: Tensor
) -> None:
    weight = torch.from_numpy(losses.effective_weights(COUNTS, 0.9)).float()
    expected = functional.cross_entropy(logits, labels, weight, reduction="none")
    torch.testing.assert_close(build("class_balanced", beta=0.9)(logits, one_hot), expected)
    expected = functional.binary_cross_entropy_with_logits(logits, multi_hot, weight, reduction="none").mean(1)
    torch.testing.assert_close(build("class_balanced", "multilabel", beta=0.9)(logits, multi_hot), expected)
    with_gamma = build("class_balanced", beta=0.9, gamma=2.0)(logits, one_hot)
    torch.testing.assert_close(with_gamma, weight[labels] * build("focal")(logits, one_hot))


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_the_loss_of_a_mixture_is_the_mixture_of_losses(name: str, task: Task, logits: Tensor) -> None:
    k = 2 if task == "binary" else K
    draw = torch.Generator().manual_seed(5)
    smooth = {"label_smoothing": 0.1} if "label_smoothing" in LOSSES[name].__annotations__ else {}
    loss, z = build(name, task, k, **smooth), logits[:, :k]
    if task == "multilabel":
        one, other = (torch.randint(2, (64, k), generator=draw).float() for _ in range(2))
    else:
        one, other = (torch.eye(k)[torch.randint(k, (64,), generator=draw)] for _ in range(2))
    share = torch.rand(64, 1, generator=draw)
    mixed = loss(z, share * one + (1 - share) * other)
    torch.testing.assert_close(mixed, share[:, 0] * loss(z, one) + (1 - share[:, 0]) * loss(z, other))
    assert mixed.shape == (64,)
    torch.testing.assert_close(loss(z[3:4], one[3:4])[0], loss(z, one)[3])  # no row knows of another


@pytest.mark.parametrize(("name", "task"), EVERY)
@pytest.mark.parametrize("exponent", [0.1, 1.0, 2.0])
def test_certain_logits_have_finite_losses_and_slopes(name: str, task: Task, exponent: float) -> None:
    known = LOSSES[name].__annotations__
    settings: dict[str, Any] = {key: exponent for key in ("gamma", "gamma_neg", "gamma_pos") if key in known}
    k = 2 if task == "binary" else K
    for size in (0.0, 9.0, 20.0, 1e4, 3e38):
        z = torch.zeros(2, k)
        z[0, 0], z[1, 0] = size, -size
        z.requires_grad_()
        value = build(name, task, k, **settings)(z, torch.eye(k)[:1].repeat(2, 1))
        value.clamp(max=1e30).sum().backward()  # type: ignore[no-untyped-call]
        assert value.isfinite().all()
        assert z.grad is not None
        assert z.grad.isfinite().all()
        assert (value >= 0).all()


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_half_precision_in_full_precision_out(name: str, task: Task, logits: Tensor) -> None:
    k = 2 if task == "binary" else K
    half, target = logits[:, :k].bfloat16(), torch.eye(k)[torch.zeros(64, dtype=torch.long)]
    smooth: dict[str, Any] = {"label_smoothing": 0.1} if "label_smoothing" in LOSSES[name].__annotations__ else {}
    for settings in ({}, smooth):
        loss = build(name, task, k, **settings)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(half, target.bfloat16())
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(half.float(), target), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "task"), [pair for pair in EVERY if pair[1] != "binary"])
def test_each_loss_teaches_handwritten_digits(name: str, task: Task) -> None:
    pictures, digits = load_digits(return_X_y=True)
    x, y = torch.from_numpy(pictures).float() / 16, torch.from_numpy(digits)
    target = functional.one_hot(y, 10).float()
    loss = LOSSES[name](task=task, counts=target.sum(0).numpy(), images=len(y))
    weight = torch.zeros(64, 10, requires_grad=True)
    optimiser = torch.optim.Adam([weight], 0.1)
    for _ in range(40):
        optimiser.zero_grad()
        loss(x[::2] @ weight, target[::2]).mean().backward()
        optimiser.step()
    assert ((x[1::2] @ weight).argmax(1) == y[1::2]).float().mean() > 0.9


def test_which_losses_fit_which_task() -> None:
    one = ("cross_entropy", "focal", "class_balanced")
    assert losses.fitting("binary") == losses.fitting("multiclass") == one
    assert losses.fitting("multilabel") == ("focal", "class_balanced", "binary_cross_entropy", "asymmetric")
    for task, name in losses.DEFAULT.items():
        assert name in losses.fitting(task)


def test_check_fills_in_defaults() -> None:
    assert losses.check("focal", "binary", alpha=0.25) == {"gamma": 2.0, "alpha": 0.25}
    assert losses.check("cross_entropy", "multiclass", label_smoothing=0.1) == {"label_smoothing": 0.1}


def test_a_loss_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        losses.check("cross_entropy", "multilabel")
    assert str(caught.value) == (
        "the loss cross_entropy does not fit a multilabel task, whose pictures have any number of labels. Allowed: focal, "
        "class_balanced, binary_cross_entropy, asymmetric. Try: binary_cross_entropy, the default"
    )
    with pytest.raises(UsageError, match=r"does not fit a multiclass task, whose pictures have exactly one label\."):
        losses.check("asymmetric", "multiclass")
    with pytest.raises(UsageError, match=r"no loss is called 'focl'\. Allowed: cross_entropy, .* Try: focal"):
        losses.check("focl", "binary")
    with pytest.raises(UsageError, match=r"alpha = 0\.5 .* multiclass .*Allowed: gamma alone\. Try: class_balanced"):
        losses.check("focal", "multiclass", alpha=0.5)


def test_every_setting_out_of_range_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        losses.check("asymmetric", "multilabel", gamma_neg=-1.0, clip=float("nan"), gama=2.0)
    assert caught.value.faults == (
        "gamma_neg is -1.0. Allowed: a number, at least 0, at most 20.",
        "clip is nan. Allowed: a number, at least 0, less than 1.",
        "gama is no setting of loss asymmetric. Allowed: gamma_neg, gamma_pos, clip.",
    )
    for wrong in ({"beta": 1.0}, {"gamma": float("inf")}, {"label_smoothing": 1.0}, {"beta": "0.9"}, {"gamma": True}):
        with pytest.raises(RecipeError, match="1 fault"):
            losses.check("class_balanced", "binary", **wrong)
