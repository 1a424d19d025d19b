"""The pointing game on planted causes: a patch in real photos that a network must use, since classes differ in nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from explain.subjects import bundled
from visum.explain import attribution, faithfulness, randomised
from visum.explain.subject import Subject
from visum.models import differentiable
from visum.types import Pixels

SIZE, PATCH, SHOULD = 64, 10, 0.95
WINNERS = (
    "gradcam",
    "gradcam++",
    "layercam",
    "integrated_gradients",
    "gradient_shap",
    "occlusion",
    "lime",
    "kernel_shap",
)
"""SmoothGrad shows where small changes matter, which beside a patch they do too: it has to be near, not on it."""


def planted(photos: dict[str, NDArray[np.uint8]], number: int, seed: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """Cuts of photos, each with a chequered patch somewhere: uint8 ``[N, S, S, 3]``, where it is bool ``[N, S, S]``."""
    draw, sources = np.random.default_rng(seed), list(photos.values())
    squares, there = np.empty((number, SIZE, SIZE, 3), np.uint8), np.zeros((number, SIZE, SIZE), bool)
    tile = np.where(np.add.outer(np.arange(PATCH) // 2, np.arange(PATCH) // 2) % 2, 255, 0).astype(np.uint8)
    for at in range(number):
        photo = sources[draw.integers(len(sources))][::2, ::2]
        top, left = (int(draw.integers(0, side - SIZE)) for side in photo.shape[:2])
        squares[at] = photo[top : top + SIZE, left : left + SIZE]
        y, x = draw.integers(2, SIZE - PATCH - 2, 2)
        there[at, y : y + PATCH, x : x + PATCH] = True
        squares[at, y : y + PATCH, x : x + PATCH] = tile[..., None]
    return squares, there


def without(squares: Pixels, there: NDArray[np.bool_], photos: dict[str, NDArray[np.uint8]]) -> Pixels:
    """The same with another cut where the patch is, as plain as the rest."""
    return np.where(there[..., None], np.roll(squares, SIZE // 2, axis=2), squares)


@pytest.fixture(scope="module")
def taught(photos: dict[str, NDArray[np.uint8]]) -> Subject:
    """A small network that was taught to tell photos with a patch from those without."""
    torch.manual_seed(0)
    network = differentiable.of_bundle(bundled("cnn:widths=8-16-24", SIZE, k=2))
    weights = [each.requires_grad_(True) for each in network.forward.parameters()]
    head = [each for name, each in network.forward.named_buffers() if name in ("weight", "bias")]
    weights += [each.requires_grad_(True) for each in head]
    with torch.no_grad():
        head[0] *= 0.02
    optimiser = torch.optim.Adam(weights, 0.004)
    squares, there = planted(photos, 288, 1)
    x = differentiable.pixels(np.concatenate([squares, without(squares, there, photos)]))
    y = torch.tensor([1] * 288 + [0] * 288)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(48):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimiser.step()
    for each in weights:
        each.requires_grad_(False)

    def answer(squares: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(network(differentiable.pixels(squares)).numpy())

    return Subject(answer, "binary", (127, 127, 127), network)


@pytest.mark.slow
def test_it_uses_the_patch(taught: Subject, photos: dict[str, NDArray[np.uint8]]) -> None:
    squares, there = planted(photos, 100, 2)
    assert (taught.answer(squares).argmax(1) == 1).mean() > 0.97
    assert (taught.answer(without(squares, there, photos)).argmax(1) == 0).mean() > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("method", WINNERS)
def test_the_peak_lies_on_the_patch(taught: Subject, photos: dict[str, NDArray[np.uint8]], method: str) -> None:
    squares, there = planted(photos, 20, 3)
    known = taught.answer(squares).argmax(1) == 1
    squares, there = squares[known], there[known]
    subject = attribution.resolve(method, taught)[1]
    heats = attribution.EXPLAINERS[method].run(
        subject, squares, np.ones(len(squares), np.int64), np.full(len(squares), -1)
    )
    coarse = 4 if method.startswith(("gradcam", "occlusion", "lime", "kernel")) else 2  # half a cell, or a kernel
    won = [faithfulness.points(heat, cause, coarse) for heat, cause in zip(heats, there, strict=True)]
    assert np.mean(won) >= SHOULD, np.mean(won)


@pytest.mark.slow
def test_shuffled_weights_lose_the_map(taught: Subject, photos: dict[str, NDArray[np.uint8]]) -> None:
    """Adebayo et al. 2018, on a network that has learnt something: every gradient map loses its likeness, down to chance."""
    squares, _ = planted(photos, 4, 4)
    ones, none = np.ones(4, np.int64), np.full(4, -1)
    before = taught.answer(squares)
    for method in ("gradcam", "layercam", "smoothgrad"):
        subject = attribution.resolve(method, taught)[1]
        found = randomised.cascade(attribution.EXPLAINERS[method].run, subject, squares, ones, none)
        assert list(found) == ["head", "stages.2", "stages.1", "stages.0", "all"]
        assert abs(found["all"]) < randomised.CHANCE, (method, found)
    np.testing.assert_array_equal(taught.answer(squares), before)  # the weights are back


@pytest.mark.slow
def test_the_true_map_is_trustworthy_and_another_networks_is_not(
    taught: Subject, photos: dict[str, NDArray[np.uint8]]
) -> None:
    squares, there = planted(photos, 12, 5)
    said = {"true": 0, "elsewhere": 0}
    for square, cause in zip(squares, there, strict=True):

        def evidence(squares: Pixels) -> NDArray[np.float32]:
            logits = taught.answer(squares)
            return logits[:, 1] - logits[:, 0]

        for name, heat in (("true", cause), ("elsewhere", np.roll(cause, (SIZE // 2, SIZE // 2), (0, 1)))):
            said[name] += faithfulness.judge(square, heat.astype(np.float32), evidence).verdict == "trustworthy"
    assert said["true"] >= 9
    assert said["elsewhere"] <= 1
