"""Attributes of pictures whose attributes are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.explain import attributes

EDGES, COLOUR, TEXTURE = range(3)


def striped(width: int) -> NDArray[np.uint8]:
    """Upright stripes, grey."""
    across = (np.arange(96) // width % 2 * 200 + 20).astype(np.uint8)
    return np.repeat(np.repeat(across[None, :, None], 96, axis=0), 3, axis=2)


def test_upright_and_level_edges_are_opposites() -> None:
    upright = attributes.measure(striped(8))[EDGES]
    level = attributes.measure(striped(8).transpose(1, 0, 2))[EDGES]
    assert upright == pytest.approx(-level)
    assert upright > 3


def test_warm_is_above_grey_is_above_cold() -> None:
    red, grey, blue = (np.full((9, 9, 3), c, np.uint8) for c in ((200, 40, 20), (90, 90, 90), (20, 40, 200)))
    found = [attributes.measure(each)[COLOUR] for each in (red, grey, blue)]
    assert found[0] > 0.5 > found[1] == 0 > -0.5 > found[2]


def test_texture_is_finer_with_narrower_stripes_and_not_with_more_contrast() -> None:
    fine, coarse = striped(2), striped(24)
    assert attributes.measure(fine)[TEXTURE] > attributes.measure(coarse)[TEXTURE] + 1
    assert attributes.measure(coarse // 2)[TEXTURE] == pytest.approx(attributes.measure(coarse)[TEXTURE], abs=0.01)


def test_real_pictures_and_a_single_pixel(photos: dict[str, NDArray[np.uint8]]) -> None:
    found = {name: attributes.measure(photo) for name, photo in photos.items()}
    assert found["coffee"][COLOUR] > 0  # brown wood
    assert all(np.isfinite(each).all() for each in found.values())
    assert np.isfinite(attributes.measure(np.zeros((1, 1, 3), np.uint8))).all()


def test_quantiles_are_thirds_of_what_they_are_fitted_on() -> None:
    values = np.random.default_rng(0).normal(size=300).astype(np.float32)
    labels = attributes.quantiles(values, values)
    assert np.bincount(labels).tolist() == [100, 100, 100]
    assert values[labels == 0].max() < values[labels == 2].min()
    assert attributes.quantiles(np.array([-9, 9], np.float32), values).tolist() == [0, 2]
