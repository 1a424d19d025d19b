"""Weights are drawn anew and come back; a method that looks at the picture only is found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from explain.subjects import NAME, SIZE, bundled, subject_of
from visum.explain import attribution, randomised
from visum.explain.subject import Subject
from visum.types import Floats, Integers, Pixels


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(bundled(NAME, SIZE))


def edges(subject: Subject, squares: Pixels, targets: Integers, contrast: Integers) -> Floats:
    """What an edge detector shows, as Adebayo et al. 2018 have it for comparison."""
    grey = squares.astype(np.float32).mean(-1)
    return np.asarray(np.abs(np.gradient(grey, axis=1)) + np.abs(np.gradient(grey, axis=2)), np.float32)


@pytest.mark.slow
def test_an_edge_detector_is_found_out(subject: Subject, photos: dict[str, NDArray[np.uint8]]) -> None:
    squares = np.ascontiguousarray(np.stack([photo[:256:4, :256:4] for photo in photos.values()]))
    rows = np.zeros(len(squares), np.int64), np.full(len(squares), -1)
    assert subject.network is not None
    before = {name: value.clone() for name, value in subject.network.forward.state_dict().items()}
    blind = randomised.cascade(edges, subject, squares, *rows)
    assert min(blind.values()) == pytest.approx(1)
    chosen = attribution.resolve("integrated_gradients", subject)[1]
    found = randomised.cascade(attribution.EXPLAINERS["integrated_gradients"].run, chosen, squares, *rows)
    assert list(found) == ["head", "stages.2", "stages.1", "stages.0", "all"]
    assert abs(found["all"]) < randomised.CHANCE
    for name, value in subject.network.forward.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_shuffling_keeps_what_a_tensor_holds(subject: Subject) -> None:
    assert subject.network is not None
    state = subject.network.forward.state_dict()
    before = state["weight"].clone()
    with randomised.weights_drawn_anew(subject.network, 0) as shuffle:
        shuffle("weight")
        now = subject.network.forward.state_dict()["weight"].clone()
        assert not torch.equal(now, before)
        torch.testing.assert_close(now.flatten().sort().values, before.flatten().sort().values, rtol=0, atol=0)
    assert torch.equal(subject.network.forward.state_dict()["weight"], before)


def test_likeness_is_one_of_order() -> None:
    x = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    assert randomised.likeness(x, x**3) == pytest.approx(1)
    assert randomised.likeness(x, -x) == pytest.approx(-1)
    assert randomised.likeness(x, np.ones_like(x)) == 0
