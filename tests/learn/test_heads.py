"""Heads: what is trained is what is shipped, and the margin is the one of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor, nn

from visum.learn import heads, losses
from visum.models import heads as shipped
from visum.types import Floats

DRAW = np.random.default_rng(0)
X = DRAW.normal(1, 2, (7, 5)).astype(np.float32)
MEAN, SPREAD = X.mean(0), X.std(0)
WEIGHT, BIAS = DRAW.normal(size=(5, 3)).astype(np.float32), DRAW.normal(size=3).astype(np.float32)


def standard() -> Tensor:
    return torch.from_numpy((X - MEAN) / SPREAD)


@pytest.mark.parametrize("name", heads.HEADS)
def test_what_is_shipped_answers_as_what_was_trained(name: str) -> None:
    head = heads.HEADS[name](WEIGHT, BIAS, 16.0)
    assert isinstance(head, nn.Module)
    optimiser = torch.optim.SGD(head.parameters(), 0.1)
    head(standard()).square().mean().backward()
    optimiser.step()
    arrays = head.arrays(MEAN, SPREAD)
    sizes = {"D": 5, "K": 3}
    assert {key: value.shape for key, value in arrays.items()} == {
        key: tuple(sizes[axis] for axis in axes) for key, axes in shipped.SHAPES[name].items()
    }
    with torch.no_grad():
        np.testing.assert_allclose(shipped.HEADS[name](arrays, X), head(standard()).numpy(), atol=1e-4)


def test_both_rooms_know_the_same_heads() -> None:
    assert heads.HEADS.keys() == shipped.HEADS.keys() == shipped.SHAPES.keys()


def test_a_linear_head_starts_as_the_layer_that_it_is_given() -> None:
    with torch.no_grad():
        found = heads.Linear(WEIGHT, BIAS)(standard()).numpy()
    np.testing.assert_allclose(found, (X - MEAN) / SPREAD @ WEIGHT + BIAS, atol=1e-5)


def test_cosines_are_those_of_scikit_learn() -> None:
    with torch.no_grad():
        found = heads.Cosine(WEIGHT, BIAS, 16.0)(standard()).numpy()
    np.testing.assert_allclose(found, 16 * cosine_similarity((X - MEAN) / SPREAD, WEIGHT.T), atol=1e-5)


def test_an_embedding_without_direction_is_undecided() -> None:
    arrays = heads.Cosine(WEIGHT, BIAS, 16.0).arrays(MEAN, SPREAD)
    np.testing.assert_array_equal(shipped.cosine(arrays, MEAN[None]), np.zeros((1, 3)))


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5])
def test_the_margin_turns_the_true_class_away(margin: float) -> None:
    """Deng et al. 2019, eq. 3, by angles: s · cos(θ + m) where θ + m stays below π, and no rise beyond it."""
    angles = torch.linspace(0.01, 3.13, 60, dtype=torch.float64)
    logits = torch.stack([16 * angles.cos(), 16 * angles.cos()], 1)
    target = torch.tensor([[1.0, 0.0]]).repeat(60, 1)
    found = heads.with_margin(logits, target, margin, 16.0)
    torch.testing.assert_close(found[:, 1], logits[:, 1], atol=2e-5, rtol=0)
    inside = angles + margin < torch.pi - 1e-6
    torch.testing.assert_close(found[inside, 0], 16 * (angles + margin).cos()[inside], atol=1e-4, rtol=0)
    assert bool((found[:, 0].diff() < 0).all())  # the farther away, the lower, all the way round
    if margin:
        assert bool((found[:, 0] < logits[:, 0] - 1e-3).all())


def test_a_mixed_picture_has_a_part_of_the_margin_for_each_of_its_classes() -> None:
    angle = torch.tensor([[1.0, 1.2, 0.7]])
    target = torch.tensor([[0.75, 0.25, 0.0]])
    found = heads.with_margin(8 * angle.cos(), target, 0.4, 8.0)
    torch.testing.assert_close(found, 8 * (angle + 0.4 * target).cos())


def test_slopes_are_finite_everywhere() -> None:
    logits = torch.tensor([[16.0, -16.0], [-16.0, 16.0], [0.0, 15.9999]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = losses.LOSSES["cross_entropy"](task="multiclass", counts=np.ones(2), images=2)
    heads.angular(loss, 0.3, 16.0)(logits, target).mean().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_a_loss_with_a_margin_asks_for_more() -> None:
    loss = losses.LOSSES["cross_entropy"](task="multiclass", counts=np.ones(3), images=3)
    logits, target = heads.Cosine(WEIGHT, BIAS, 16.0)(standard()), torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    plain, more = loss(logits, target), heads.angular(loss, 0.3, 16.0)(logits, target)
    assert bool((more > plain).all())
    torch.testing.assert_close(heads.angular(loss, 0.0, 16.0)(logits, target), plain)


def test_a_margin_out_of_range() -> None:
    with pytest.raises(ValueError, match="wanted 0"):
        heads.angular(lambda z, t: z.sum(1), 2.0, 16.0)


def test_training_with_a_margin_draws_classes_apart() -> None:
    """On digits of scikit-learn: the angle to the own class falls further, compared with the next one, than without."""
    from sklearn.datasets import load_digits

    source = load_digits()
    x: Floats = np.asarray(source.data[:400] / 16, np.float32)
    e = torch.from_numpy((x - x.mean(0)) / (x.std(0) + 1e-3))
    target = nn.functional.one_hot(torch.from_numpy(source.target[:400]), 10).float()
    loss = losses.LOSSES["cross_entropy"](task="multiclass", counts=target.sum(0).numpy(), images=400)

    def gap(margin: float) -> float:
        head = heads.Cosine(np.random.default_rng(1).normal(size=(64, 10)).astype(np.float32), np.zeros(10), 16.0)
        optimiser = torch.optim.Adam(head.parameters(), 0.02)
        for _ in range(60):
            optimiser.zero_grad()
            heads.angular(loss, margin, 16.0)(head(e), target).mean().backward()
            optimiser.step()
        with torch.no_grad():
            cos = head(e) / 16
        own = (cos * target).sum(1)
        return float((own - (cos - 2 * target).max(1).values).mean())

    assert gap(0.5) > gap(0.0) + 0.05
