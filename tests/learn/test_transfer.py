"""What is trained and when: laws of the classifier behind a cut, on a small real network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visum.learn import norms, transfer
from visum.models import prefix, weights


@pytest.fixture
def suffix() -> nn.Module:
    return prefix.split(weights.find(size=64), "blocks.5").suffix


def maps() -> Tensor:
    return torch.rand(4, 192, 2, 2, generator=torch.Generator().manual_seed(0))


def classifier(suffix: nn.Module) -> tuple[transfer.Classifier, np.ndarray, np.ndarray, np.ndarray]:
    """With a head that was drawn, and the embeddings, weight and bias that it stands for."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        seen = suffix(maps()).numpy()
    weight = draw.normal(size=(seen.shape[1], 3)).astype(np.float32)
    bias = draw.normal(size=3).astype(np.float32)
    mean, spread = seen.mean(0), seen.std(0) + np.float32(0.1)
    return transfer.Classifier(suffix, mean, spread, weight, bias, 0.5).eval(), seen, weight, bias


def test_it_starts_as_the_probe(suffix: nn.Module) -> None:
    model, seen, weight, bias = classifier(suffix)
    with torch.no_grad():
        np.testing.assert_allclose(model(maps()).numpy(), seen @ weight + bias, atol=2e-3)
    head = model.arrays()
    np.testing.assert_allclose(head["weight"], weight, atol=1e-5)
    np.testing.assert_allclose(head["bias"], bias, atol=1e-3)


def test_its_head_is_what_it_answers_after_training(suffix: nn.Module) -> None:
    model, *_ = classifier(suffix)
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    model(maps()).square().mean().backward()
    optimiser.step()
    with torch.no_grad():
        head, seen = model.arrays(), model.suffix(maps()).numpy()
        np.testing.assert_allclose(model(maps()).numpy(), seen @ head["weight"] + head["bias"], rtol=1e-5, atol=2e-3)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_what_is_unfrozen_when(suffix: nn.Module) -> None:
    model, *_ = classifier(suffix)
    head, everything = {"head.weight", "head.bias"}, {name for name, _ in model.named_parameters()}
    transfer.UNFREEZE["everything"](model, 0)
    assert trainable(model) == everything
    transfer.UNFREEZE["head_first"](model, 0)
    assert trainable(model) == head
    transfer.UNFREEZE["head_first"](model, 1)
    assert trainable(model) == everything
    opened = []
    for epoch in range(8):
        transfer.UNFREEZE["gradual"](model, epoch)
        opened.append(trainable(model))
    assert opened[0] == head
    assert opened[-1] == everything
    assert all(before <= after for before, after in itertools.pairwise(opened))
    assert "suffix.network.conv_head.weight" in opened[2]  # from the end to the front
    assert not any("blocks" in name for name in opened[2])


def test_batch_norms_keep_their_statistics(suffix: nn.Module) -> None:
    model, *_ = classifier(suffix)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.train()
    norms.still(model)
    model(maps())
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    model.train()
    model(maps())
    assert not all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_depth_grows_from_the_cut_to_the_head() -> None:
    model, *_ = classifier(prefix.split(weights.find(size=64), "blocks.5").suffix)
    depth = transfer.depths(model)
    assert depth.keys() == {name for name, _ in model.named_parameters()}
    first, late = "suffix.network.blocks.6.0.conv_pw.weight", "suffix.network.conv_head.weight"
    assert depth[first] < depth[late] < depth["head.weight"] == depth["head.bias"] == max(depth.values())


def test_targets() -> None:
    np.testing.assert_array_equal(transfer.one_hot(np.array([2, 0]), 3).numpy(), [[0, 0, 1], [1, 0, 0]])
    several = np.array([[1, 0, 1]])
    np.testing.assert_array_equal(transfer.one_hot(several, 3).numpy(), several)
