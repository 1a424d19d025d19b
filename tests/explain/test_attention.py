"""Attention is what the layers compute; rollout and flow are those of the paper, on graphs small enough to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from explain.subjects import bundled, subject_of
from visum.errors import ModelError
from visum.explain import attention, attribution
from visum.explain.subject import Subject
from visum.models.differentiable import pixels
from visum.types import Pixels

SIZE = 64


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(bundled("vit_tiny_patch16_224", SIZE))


@pytest.fixture(scope="module")
def square(photos: dict[str, NDArray[np.uint8]]) -> Pixels:
    return np.ascontiguousarray(photos["astronaut"][0:256:4, 150:406:4])


def stochastic(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Rows that sum to 1, most of it in few places."""
    x = np.random.default_rng(seed).random(shape) ** 4
    return np.asarray(x / x.sum(-1, keepdims=True), np.float32)


def test_attention_is_what_the_layer_computes(subject: Subject, square: Pixels) -> None:
    network: Any = subject.network
    plain = network(pixels(square[None]))
    names, found = attention.matrices(network, square[None])
    assert names == tuple(f"blocks.{n}.attn" for n in range(12))
    assert found.shape == (12, 1, 3, 17, 17)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    layer = network.module("blocks.0.attn")
    with network.watching(["blocks.0.norm1"]) as seen:
        network(pixels(square[None]))
    q, k, _ = layer.qkv(seen["blocks.0.norm1"]).reshape(1, 17, 3, 3, 64).permute(2, 0, 3, 1, 4)
    by_hand = (q @ k.transpose(-1, -2) / 64**0.5).softmax(-1)
    np.testing.assert_allclose(found[0], by_hand.detach().numpy(), atol=1e-5)
    torch.testing.assert_close(network(pixels(square[None])), plain)  # nothing is left behind
    assert layer.fused_attn == network.module("blocks.1.attn").fused_attn
    per_head = attention.heads(network, square)[1]
    np.testing.assert_array_equal(per_head, found[:, 0, :, 0, 1:].reshape(12, 3, 4, 4))


def test_rollout_is_the_papers(subject: Subject, square: Pixels) -> None:
    """Abnar & Zuidema 2020, eq. 1, as they write it in their notebook: the residual is added and rows are made to sum to 1."""
    found = stochastic((5, 7, 7))
    joint = np.eye(7)
    for each in found:
        mixed = each + np.eye(7)
        joint = (mixed / mixed.sum(-1, keepdims=True)) @ joint
    np.testing.assert_allclose(attention.rollout(found), joint, atol=1e-6)
    np.testing.assert_allclose(attention.rollout(found).sum(-1), 1, atol=1e-6)
    assert np.abs(attention.rollout(found[::-1]) - joint).max() > 0.01  # the order of layers counts


def test_flow_is_networkxs() -> None:
    found = stochastic((3, 5, 5), seed=2)
    graph = networkx.DiGraph()
    for layer, each in enumerate(found):
        for i in range(5):
            for j in range(5):
                graph.add_edge((layer, j), (layer + 1, i), capacity=0.5 * float(each[i, j]) + 0.5 * (i == j))
    theirs = [networkx.maximum_flow_value(graph, (0, token), (3, 1)) for token in range(5)]
    np.testing.assert_allclose(attention.flow(found, 1), theirs, atol=1e-4)


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_flow"])
def test_as_explainers(subject: Subject, square: Pixels, method: str) -> None:
    chosen, ready = attribution.resolve(method, subject)
    heat = attribution.EXPLAINERS[chosen].run(ready, square[None], np.array([0]), np.array([-1]))
    assert heat.shape == (1, SIZE, SIZE)
    assert np.ptp(heat) > 0
    other = attribution.EXPLAINERS[chosen].run(ready, square[None], np.array([1]), np.array([-1]))
    np.testing.assert_array_equal(heat, other)  # attention knows no classes


def test_the_weight_of_a_value_moves_the_answer_but_not_the_attention(subject: Subject, square: Pixels) -> None:
    """What Jain & Wallace 2019 warn of: the first layer's attention says nothing of what is done with what it brings."""
    network: Any = subject.network
    before = attention.heads(network, square)[1][0]
    weight = network.module("blocks.0.attn").qkv.weight
    kept = weight[2 * 192 :].clone()
    plain = network(pixels(square[None]))
    try:
        weight[2 * 192 :] *= -1
        np.testing.assert_array_equal(attention.heads(network, square)[1][0], before)
        assert not torch.allclose(network(pixels(square[None])), plain)
    finally:
        weight[2 * 192 :] = kept


def test_convolutions_have_none() -> None:
    subject = subject_of(bundled("cnn:widths=8-16", 32))
    with pytest.raises(ModelError, match=r"no attention layers.*Try: --method gradcam"):
        attribution.resolve("attention_rollout", subject)
    with pytest.raises(ModelError):
        attention.matrices(replace(subject).network, np.zeros((1, 32, 32, 3), np.uint8))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "coatnet_nano_rw_224"])
def test_windows_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ModelError, match=r"windows or behind convolutions.*Allowed: gradcam.*Try: --method layercam"):
        attribution.resolve("attention", subject_of(bundled(name, 224)))


@pytest.mark.slow
def test_torchvisions_transformer_has_it_too(photos: dict[str, NDArray[np.uint8]]) -> None:
    subject = subject_of(bundled("vit_b_32", 224))
    square = np.ascontiguousarray(photos["astronaut"][:448:2, :448:2])
    names, found = attention.matrices(subject.network, square[None])  # type: ignore[arg-type]
    assert len(names) == 12
    assert found.shape == (12, 1, 12, 50, 50)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-4)
