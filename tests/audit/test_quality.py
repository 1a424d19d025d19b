"""Measures against SciPy and scikit-image; findings against what was planted among real photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import shannon_entropy
from sklearn.datasets import load_digits

from visum.audit import quality
from visum.errors import UnreadableImage
from visum.types import Finding, Manifest, Pixels, column, manifest

NAMES = quality.MEASURES


def table_of(labels: list[tuple[int, ...]], k: int = 2, **columns: object) -> Manifest:
    made = manifest(
        "/data", "multiclass", [f"class{i}" for i in range(k)], [f"{i}.jpg" for i in range(len(labels))], labels
    )
    return replace(made, **columns)  # type: ignore[arg-type]


def kinds(found: list[Finding]) -> dict[str, Finding]:
    assert len({f.kind for f in found}) == len(found)
    return {f.kind: f for f in found}


def rows_of(finding: Finding) -> set[int]:
    return {int(name.removesuffix(".jpg")) for name in finding.ids}


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_measures_agree_with_references(photos: dict[str, NDArray[np.uint8]], name: str) -> None:
    picture = np.ascontiguousarray(photos[name][:224, :200])
    got = dict(zip(NAMES, quality.measure(picture).tolist(), strict=True))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    soft = np.rint(ndimage.uniform_filter(grey.astype(np.float64), 3, mode="mirror"))
    laplacians = [ndimage.laplace(image.astype(np.float64), mode="mirror").var() for image in (grey, soft)]
    expected = {
        "brightness": grey.mean() / 255,
        "contrast": grey.std() / 255,
        "shadow": np.quantile(grey, 0.01, method="inverted_cdf") / 255,
        "highlight": np.quantile(grey, 0.99, method="inverted_cdf") / 255,
        "entropy": shannon_entropy(grey),
        "saturation": np.ptp(picture.astype(int), axis=2).mean() / 255,
        "sharpness": laplacians[0] / (laplacians[1] + 1),
    }
    assert got == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_measures_stay_in_range_on_the_smallest_and_flattest_pictures() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for picture in (np.zeros((1, 1, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8), noise):
        got = quality.measure(picture)
        assert got.dtype == np.float32
        assert np.isfinite(got).all()
        assert (got >= 0).all()
        assert (
            got[[NAMES.index(n) for n in ("brightness", "contrast", "shadow", "highlight", "saturation")]] <= 1
        ).all()


def test_sharpness_ignores_contrast_and_hardly_knows_size(garments) -> None:
    at = NAMES.index("sharpness")
    pictures = garments.pictures[::10]
    whole = np.array([quality.measure(p)[at] for p in pictures])
    dim = np.array([quality.measure((p * 0.6).astype(np.uint8))[at] for p in pictures])
    half = np.array(
        [quality.measure(cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))[at] for p in pictures]
    )
    blurred = np.array([quality.measure(cv2.GaussianBlur(p, (0, 0), 2))[at] for p in pictures])
    assert np.median(dim / whole) == pytest.approx(1, abs=0.1)
    assert np.median(half / whole) < 1.6
    assert np.median(blurred / whole) < 0.2


@pytest.fixture(scope="session")
def clean(garments) -> NDArray[np.float32]:
    return np.array([quality.measure(p) for p in garments.pictures])


def test_ordinary_garment_photos_are_hardly_flagged(garments, clean) -> None:
    table = table_of([(int(y),) for y in garments.labels], len(garments.classes))
    flagged = {name for finding in quality.pixels(table, clean) for name in finding.ids}
    assert len(flagged) <= 0.03 * len(table)


NOISE = np.random.default_rng(0).normal(128, 3, (224, 224, 3)).astype(np.uint8)
FAULTS: dict[str, tuple[Callable[[Pixels], Pixels], float]] = {
    "blurred": (lambda p: cv2.GaussianBlur(p, (0, 0), 2), 0.95),
    "dark": (lambda p: (p * 0.22).astype(np.uint8), 0.9),
    "bright": (lambda p: (205 + p * 0.19).astype(np.uint8), 0.9),
    "blank": (lambda p: NOISE[: len(p), : p.shape[1]], 1.0),
    "colour_mix": (lambda p: cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), 1.0),
}


@pytest.mark.parametrize("kind", list(FAULTS))
def test_planted_faults_are_found_and_nothing_else(garments, clean, kind: str) -> None:
    damage, recall = FAULTS[kind]
    measures, planted = clean.copy(), set(range(0, len(clean), 25))
    for row in planted:
        measures[row] = quality.measure(damage(garments.pictures[row]))
    table = table_of([(int(y),) for y in garments.labels], len(garments.classes))
    found = rows_of(kinds(quality.pixels(table, measures))[kind])
    assert len(found & planted) >= recall * len(planted)
    assert len(found - planted) <= 0.01 * len(clean)


def test_sets_that_are_dark_or_tiny_throughout_raise_no_alarm(garments) -> None:
    dark = np.array([quality.measure((p * 0.15).astype(np.uint8)) for p in garments.pictures[::4]])
    digits = np.array(
        [quality.measure(np.repeat((d * 15.9375).astype(np.uint8)[..., None], 3, 2)) for d in load_digits().images]
    )
    for measures in (dark, digits):
        table = table_of([(0,)] * len(measures))
        side = np.full(len(table), 8, np.int32)
        found = [*quality.pixels(table, measures), *quality.sizes(replace(table, widths=side, heights=side))]
        assert sum(len(finding.ids) for finding in found) <= 0.03 * len(measures)


def test_unreadable_files_are_counted_by_reason() -> None:
    errors = [UnreadableImage("truncated JPEG: 31 of 400 rows", path="a.jpg")]
    errors += [
        UnreadableImage("truncated JPEG: 2 of 9 rows", path="b.jpg"),
        UnreadableImage("empty file", path="c.jpg"),
    ]
    (found,) = quality.unreadable_files(errors, 997)
    assert found.severity == "warning"
    assert found.ids == ("a.jpg", "b.jpg", "c.jpg")
    assert "truncated JPEG (2), empty file (1)" in found.message
    assert found.numbers == {"files": 3.0, "share": 0.003}
    assert quality.unreadable_files(errors, 10)[0].severity == "serious"
    assert quality.unreadable_files([], 10) == []


def test_imbalance_and_small_classes_are_named() -> None:
    table = table_of([(0,)] * 300 + [(1,)] * 100 + [(2,)] * 5 + [()] * 2, 4)
    found = kinds(quality.classes(table))
    assert found["class_imbalance"].numbers["ratio"] == 60
    share = np.array([300, 100, 5]) / 405
    assert found["class_imbalance"].numbers["effective_classes"] == pytest.approx(
        np.exp(-(share * np.log(share)).sum())
    )
    assert found["class_imbalance"].severity == "warning"
    assert "“class2” (5), “class3” (0)" in found["few_images"].message
    assert rows_of(found["few_images"]) == set(range(400, 405))
    assert rows_of(found["unlabelled"]) == {405, 406}
    assert not quality.classes(table_of([(0,)] * 50 + [(1,)] * 50))


def test_a_class_without_training_images_is_serious() -> None:
    table = table_of([(0,)] * 50 + [(1,)] * 50, splits=column(["train"] * 50 + ["test"] * 50))
    found = kinds(quality.classes(table))["class_without_training_images"]
    assert found.severity == "serious"
    assert rows_of(found) == set(range(50, 100))


def test_multilabel_counts_every_label() -> None:
    table = replace(table_of([(0, 1)] * 30 + [(0,)] * 60 + [()] * 5), task="multilabel")
    found = kinds(quality.classes(table))
    assert set(found) == {"class_imbalance"}
    assert found["class_imbalance"].numbers["ratio"] == 3


def test_sizes_unlike_the_rest_are_found() -> None:
    sizes = [(400 + i % 7, 533) for i in range(200)] + [(20, 16), (3000, 2900), (900, 90), (0, 0)]
    width, height = np.array(sizes, np.int32).T
    found = kinds(quality.sizes(table_of([(0,)] * len(sizes), widths=width, heights=height)))
    assert {kind: rows_of(f) for kind, f in found.items()} == {
        "tiny": {200},
        "odd_size": {201},
        "extreme_aspect_ratio": {202},
    }


def test_findings_in_one_call_and_shapes_checked(garments, clean) -> None:
    table = table_of([(int(y),) for y in garments.labels], len(garments.classes))
    assert {f.kind for f in quality.findings(table, clean, [UnreadableImage("empty", path="x")])} >= {"unreadable"}
    with pytest.raises(ValueError, match="measures are"):
        quality.findings(table, clean[:5])
    empty = table_of([])
    assert all(not f.ids for f in quality.findings(empty, np.zeros((0, len(NAMES)), np.float32)))
