"""Corruptions on real photos: published parameters, the authors' loops written out, and laws of severity, draws and range."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import poisson
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.util import random_noise

from visum.data import corrupt
from visum.data.augment import draws
from visum.data.corrupt import CORRUPTIONS, FAMILIES, HELD_OUT, blur, digital, held_out, noise, weather
from visum.data.pixels import fit
from visum.errors import UsageError
from visum.types import Pixels, Preprocess

KINDS = (*CORRUPTIONS, *HELD_OUT)
FIXED = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg", "gaussian_blur", "saturate"}
"""Kinds that draw nothing."""
BREAKS = {"elastic": 2, "saturate": 2}
"""Kinds whose published severities change their nature after the second: moves of the whole become moves of parts; less colour
becomes more."""
PHOTOS: tuple[Pixels, ...] = tuple(
    fit(np.asarray(photo()), Preprocess(size=224, fit="crop")) for photo in (data.astronaut, data.coffee, data.chelsea)
)
GREY = np.full((224, 224, 3), 128, np.uint8)


def distance(kind: str, severity: int) -> float:
    """Root mean square from the clean photos, in levels."""
    made = [corrupt.corrupt(photo, kind, severity, seed=0, key=str(n)) for n, photo in enumerate(PHOTOS)]
    squares = [np.square(a.astype(float) - b).mean() for a, b in zip(made, PHOTOS, strict=True)]
    return float(np.sqrt(np.mean(squares)))


def test_there_are_fifteen_and_four() -> None:
    assert len(CORRUPTIONS) == 15
    assert len(HELD_OUT) == 4
    assert sorted(KINDS) == sorted(kind for family in FAMILIES.values() for kind in family)


@pytest.mark.parametrize("kind", KINDS)
def test_severities_lead_away_from_the_clean_picture(kind: str) -> None:
    away = np.array([distance(kind, severity) for severity in corrupt.SEVERITIES])
    rises = np.diff(away) > 0
    if kind in BREAKS:
        rises = np.delete(rises, BREAKS[kind] - 1)
    assert rises.all(), away
    assert away[0] > 4


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_function_of_seed_kind_severity_and_picture(kind: str) -> None:
    photo = PHOTOS[0][64:160, 64:160]  # not contiguous
    before = photo.copy()
    made = {
        (seed, key): corrupt.corrupt(photo, kind, 3, seed=seed, key=key)
        for seed in (0, 1)
        for key in ("a.jpg", "b.jpg")
    }
    first = made[0, "a.jpg"]
    np.testing.assert_array_equal(photo, before)
    assert (first.shape, first.dtype) == (photo.shape, np.uint8)
    np.testing.assert_array_equal(first, corrupt.corrupt(photo, kind, 3, seed=0, key="a.jpg"))
    for others in ((0, "b.jpg"), (1, "a.jpg")):
        assert np.array_equal(first, made[others]) == (kind in FIXED)
    batch = corrupt.corrupted(np.stack([photo, photo]), kind, 3, seed=0, keys=["b.jpg", "a.jpg"])
    np.testing.assert_array_equal(batch[1], first)


@pytest.mark.parametrize("side", [28, 96, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_any_side_and_any_picture(kind: str, side: int) -> None:
    for square in (fit(np.asarray(data.coffee()), Preprocess(size=side)), np.zeros((side, side, 3), np.uint8)):
        made = corrupt.corrupt(square, kind, 5, seed=0, key="x")
        assert (made.shape, made.dtype) == (square.shape, np.uint8)


def test_strengths_are_those_of_the_paper() -> None:
    """Hendrycks & Dietterich 2019, appendix and published code, at 224 pixels; of each kind what severity 1 and 5 take."""
    published = {
        noise.GAUSSIAN: (0.08, 0.38),
        noise.SHOT: (60, 3),
        noise.IMPULSE: (0.03, 0.27),
        blur.DEFOCUS: ((3, 0.1), (10, 0.5)),
        blur.GLASS: ((0.7, 1, 2), (1.5, 4, 2)),
        blur.MOTION: ((10, 3), (20, 15)),
        blur.ZOOM: ((1.11, 0.01), (1.31, 0.03)),
        weather.SNOW: ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        weather.FROST: ((1.0, 0.4), (0.6, 0.75)),
        weather.FOG: ((1.5, 2.0), (3.0, 1.4)),
        weather.BRIGHTNESS: (0.1, 0.5),
        digital.CONTRAST: (0.4, 0.05),
        digital.ELASTIC: ((2.0, 0.7, 0.1), (0.12, 0.01, 0.02)),
        digital.PIXELATE: (0.6, 0.25),
        digital.JPEG: (25, 7),
        held_out.SPECKLE: (0.15, 0.6),
        held_out.GAUSSIAN: (1, 6),
        held_out.SPATTER: ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.67, 0.4, 1, 0.65, 1.5, 1)),
        held_out.SATURATE: ((0.3, 0.0), (20.0, 0.2)),
    }
    assert len(published) == len(KINDS)
    for strengths, (mildest, worst) in published.items():
        assert (len(strengths), strengths[0], strengths[-1]) == (5, mildest, worst)


@pytest.mark.parametrize("severity", corrupt.SEVERITIES)
def test_noise_has_the_published_spread(severity: int) -> None:
    """Of mid-grey, where little is cut off; the normal distribution's share beyond black and white is taken from SciPy."""
    n = GREY.size
    draw = np.random.default_rng(0).standard_normal(1_000_000)
    x = 128 / 255
    wanted = np.clip(x + noise.GAUSSIAN[severity - 1] * draw, 0, 1).std()
    found = noise.gaussian_noise(GREY, severity, draws(0, 0, "n")).astype(float) / 255
    assert found.std() == pytest.approx(wanted, rel=0.02)
    found = held_out.speckle_noise(GREY, severity, draws(0, 0, "n")).astype(float) / 255
    assert found.std() == pytest.approx(np.clip(x + x * held_out.SPECKLE[severity - 1] * draw, 0, 1).std(), rel=0.02)
    photons = noise.SHOT[severity - 1]
    counts = np.arange(200)
    shares = poisson.pmf(counts, x * photons)
    values = np.minimum(counts / photons, 1)
    mean = (shares * values).sum()
    found = noise.shot_noise(GREY, severity, draws(0, 0, "n")).astype(float) / 255
    assert found.mean() == pytest.approx(mean, abs=0.01)
    assert found.std() == pytest.approx(np.sqrt((shares * (values - mean) ** 2).sum()), rel=0.02)
    made = noise.impulse_noise(GREY, severity, draws(0, 0, "n"))
    share = noise.IMPULSE[severity - 1]
    assert (made != GREY).mean() == pytest.approx(share, abs=4 * (share / n) ** 0.5)
    assert (made == 255).sum() == pytest.approx((made == 0).sum(), rel=0.1)


