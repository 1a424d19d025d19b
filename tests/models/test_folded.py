"""A network with its norms folded away is the same function, with the same gradients; where it is not, nothing is folded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from visum.models import differentiable, folded, weights, zoo
from visum.types import Bundle


def network(name: str = "cnn:widths=8-16", size: int = 16) -> differentiable.Differentiable:
    base = weights.untrained(name, size=size, seed=1)
    draw = np.random.default_rng(0)
    spread = {
        key: draw.uniform(0.5, 2, value.shape).astype(np.float32)
        if value.dtype == np.float32 and value.ndim == 1
        else value
        for key, value in base.weights.items()
    }
    wide = zoo.trunk(base.name, spread, base.stages, base.preprocess)(
        torch.zeros(1, size, size, 3, dtype=torch.uint8)
    ).shape[1]
    tensors = {f"backbone.{key}": value for key, value in spread.items()}
    tensors |= {"head.weight": draw.normal(size=(wide, 3)).astype(np.float32), "head.bias": np.zeros(3, np.float32)}
    kind = {"kind": "probe", "backbone": name, "stages": list(base.stages)}
    return differentiable.of_bundle(Bundle("multiclass", ("a", "b", "c"), kind, base.preprocess, tensors))


def seen(of: differentiable.Differentiable, x: Tensor) -> tuple[Tensor, Tensor]:
    here = x.clone().requires_grad_()
    logits = of(here)
    (slope,) = torch.autograd.grad(logits[:, 1].sum(), here)
    return logits.detach(), slope


def test_answers_and_gradients_stay() -> None:
    of = network()
    x = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    logits, slope = seen(of, x)
    norms = sum(isinstance(each, nn.BatchNorm2d) for each in of.network.modules())
    assert folded.fold(of, x[:1]) == norms > 0
    again, anew = seen(of, x)
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(anew, slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert all(not weight.requires_grad for weight in of.network.parameters())


def test_where_the_answer_would_change_everything_is_put_back() -> None:
    of = network()
    x = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    norm = next(each for each in of.network.modules() if isinstance(each, nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, inputs, output: output + inputs[0])  # what it takes is used twice
    logits, _ = seen(of, x)
    assert folded.fold(of, x) == 0
    again, _ = seen(of, x)
    torch.testing.assert_close(again, logits, rtol=0, atol=0)
