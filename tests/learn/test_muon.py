"""Muon held to torch's and timm's, to the singular values of its steps, and to AdamW where there is no matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from timm.optim.muon import zeropower_via_newtonschulz
from torch import Tensor, nn

from visum.learn.muon import COEFFICIENTS, ROUNDS, Muon, is_matrix, orthogonal

RATE, DECAY = 0.01, 0.1


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ill(rows: int, columns: int) -> Tensor:
    """A matrix whose rows differ tenfold in length."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(rows, columns, generator=draw) * torch.logspace(-0.5, 0.5, rows)[:, None]


@pytest.mark.parametrize(("rows", "columns"), [(16, 72), (72, 16), (24, 24)])
def test_orthogonal_equals_timm_and_acts_on_singular_values_alone(rows: int, columns: int) -> None:
    matrix = ill(rows, columns)
    before = matrix.clone()
    found = orthogonal(matrix)
    assert torch.equal(matrix, before)
    theirs = zeropower_via_newtonschulz(matrix, ROUNDS, [COEFFICIENTS], dtype=torch.float32)
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-5)
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(ROUNDS):
        s = COEFFICIENTS[0] * s + COEFFICIENTS[1] * s**3 + COEFFICIENTS[2] * s**5
    torch.testing.assert_close(found.double(), u @ s.diag() @ v, rtol=1e-3, atol=1e-4)
    if rows != columns:
        assert 0.65 < s.min() < s.max() < 1.25
    assert not orthogonal(torch.zeros(rows, columns)).any()


def test_steps_are_as_large_as_those_of_adamw() -> None:
    for shape in ((16, 8, 3, 3), (100, 20)):
        w = nn.Parameter(torch.zeros(shape))
        w.grad = ill(shape[0], math.prod(shape[1:])).view(shape)
        Muon([{"params": [w]}], RATE).step()
        assert w.detach().square().mean().sqrt().item() == pytest.approx(0.2 * RATE, rel=0.3)


def test_equals_torch_step_by_step() -> None:
    torch.manual_seed(0)
    kernel, flat = nn.Parameter(torch.randn(16, 8, 3, 3)), nn.Parameter(torch.zeros(16, 72))
    flat.data.copy_(kernel.detach().flatten(1))
    start = flat.detach().clone()
    ours = Muon([{"params": [kernel]}], RATE, DECAY, momentum=0.9)
    theirs = torch.optim.Muon([flat], RATE, DECAY, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        kernel.grad = torch.randn_like(kernel)
        flat.grad = kernel.grad.flatten(1)
        ours.step()
        theirs.step()
    moved = (flat - start).abs().mean().item()
    # torch iterates in bfloat16, which has three digits
    torch.testing.assert_close(kernel.detach().flatten(1), flat.detach(), rtol=0, atol=0.1 * moved)
    assert (kernel.flatten(1) - flat).abs().mean().item() < 0.02 * moved


def test_channels_last_changes_nothing() -> None:
    torch.manual_seed(0)
    one = nn.Parameter(torch.randn(16, 8, 3, 3))
    other = nn.Parameter(one.detach().clone(memory_format=torch.preserve_format).to(memory_format=torch.channels_last))
    optimiser = Muon([{"params": [one, other]}], RATE, DECAY)
    for _ in range(3):
        one.grad = torch.randn(16, 8, 3, 3)
        other.grad = one.grad.to(memory_format=torch.channels_last)
        optimiser.step()
    torch.testing.assert_close(one, other)


def test_what_is_no_matrix_goes_to_adamw() -> None:
    torch.manual_seed(0)
    shapes = [(16,), (16, 1, 3, 3), (2, 40)]
    mine = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    their = [nn.Parameter(p.detach().clone()) for p in mine]
    ours, adamw = Muon([{"params": mine}], RATE, DECAY), torch.optim.AdamW(their, RATE, weight_decay=DECAY)
    for _ in range(5):
        for p, q in zip(mine, their, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad
        ours.step()
        adamw.step()
    for p, q in zip(mine, their, strict=True):
        torch.testing.assert_close(p, q)


def test_which_parameters_are_matrices() -> None:
    matrices = [(16, 8), (16, 8, 3, 3), (16, 3, 7, 7), (4, 4)]
    others = [(16,), (16, 1, 3, 3), (1, 50, 64), (2, 640), (640, 3), ()]
    assert all(is_matrix(torch.empty(shape)) for shape in matrices)
    assert not any(is_matrix(torch.empty(shape)) for shape in others)


def test_what_has_no_gradient_stays() -> None:
    w = nn.Parameter(torch.ones(8, 8))
    Muon([{"params": [w]}], RATE, DECAY).step()
    assert torch.equal(w, torch.ones(8, 8))