def test_impulse_noise_is_as_far_as_skimages() -> None:
    for severity in (1, 5):
        wanted = random_noise(PHOTOS[0], mode="s&p", amount=noise.IMPULSE[severity - 1], rng=0)
        found = noise.impulse_noise(PHOTOS[0], severity, draws(0, 0, "n"))
        assert peak_signal_noise_ratio(PHOTOS[0], found) == pytest.approx(
            peak_signal_noise_ratio(PHOTOS[0] / 255.0, wanted), abs=0.15
        )


@pytest.mark.parametrize("severity", [1, 2, 4])  # the first, of moves by one pixel, is a little milder than theirs
def test_glass_is_as_far_as_the_authors_loop(severity: int) -> None:
    """Theirs exchanges each pixel with a neighbour, one after the other; here pixels draw at once. On a part of a photo."""
    sigma, most, rounds = blur.GLASS[severity - 1]
    photo = PHOTOS[0][30:110, 60:140]
    drawn = np.random.default_rng(0)
    x = ndimage.gaussian_filter(photo.astype(float), (sigma, sigma, 0)).astype(np.uint8)
    for _ in range(int(rounds)):
        for row in range(80 - most, most, -1):
            for column in range(80 - most, most, -1):
                dx, dy = drawn.integers(-most, most, 2)
                there = min(row + dy, 79), min(column + dx, 79)
                x[row, column], x[there] = x[there].copy(), x[row, column].copy()
    x = ndimage.gaussian_filter(x.astype(float), (sigma, sigma, 0)).astype(np.uint8)
    big = PHOTOS[0].copy()
    found = blur.glass_blur(big, severity, draws(0, 0, "g"))[30:110, 60:140]
    ours, theirs = (structural_similarity(photo, y, channel_axis=2) for y in (found, x))
    assert ours == pytest.approx(theirs, abs=0.05 if severity > 1 else 0.1)


