"""The gradients of depthwise convolutions against the library's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from visum.learn.depthwise import depthwise, suits


@pytest.mark.parametrize("side", [(11, 11), (17, 12), (5, 5), (9, 16)])
@pytest.mark.parametrize("kernel", [3, 5, (5, 3), 7])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
def test_all_gradients_are_the_librarys(
    side: tuple[int, int], kernel: int | tuple[int, int], stride: tuple[int, int]
) -> None:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    if min(side) < max(sides):
        pytest.skip("no room for the kernel")
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    x, weight, bias = drawn(3, 6, *side), drawn(6, 1, *sides), drawn(6)
    theirs = functional.conv2d(x, weight, bias, stride, groups=6)
    ours = depthwise(x, weight, bias, stride)
    torch.testing.assert_close(ours, theirs)
    wanted = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad((theirs * wanted).sum(), (x, weight, bias))
    found = torch.autograd.grad((ours * wanted).sum(), (x, weight, bias))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_pixels_need_no_gradient() -> None:
    x, weight, bias = torch.randn(2, 4, 9, 9), torch.randn(4, 1, 5, 5, requires_grad=True), torch.zeros(4)
    x = x.to(memory_format=torch.channels_last)
    depthwise(x, weight, bias, (1, 1)).sum().backward()
    assert weight.grad is not None
    expected = functional.unfold(x, 9 - 4).view(2, 4, 25, 25).sum((0, 3))
    torch.testing.assert_close(weight.grad.view(4, 25), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_gradients_keep_the_digits_that_bfloat16_has(kernel: int, stride: int) -> None:
    """Padded maps in channels-last memory, as a training step has them, against float32."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 16, 12, 13, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(16, 1, kernel, kernel, generator=generator, requires_grad=True)
    bias = torch.randn(16, generator=generator, requires_grad=True)
    exact = functional.conv2d(x, weight, bias, stride, groups=16)
    wanted = torch.randn(exact.shape, generator=generator)
    expected = torch.autograd.grad((exact * wanted).sum(), (x, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        half = depthwise(x, weight, bias, (stride, stride))
    assert half.dtype == torch.bfloat16
    found = torch.autograd.grad((half * wanted).sum(), (x, weight, bias))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.01


def test_which_convolutions_these_are() -> None:
    assert suits(8, 8, 8, (1, 1))
    assert not suits(8, 16, 8, (1, 1))
    assert not suits(8, 8, 4, (1, 1))
    assert not suits(8, 8, 8, (2, 2))
