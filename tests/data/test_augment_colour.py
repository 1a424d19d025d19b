"""Changes of tone and colour against Pillow and torchvision, value by value, on real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from skimage import data
from torchvision.transforms.v2 import functional as reference

from visum.data.augment import colour, draws
from visum.data.pixels import fit
from visum.types import Pixels, Preprocess

PHOTOS: dict[str, Pixels] = {
    "cat": fit(np.asarray(data.chelsea()), Preprocess(size=96, fit="crop")),
    "coffee": fit(np.asarray(data.coffee()), Preprocess(size=96)),
    "dim": np.asarray(fit(np.asarray(data.astronaut()), Preprocess(size=96)) // 3 + 40, np.uint8),
    "flat": np.full((32, 32, 3), (10, 200, 30), np.uint8),
}
FACTORS = [0.0, 0.3, 0.9, 1.0, 1.4, 2.0]


@pytest.fixture(params=PHOTOS)
def photo(request: pytest.FixtureRequest) -> Pixels:
    return PHOTOS[request.param]


def off(found: Pixels, wanted: Image.Image | torch.Tensor) -> int:
    """The largest difference from Pillow's or torchvision's picture."""
    other = wanted.permute(1, 2, 0).numpy() if isinstance(wanted, torch.Tensor) else np.asarray(wanted)
    assert found.shape == other.shape
    assert found.dtype == other.dtype == np.uint8
    return int(np.abs(found.astype(int) - other).max())


def tensor(photo: Pixels) -> torch.Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color"), ("sharpness", "Sharpness")],
)
def test_enhancements_are_pillows_and_torchvisions(photo: Pixels, name: str, enhancer: str, factor: float) -> None:
    found = getattr(colour, f"adjust_{name}")(photo, factor)
    assert off(found, getattr(ImageEnhance, enhancer)(Image.fromarray(photo)).enhance(factor)) <= 2
    assert off(found, getattr(reference, f"adjust_{name}")(tensor(photo), factor)) <= 2
    if factor == 1:
        np.testing.assert_array_equal(found, photo)


@pytest.mark.parametrize("turns", [-0.5, -0.3, 0.0, 0.0625, 0.25, 0.5])
def test_hues_are_torchvisions(photo: Pixels, turns: float) -> None:
    found = colour.adjust_hue(photo, turns)
    assert off(found, reference.adjust_hue(tensor(photo), turns)) <= 8  # 8 bits a hue, where torchvision has floats
    difference = found.astype(int) - reference.adjust_hue(tensor(photo), turns).permute(1, 2, 0).numpy()
    assert np.abs(difference).mean() < 1 or len(photo) == 32
    np.testing.assert_array_equal(found.max(2), photo.max(2))
    if turns == 0:
        np.testing.assert_array_equal(found, photo)


@pytest.mark.parametrize("bits", range(9))
def test_posterize_is_torchvisions(photo: Pixels, bits: int) -> None:
    assert off(colour.posterize(photo, bits), reference.posterize(tensor(photo), bits)) == 0
    if bits:
        assert off(colour.posterize(photo, bits), ImageOps.posterize(Image.fromarray(photo), bits)) == 0


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize_is_pillows(photo: Pixels, threshold: int) -> None:
    assert off(colour.solarize(photo, threshold), ImageOps.solarize(Image.fromarray(photo), threshold)) == 0


def test_invert_is_pillows(photo: Pixels) -> None:
    assert off(colour.invert(photo), ImageOps.invert(Image.fromarray(photo))) == 0


def test_equalize_is_pillows_and_torchvisions(photo: Pixels) -> None:
    found = colour.equalize(photo)
    assert off(found, ImageOps.equalize(Image.fromarray(photo))) == 0
    assert off(found, reference.equalize(tensor(photo))) == 0


def test_auto_contrast_is_pillows_and_torchvisions(photo: Pixels) -> None:
    found = colour.auto_contrast(photo)
    assert off(found, ImageOps.autocontrast(Image.fromarray(photo))) <= 1
    assert off(found, reference.autocontrast(tensor(photo))) <= 1
    if len(photo) > 32:
        assert (found.min((0, 1)) == 0).all()
        assert (found.max((0, 1)) == 255).all()


@pytest.mark.parametrize(("name", "most"), [("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)])
def test_draws_fill_their_settings(monkeypatch: pytest.MonkeyPatch, name: str, most: float) -> None:
    seen: list[float] = []
    monkeypatch.setattr(colour, f"adjust_{name}", lambda x, factor: seen.append(factor) or x)
    for strength in (0.2, most):
        seen.clear()
        for number in range(300):
            getattr(colour, name)(PHOTOS["flat"], draws(0, number, name), strength=strength)
        middle = 0 if name == "hue" else 1
        assert middle - strength <= min(seen) < middle - 0.95 * strength
        assert middle + 0.95 * strength < max(seen) <= middle + strength