def test_kernels_are_what_they_are_called() -> None:
    spot = np.full((224, 224, 3), 0, np.float32)
    spot[112, 112] = 1
    disk = blur.filtered(spot, blur._disk(10.0, 0.5))[..., 0]
    assert disk.sum() == pytest.approx(1, rel=1e-4)
    assert (disk > 0.5 * disk.max()).sum() == pytest.approx(np.pi * 10**2, rel=0.04)
    kernel = blur.trail(15, 8, 0.0)
    middle = kernel.shape[0] // 2
    np.testing.assert_allclose(
        kernel[middle, middle:-1] / kernel[middle, middle], np.exp(-(np.arange(31) ** 2) / 128), atol=1e-6
    )
    assert kernel[: middle - 1].sum() == 0
    up = blur.trail(15, 8, -90.0)
    np.testing.assert_allclose(up, kernel.T[::-1], atol=1e-6)
    for sigma in (1.0, 4.0):
        wanted = ndimage.gaussian_filter(PHOTOS[1].astype(float), (sigma, sigma, 0), mode="mirror")
        assert np.abs(blur.smoothed(PHOTOS[1], sigma) - wanted).max() <= 1.5


@pytest.mark.parametrize("kind", [*FAMILIES["blur"], "gaussian_blur", "contrast", "elastic", "pixelate", "jpeg"])
def test_what_moves_light_adds_none(kind: str) -> None:
    """A flat picture stays as it is."""
    made = corrupt.corrupt(GREY, kind, 5, seed=0, key="flat")
    assert np.abs(made.astype(int) - GREY).max() <= 1


def test_contrast_and_brightness_are_their_formulas() -> None:
    x = PHOTOS[1] / 255
    mean = x.mean((0, 1))
    for severity, share in enumerate(digital.CONTRAST, 1):
        found = digital.contrast(PHOTOS[1], severity, draws(0, 0, ""))
        assert np.abs(found / 255 - np.clip((x - mean) * share + mean, 0, 1)).max() < 0.6 / 255
    made = weather.brightness(PHOTOS[1], 2, draws(0, 0, ""))
    np.testing.assert_allclose(made.max(2) / 255, np.clip(x.max(2) + 0.2, 0, 1), atol=0.6 / 255)


def test_elastic_field_is_the_published_gaussian() -> None:
    draw = np.random.default_rng(0).uniform(-1, 1, (64, 64)).astype(np.float32)
    for sigma in (0.7, 5.0, 40.0):
        wanted = ndimage.gaussian_filter(draw, sigma, mode="reflect", truncate=3)
        gauss = digital._gauss(64, sigma)
        np.testing.assert_allclose(gauss @ draw @ gauss.T, wanted, atol=1e-6)


def test_plasma_is_a_rough_torus() -> None:
    """From 0 to 1; neighbours are alike, across its border too; with less decay it is rougher."""
    rough, smooth = (weather.plasma(256, decay, draws(0, 0, "p")) for decay in (1.4, 2.0))
    for cloud in (rough, smooth):
        assert (cloud.min(), cloud.max()) == (0, 1)
    steps = [np.abs(np.diff(cloud, axis=0)).mean() for cloud in (rough, smooth)]
    assert steps[0] > 2 * steps[1]
    seam = np.abs(smooth[0] - smooth[-1]).mean()
    assert seam < 3 * steps[1]


def test_jpeg_is_pillows() -> None:
    import io

    from PIL import Image

    for severity, quality in enumerate(digital.JPEG, 1):
        held = io.BytesIO()
        Image.fromarray(PHOTOS[0]).save(held, "JPEG", quality=quality)
        wanted = peak_signal_noise_ratio(PHOTOS[0], np.asarray(Image.open(held)))
        found = peak_signal_noise_ratio(PHOTOS[0], digital.jpeg(PHOTOS[0], severity, draws(0, 0, "")))
        assert found == pytest.approx(wanted, abs=0.3)


def test_lengths_follow_the_side() -> None:
    """Blurred and then made smaller, or smaller and then blurred: nearly the same picture."""
    photo = fit(np.asarray(data.coffee()), Preprocess(size=224, fit="crop"))
    small = photo.reshape(112, 2, 112, 2, 3).mean((1, 3)).round().astype(np.uint8)
    for kind in ("defocus_blur", "gaussian_blur", "zoom_blur"):
        large = corrupt.corrupt(photo, kind, 4, seed=0, key="").reshape(112, 2, 112, 2, 3).mean((1, 3))
        found = corrupt.corrupt(small, kind, 4, seed=0, key="")
        away, moved = np.abs(found - large).mean(), np.abs(small - large).mean()
        assert away < 0.15 * moved, kind


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="motion_blur"):
        corrupt.corrupt(GREY, "motion-blurr", 1, seed=0, key="")
    with pytest.raises(UsageError, match="severity 6"):
        corrupt.corrupt(GREY, "fog", 6, seed=0, key="")
