"""Distillation against its formulas written out, published limits, and what a student learns of a teacher alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, rel_entr, softmax
from torch import Tensor, nn

from visum.data.mix import cutmix, mixup
from visum.learn import distill, losses, objectives
from visum.types import Task

TASKS: tuple[Task, ...] = ("multiclass", "multilabel")


def case(task: Task, temperature: float, n: int = 7, k: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of a student and of a teacher, labels, and the wide target."""
    draw = torch.Generator().manual_seed(3)
    z, v = torch.randn(n, k, generator=draw) * 3, torch.randn(n, k, generator=draw) * 3
    y = torch.randint(k, (n,), generator=draw)
    label = nn.functional.one_hot(y, k).float()
    if task == "multilabel":
        label = (torch.rand(n, k, generator=draw) < 0.4).float()
    return z, v, label, distill.beside(label, distill.softened(v, task, temperature))


def of_label(task: Task) -> losses.Loss:
    return losses.LOSSES[losses.DEFAULT[task]](task=task, counts=np.ones(5), images=10)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_the_formula(task: Task, temperature: float) -> None:
    """In SciPy: rel_entr is p log(p / q)."""
    z, v, label, target = case(task, temperature)
    found = distill.taught(of_label(task), task=task, share=0.3, temperature=temperature)(z, target)
    a, b = z.double().numpy() / temperature, v.double().numpy() / temperature
    if task == "multilabel":
        soft = (rel_entr(expit(b), expit(a)) + rel_entr(expit(-b), expit(-a))).mean(1)
        hard = -(label.numpy() * np.log(expit(z.numpy())) + (1 - label.numpy()) * np.log(expit(-z.numpy()))).mean(1)
    else:
        soft = rel_entr(softmax(b, axis=1), softmax(a, axis=1)).sum(1)
        hard = -(label.numpy() * log_softmax(z.numpy(), axis=1)).sum(1)
    np.testing.assert_allclose(found, 0.3 * temperature**2 * soft + 0.7 * hard, rtol=2e-5)


def test_where_the_temperature_is_high_logits_are_matched() -> None:
    """Hinton et al. 2015, eq. 4: the gradient tends to (z - v) / K of centred logits, here times T² as it should be."""
    z, v, _, target = case("multiclass", 1000.0)
    z.requires_grad_()
    distill.taught(of_label("multiclass"), task="multiclass", share=1.0, temperature=1000.0)(z, target).sum().backward()
    with torch.no_grad():
        wanted = (z - z.mean(1, keepdim=True) - (v - v.mean(1, keepdim=True))) / 5
    assert z.grad is not None
    torch.testing.assert_close(z.grad, wanted, rtol=0.02, atol=0.03)


@pytest.mark.parametrize("task", TASKS)
def test_no_share_is_the_loss_of_the_label_to_the_last_bit(task: Task) -> None:
    z, _, label, target = case(task, 4.0)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss = of_label(task)
    plain, taught = loss(a, label), distill.taught(loss, task=task, share=0.0, temperature=4.0)(b, target)
    torch.autograd.backward([plain.sum(), taught.sum()])
    assert torch.equal(plain, taught)
    assert a.grad is not None
    assert b.grad is not None
    assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("task", TASKS)
def test_who_says_the_same_has_nothing_to_learn(task: Task) -> None:
    _, v, _, target = case(task, 2.0)
    v.requires_grad_()
    loss = distill.taught(of_label(task), task=task, share=1.0, temperature=2.0)(v, target)
    loss.sum().backward()
    assert v.grad is not None
    torch.testing.assert_close(loss, torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(v.grad, torch.zeros(7, 5), atol=1e-5, rtol=0)
    other = distill.taught(of_label(task), task=task, share=1.0, temperature=2.0)(v.detach().flip(1), target)
    assert bool((other > 0.1).all())


def test_an_answer_that_is_sure_is_no_infinity() -> None:
    sure = torch.tensor([[2000.0, 0.0, -2000.0]])
    for task in TASKS:
        target = distill.beside(torch.tensor([[1.0, 0.0, 0.0]]), distill.softened(sure, task, 1.0))
        z = torch.tensor([[-80.0, 0.0, 80.0]], requires_grad=True)
        loss = distill.taught(of_label(task), task=task, share=0.5, temperature=1.0)(z, target).sum()
        loss.backward()
        assert z.grad is not None
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(z.grad).all())


def test_mixed_pictures_have_mixed_answers_in_the_same_shares() -> None:
    """Each pixel of a constant picture tells its share: the picture's number is mixed as its label and its answer are."""
    numbers = torch.arange(8.0)
    x = numbers[:, None, None, None].expand(8, 1, 16, 16).contiguous()
    target = distill.beside(torch.eye(8), distill.softened(5 * torch.eye(8).flip(1), "multiclass", 1.0))
    for mix in (mixup, cutmix):
        seen, mixed = mix(x, target, 0.8, np.random.default_rng(0))
        label, answer = mixed.chunk(2, 1)
        assert not torch.equal(label, torch.eye(8))
        torch.testing.assert_close(label @ numbers, seen.mean((1, 2, 3)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(answer, label @ target[:, 8:], rtol=1e-5, atol=1e-6)


def test_a_student_learns_the_teacher_where_labels_are_noise() -> None:
    """Real digits, a teacher that knows real labels, a student that never sees one."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = found.data / 16
    means = np.stack([x[:900][found.target[:900] == k].mean(0) for k in range(10)])
    v = torch.from_numpy(4 * (x @ means.T - (means**2).sum(1) / 2)).float()  # of the nearest mean
    noise = nn.functional.one_hot(torch.from_numpy(np.random.default_rng(0).integers(0, 10, 900)), 10).float()
    pixels = torch.from_numpy(x).float()
    agreement = {}
    for share in (0.0, 1.0):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.Adam(student.parameters(), 0.03)
        loss = distill.taught(of_label("multiclass"), task="multiclass", share=share, temperature=4.0)
        objective = objectives.supervised(loss)
        target = distill.beside(noise, distill.softened(v[:900], "multiclass", 4.0))
        for step in range(50):
            optimiser.zero_grad()
            objective(student, objectives.Batch(pixels[:900], target, np.random.default_rng(step)))[0].backward()
            optimiser.step()
        with torch.no_grad():
            agreement[share] = float((student(pixels[900:]).argmax(1) == v[900:].argmax(1)).float().mean())
    assert agreement[1.0] > 0.93
    assert agreement[0.0] < 0.3
