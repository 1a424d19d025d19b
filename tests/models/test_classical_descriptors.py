"""Descriptors against scikit-image, NumPy, SciPy and OpenCV, and the changes of a picture that each must not notice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import feature, filters

from visum.data.decode import decode
from visum.data.pixels import fit
from visum.errors import NotEnoughData
from visum.models.classical import DESCRIPTORS, bag_of_words, codebook
from visum.models.classical.descriptors import colour_histogram, grey, lbp, local_binary_patterns, luma
from visum.models.classical.gabor import ORIENTATIONS, SPREAD, WAVELENGTHS, gabor, responses
from visum.models.classical.hog import hog
from visum.models.classical.sift import STEP, dense, k_means, nearest
from visum.types import Floats, Pixels, Preprocess

Photos = dict[str, Pixels]


@pytest.fixture(scope="module")
def squares(photos: Photos) -> dict[int, list[Pixels]]:
    """The three photos at 64 and 128 pixels."""
    return {size: [fit(photo, Preprocess(size=size)) for photo in photos.values()] for size in (64, 128)}


@pytest.fixture(scope="module")
def book(squares: dict[int, list[Pixels]]) -> Floats:
    return codebook(squares[128], 32, 0)


def test_colours_are_numpys_joint_histogram(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        counts, _ = np.histogramdd(picture.reshape(-1, 3), bins=(8, 8, 8), range=[(0, 256)] * 3)
        np.testing.assert_allclose(colour_histogram(picture) ** 2, counts.ravel() / counts.sum(), atol=1e-6)


def test_colours_do_not_notice_mirroring_turning_or_shuffling(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        shuffled = np.random.default_rng(0).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
        for other in (picture[:, ::-1], picture[::-1], np.rot90(picture), shuffled):
            np.testing.assert_array_equal(colour_histogram(other), colour_histogram(picture))
        assert not np.array_equal(colour_histogram(picture[..., ::-1].copy()), colour_histogram(picture))


def test_patterns_are_those_of_scikit_image(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        theirs = feature.local_binary_pattern(grey(picture), 8, 1)[1:-1, 1:-1]
        same = local_binary_patterns(picture) == theirs
        assert same.mean() > 0.99  # theirs rounds in floating point: where neighbours tie, either is right


def test_patterns_of_flat_areas_tie_exactly() -> None:
    for level in range(256):
        assert (local_binary_patterns(np.full((8, 8, 3), level, np.uint8)) == 255).all()


def test_pattern_histograms_are_those_of_scikit_image(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        labels = feature.local_binary_pattern(grey(picture), 8, 1, method="nri_uniform")[1:-1, 1:-1].astype(int)
        quarters = np.array_split(np.arange(62), [16, 31, 47])
        counts = [np.bincount(labels[np.ix_(a, b)].ravel(), minlength=59) for a in quarters for b in quarters]
        ours = (lbp(picture) ** 2).reshape(16, 59)
        theirs = np.array([count / count.sum() for count in counts])
        np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)
        # which number a pattern gets is each library's own business
        assert np.abs(np.sort(ours, axis=1) - np.sort(theirs, axis=1)).max() < 0.02


def test_patterns_do_not_notice_light(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        plain = np.repeat(grey(picture)[..., None] // 4, 3, axis=2)
        np.testing.assert_array_equal(lbp(3 * plain + 20), lbp(plain))


@pytest.mark.parametrize("size", [64, 128])
def test_hog_is_that_of_scikit_image(squares: dict[int, list[Pixels]], size: int) -> None:
    for picture in squares[size]:
        theirs = feature.hog(
            picture.astype(np.float32), pixels_per_cell=(size // 8, size // 8), cells_per_block=(2, 2), channel_axis=-1
        )
        ours = hog(picture)
        assert ours.shape == theirs.shape == (1764,)
        # a gradient exactly between two directions may fall on either side
        assert np.abs(ours - theirs).max() < 0.02
        assert np.abs(ours - theirs).mean() < 1e-4


def test_hog_of_the_mirror_image_is_the_mirror_image_of_hog(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[64]:
        ours = hog(picture).reshape(7, 7, 2, 2, 9)
        mirrored = hog(np.ascontiguousarray(picture[:, ::-1])).reshape(7, 7, 2, 2, 9)
        back = mirrored[:, ::-1, :, ::-1, ::-1]
        assert np.abs(ours - back).mean() < 0.02  # directions that are borders of a bin change sides
        assert np.abs(ours - mirrored).mean() > 0.04


def test_gabor_responses_are_those_of_scikit_image_and_scipy(squares: dict[int, list[Pixels]]) -> None:
    picture = squares[64][0]
    light = luma(picture) - luma(picture).mean()
    ours = responses(picture)
    assert ours.shape == (24, 16, 16)
    for i, wavelength in enumerate(WAVELENGTHS):
        sigma = SPREAD * wavelength
        for turn in range(ORIENTATIONS):
            kernel = filters.gabor_kernel(
                1 / wavelength, np.pi * turn / ORIENTATIONS, sigma_x=sigma, sigma_y=sigma, n_stds=3
            )
            parts = [ndimage.convolve(light, part, mode="reflect") for part in (kernel.real, kernel.imag)]
            theirs = (parts[0] + 1j * parts[1])[2::4, 2::4]
            # theirs cuts the tail at three sigma along each direction, ours in a square
            np.testing.assert_allclose(ours[6 * i + turn], theirs, atol=0.01 * np.abs(theirs).max() + 1e-3)


def test_gabor_finds_the_wave_that_is_there() -> None:
    y, x = np.mgrid[:64, :64]
    for i, wavelength in enumerate(WAVELENGTHS):
        for turn in range(ORIENTATIONS):
            angle = np.pi * turn / ORIENTATIONS
            wave = 127 + 100 * np.sin(2 * np.pi / wavelength * (x * np.cos(angle) + y * np.sin(angle)))
            energy = np.abs(responses(np.repeat(wave.astype(np.uint8)[..., None], 3, 2)))[:, 4:-4, 4:-4].mean((1, 2))
            assert energy.argmax() == 6 * i + turn


def test_gabor_does_not_notice_brightness(squares: dict[int, list[Pixels]]) -> None:
    picture = squares[64][0] // 2
    np.testing.assert_allclose(gabor(picture + 100), gabor(picture), atol=0.02)


def test_dense_sift_is_close_to_opencvs(squares: dict[int, list[Pixels]]) -> None:
    """OpenCV weighs the middle of a patch more and blurs first; the same patches, bins and directions must still look alike."""
    for picture in squares[128]:
        ours = dense(picture).reshape(18, 18, 4, 4, 8)
        middle = (np.arange(18) + 1.5 - 20 / 2) * STEP + 127 / 2
        points = [
            cv2.KeyPoint(float(x), float(y), 4.0, 0.0) for y in middle for x in middle
        ]  # bins of 3 x 4 / 2 pixels
        _, theirs = cv2.SIFT_create().compute(grey(picture), points)
        root = np.sqrt(theirs / np.maximum(theirs.sum(1, keepdims=True), 1)).reshape(18, 18, 4, 4, 8)
        textured = theirs.reshape(18, 18, -1).sum(2) > 0
        alike = [float((ours * np.roll(root, -k, -1)[..., ::-1]).sum((2, 3, 4))[textured].mean()) for k in range(8)]
        assert np.argmax(alike) == 1  # theirs counts directions the other way round from the same first one
        assert alike[1] > 0.9


def test_a_sift_patch_is_what_its_definition_says(squares: dict[int, list[Pixels]]) -> None:
    """Written out pixel by pixel, without a window, a plane or an array of gradients."""
    picture = squares[128][1]
    light = luma(picture).astype(np.float64)
    for row, column in ((0, 0), (7, 11), (17, 3)):
        total = np.zeros((4, 4, 8))
        for y, x in np.ndindex(126, 126):
            right, down = light[y + 1, x + 2] - light[y + 1, x], light[y + 2, x + 1] - light[y, x + 1]
            turn = np.arctan2(down, right) % (2 * np.pi) / (np.pi / 4)
            for i, j in np.ndindex(4, 4):
                away = [abs((place + n - 10) * 6 + 63.5 - p - 1) / 6 for place, n, p in ((row, i, y), (column, j, x))]
                if max(away) < 1:
                    weight = (1 - away[0]) * (1 - away[1]) * np.hypot(right, down)
                    total[i, j, int(turn) % 8] += weight * (1 - turn % 1)
                    total[i, j, (int(turn) + 1) % 8] += weight * (turn % 1)
        clipped = np.minimum(total / np.linalg.norm(total), 0.2)
        ours = dense(picture).reshape(18, 18, 4, 4, 8)[row, column]
        np.testing.assert_allclose(ours, np.sqrt(clipped / clipped.sum()), atol=2e-3)


def test_dense_sift_rows_are_roots_of_shares(squares: dict[int, list[Pixels]]) -> None:
    for picture in squares[128]:
        np.testing.assert_allclose((dense(picture) ** 2).sum(1), 1, atol=1e-4)
    assert not dense(np.full((128, 128, 3), 200, np.uint8)).any()


def test_bag_of_words_counts_each_quarter(squares: dict[int, list[Pixels]], book: Floats) -> None:
    picture = squares[128][0]
    bag = bag_of_words(picture, book).reshape(4, 32) ** 2
    words = ((dense(picture)[:, None] - book) ** 2).sum(2).argmin(1).reshape(18, 18)
    quarters = (words[:9, :9], words[:9, 9:], words[9:, :9], words[9:, 9:])
    for ours, quarter in zip(bag, quarters, strict=True):
        np.testing.assert_allclose(ours, np.bincount(quarter.ravel(), minlength=32) / 18**2, atol=0.0035)
    np.testing.assert_allclose(bag.sum(), 1, atol=1e-5)


def test_words_are_as_good_as_scikit_learns(squares: dict[int, list[Pixels]]) -> None:
    from sklearn.cluster import KMeans

    patches = np.concatenate([dense(picture) for picture in squares[128]])
    ours = k_means(patches, 20, np.random.default_rng(0))
    spread = ((patches - ours[nearest(patches, ours)]) ** 2).sum()
    assert spread < 1.05 * KMeans(20, n_init=1, random_state=0).fit(patches).inertia_


def test_codebook_reads_once_holds_little_and_depends_on_the_seed_alone(squares: dict[int, list[Pixels]]) -> None:
    pictures = squares[128]
    first, again, other = (codebook(iter(pictures), 16, seed) for seed in (1, 1, 2))
    assert first.shape == (16, 128)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(codebook(pictures, 150, 0), axis=0)) > 100  # every picture gives 50 patches
    flat = np.full((128, 128, 3), 90, np.uint8)
    early, late = [*pictures * 40, *[flat] * 780], [*[flat] * 780, *pictures * 40]
    assert codebook(early, 64, 0).any()
    assert codebook(late, 64, 0).any()
    assert codebook(pictures[:1], 100, 0).shape == (100, 128)  # 50 patches
    with pytest.raises(NotEnoughData, match="no picture"):
        codebook([], 16, 0)


def described(name: str, book: Floats) -> Callable[[Pixels], Floats]:
    return partial(bag_of_words, codebook=book) if DESCRIPTORS[name].words else DESCRIPTORS[name].function


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor(name: str, squares: dict[int, list[Pixels]], book: Floats) -> None:
    size, function = DESCRIPTORS[name].size, described(name, book)
    pictures = [*squares[size], *(np.full((size, size, 3), level, np.uint8) for level in (0, 127, 255))]
    pictures.append(np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8))
    before = [picture.copy() for picture in pictures]
    alone = [function(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(function, pictures * 5))
    for i, vector in enumerate(together):
        np.testing.assert_array_equal(vector, alone[i % len(alone)])
    for picture, vector, copy in zip(pictures, alone, before, strict=True):
        assert vector.dtype == np.float32
        assert vector.shape == alone[0].shape
        assert np.isfinite(vector).all()
        np.testing.assert_array_equal(picture, copy)
        np.testing.assert_array_equal(function(np.asfortranarray(picture)), vector)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_photo_is_most_like_itself_without_its_margin(name: str, clothing: Path, book: Floats) -> None:
    size, function = DESCRIPTORS[name].size, described(name, book)
    paths = [sorted(folder.iterdir())[0] for folder in sorted((clothing / "train").iterdir())]
    whole = [decode(path).pixels for path in paths]
    inner = [p[len(p) // 50 : -len(p) // 50, p.shape[1] // 50 : -p.shape[1] // 50] for p in whole]
    a, b = (np.stack([function(fit(p, Preprocess(size=size))) for p in group]) for group in (whole, inner))
    nearest_one = ((a[:, None] - b) ** 2).sum(2).argmin(1)
    assert (nearest_one == np.arange(len(paths))).mean() >= 0.9
