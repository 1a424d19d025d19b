"""Pictures that are drawn by a network: they beat noise and real pictures, and one seed draws one picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from explain.subjects import bundled
from visum.errors import ModelError, UsageError
from visum.explain import filters, visualise
from visum.explain.visualise import CLASS, Feature
from visum.models import differentiable
from visum.models.differentiable import Differentiable

SIZE = 48


@pytest.fixture(scope="module")
def network() -> Differentiable:
    return differentiable.of_bundle(bundled("cnn:widths=8-16-24", SIZE))


@pytest.fixture(scope="module")
def real(photos: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Forty real squares."""
    corners = [(40 * y, 50 * x) for y, x in np.ndindex(4, 4)]
    return np.stack([p[y : y + 96 : 2, x : x + 96 : 2] for p in photos.values() for y, x in corners])[:40]


@pytest.mark.parametrize(
    ("layer", "parametrisation"), [("stages.1", "fourier"), ("stages.1", "pixels"), (CLASS, "fourier")]
)
def test_what_is_drawn_activates_more_than_noise_and_than_every_real_picture(
    network: Differentiable, real: NDArray[np.uint8], layer: str, parametrisation: str
) -> None:
    name = network.stages[1] if layer else CLASS
    features = [Feature(name, 0), Feature(name, 2)]
    drawn = visualise.visualise(network, features, steps=60, rate=0.3, parametrisation=parametrisation)
    noise = np.random.default_rng(0).integers(0, 256, real.shape).astype(np.uint8)
    assert drawn.shape == (2, SIZE, SIZE, 3)
    own = visualise.activations(network, drawn, features).diagonal()
    for others in (noise, real):
        assert (own > visualise.activations(network, others, features).max(axis=0)).all()


def test_one_seed_draws_one_picture_and_another_another(network: Differentiable) -> None:
    feature = [Feature(network.stages[0], 1)]
    one, same, other = (visualise.visualise(network, feature, steps=3, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_total_variation_smooths(network: Differentiable) -> None:
    import torch

    feature = [Feature(network.stages[0], 1)]
    rough, smooth = (
        visualise.total_variation(
            torch.from_numpy(visualise.visualise(network, feature, steps=25, smooth=s)).permute(0, 3, 1, 2) / 255
        )
        for s in (0.0, 1000.0)
    )
    assert float(smooth) < 0.6 * float(rough)
    assert float(visualise.total_variation(torch.full((1, 3, 5, 5), 0.3))) == 0


def test_activations_are_means_over_positions(network: Differentiable, real: NDArray[np.uint8]) -> None:
    import torch

    name = network.stages[1]
    with network.watching([name]) as seen, torch.no_grad():
        network(differentiable.pixels(real[:3]))
    ours = visualise.activations(network, real[:3], [Feature(name, 5)], batch=2)[:, 0]
    np.testing.assert_allclose(ours, seen[name][:, 5].mean((1, 2)).numpy(), rtol=1e-5)


def test_what_is_not_there_is_named(network: Differentiable) -> None:
    name = network.stages[0]
    with pytest.raises(ModelError, match=r"no channel 99. Allowed: 0 to"):
        visualise.visualise(network, [Feature(name, 99)])
    with pytest.raises(ModelError, match="no layer is called"):
        visualise.visualise(network, [Feature("nowhere", 0)])
    with pytest.raises(UsageError, match="fourier, pixels"):
        visualise.visualise(network, [Feature(name, 0)], parametrisation="oil")


def test_first_filters_are_the_first_convolutions(network: Differentiable) -> None:
    name, kernels = filters.first(network)
    weight = network.module(name).weight
    assert kernels.shape == (8, 3, 3, 3)
    np.testing.assert_array_equal(kernels[2, 0, 1], weight[2, :, 0, 1].numpy())  # type: ignore[operator, index, union-attr]
    tiles = filters.picture(kernels)
    largest = np.abs(kernels).reshape(8, -1).argmax(axis=1)
    assert set(tiles.reshape(8, -1)[np.arange(8), largest].tolist()) <= {0, 255}
    assert (filters.picture(np.zeros((1, 3, 3, 3), np.float32)) == 128).all()


def test_colour_comes_before_grey_before_what_is_dead() -> None:
    kernels = np.zeros((4, 3, 3, 3), np.float32)
    kernels[0] = np.array([[1, -1, 1]] * 3)[..., None]
    kernels[1] = 1e-9
    kernels[2, ..., 0], kernels[2, ..., 2] = 1, -1
    kernels[3] = 1
    assert filters.ordered(kernels).tolist() == [2, 3, 0, 1]
