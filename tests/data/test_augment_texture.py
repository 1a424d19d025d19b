"""Noise, blur and erasing: their statistics and torchvision's blur, on real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torchvision.transforms.v2 import functional as reference

from visum.data.augment import draws, texture
from visum.data.pixels import fit
from visum.types import Pixels, Preprocess

PHOTO: Pixels = fit(np.asarray(data.coffee()), Preprocess(size=128, fit="crop"))


@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.1])
def test_noise_has_the_deviation_it_says(deviation: float) -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    added = texture.noise(grey, draws(0, 0, "noise"), deviation=(deviation, deviation)).astype(float) - 128
    rounding = 1 / 12 if deviation else 0
    assert added.std() == pytest.approx(np.hypot(255 * deviation, rounding**0.5), rel=0.02)
    assert abs(added.mean()) < 4 * max(added.std(), 1e-9) / grey.size**0.5
    if deviation:
        assert abs(np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]) < 0.04  # channels on their own
        assert abs(np.corrcoef(added[:, :-1].ravel(), added[:, 1:].ravel())[0, 1]) < 0.04  # and neighbours


def test_noise_stops_at_black_and_white() -> None:
    for level in (0, 255):
        found = texture.noise(np.full((64, 64, 3), level, np.uint8), draws(0, 0, ""), deviation=(0.05, 0.05))
        assert np.abs(found.astype(int) - level).max() < 255 * 0.05 * 6
        assert (found == level).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0, 6.0])
def test_blur_is_torchvisions(sigma: float) -> None:
    side = 2 * int(np.ceil(3 * sigma)) + 1
    wanted = reference.gaussian_blur(torch.from_numpy(PHOTO).permute(2, 0, 1), [side, side], [sigma, sigma])
    found = texture.gaussian(PHOTO, sigma)
    assert np.abs(found.astype(int) - wanted.permute(1, 2, 0).numpy()).max() <= 1


def test_a_range_of_blurs_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(texture, "gaussian", lambda x, sigma: seen.append(sigma) or x)
    for number in range(200):
        texture.blur(PHOTO, draws(0, number, "blur"), sigma=(0.5, 3))
    assert 0.5 <= min(seen) < 0.6
    assert 2.9 < max(seen) <= 3


def test_erasing_covers_one_box_with_random_bytes() -> None:
    shares, ratios = [], []
    for number in range(300):
        found = texture.erasing(PHOTO, draws(0, number, "erasing"), area=(0.1, 0.3), aspect=(0.5, 2))
        changed = (found != PHOTO).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.999
        shares.append(height * width / changed.size)
        ratios.append(width / height)
    assert 0.095 <= min(shares) < 0.11
    assert 0.29 < max(shares) <= 0.305
    assert 0.48 <= min(ratios) < 0.53
    assert 1.9 < max(ratios) <= 2.08
    box = texture.erasing(PHOTO, draws(0, 0, ""), area=(1, 1), aspect=(1, 1))
    assert np.bincount(box.ravel(), minlength=256) == pytest.approx(np.full(256, box.size / 256), rel=0.35)


def test_where_no_box_fits_nothing_is_erased() -> None:
    np.testing.assert_array_equal(texture.erasing(PHOTO, draws(0, 0, ""), area=(1, 1), aspect=(3, 3)), PHOTO)
