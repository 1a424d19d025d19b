"""The gradient of depthwise kernels against the library's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from visum.learn.depthwise import depthwise, suits


@pytest.mark.parametrize("side", [(11, 11), (17, 12), (5, 5), (9, 16)])
@pytest.mark.parametrize("kernel", [5, (5, 3), 7])
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


def test_which_convolutions_these_are() -> None:
    assert suits(8, 8, 8, (5, 5), (1, 1))
    assert not suits(8, 16, 8, (5, 5), (1, 1))
    assert not suits(8, 8, 4, (5, 5), (1, 1))
    assert not suits(8, 8, 8, (3, 3), (1, 1))
    assert not suits(8, 8, 8, (5, 5), (2, 2))
