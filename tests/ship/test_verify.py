"""Replaying golden images: the model that was shipped passes, and what answers otherwise does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundled import encoded, golden, model, predict
from numpy.typing import NDArray

from visum.errors import BundleError
from visum.ship import bundle as bundles
from visum.ship.verify import verify
from visum.types import Bundle

Photos = dict[str, NDArray[np.uint8]]
Floats = NDArray[np.float32]


@pytest.fixture
def sealed(tmp_path: Path, photos: Photos) -> Path:
    bundle = model(photos)
    bundles.write(bundle, tmp_path / "bundle", golden(bundle, photos))
    return tmp_path / "bundle"


def told(*rows: Sequence[float]) -> Callable[[Bundle, Sequence[bytes]], Any]:
    return lambda bundle, images: np.array(rows, np.float32)


def one(folder: Path, photos: Photos, expected: Sequence[float], **changes: Any) -> Path:
    """A bundle with one golden image that is expected to get these probabilities."""
    image = ("chelsea.jpg", encoded(photos["chelsea"]), np.array(expected, np.float32))
    bundles.write(model(photos, **changes), folder, [image])
    return folder


def test_the_model_that_was_shipped_passes_to_the_last_bit(sealed: Path, photos: Photos) -> None:
    found = verify(sealed, predict, tolerance=1e-7)
    assert found.passed
    assert found.images == len(found.rows) == 3
    assert found.largest_difference == 0
    assert [row.expected for row in found.rows] == [row.got for row in found.rows]
    assert found.rows[0].expected == "astronaut"
    assert verify(sealed.parent, predict) == replace(found, tolerance=1e-3)


def test_the_images_are_those_that_were_given(sealed: Path, photos: Photos) -> None:
    seen: list[bytes] = []

    def look(bundle: Bundle, images: Sequence[bytes]) -> Floats:
        seen.extend(images)
        return predict(bundle, images)

    verify(sealed, look)
    assert seen == [data for _, data, _ in golden(model(photos), photos)]


def test_another_preprocessing_fails(sealed: Path) -> None:
    """What golden images are for: the channels change places, and every number is still finite and sums to 1."""

    def swapped(bundle: Bundle, images: Sequence[bytes]) -> Floats:
        turned = {**bundle.weights, "head.weight": bundle.weights["head.weight"][::-1]}
        return predict(replace(bundle, weights=turned), images)

    found = verify(sealed, swapped)
    assert not found.passed
    reference = np.abs(swapped(*_replay(sealed)) - predict(*_replay(sealed))).max()
    assert found.largest_difference == pytest.approx(reference, abs=1e-6)
    assert "answered differently" in found.message


def _replay(folder: Path) -> tuple[Bundle, list[bytes]]:
    bundle, images = bundles.read_golden(folder)
    return bundle, [data for _, data, _ in images]


@pytest.mark.parametrize(("difference", "passed"), [(0.0, True), (0.0009, True), (0.0011, False), (0.3, False)])
def test_the_tolerance_is_kept(tmp_path: Path, photos: Photos, difference: float, passed: bool) -> None:
    folder = one(tmp_path / "b", photos, [0.7, 0.2, 0.1])
    found = verify(folder, told([0.7 - difference, 0.2 + difference, 0.1]), tolerance=1e-3)
    assert found.passed is passed
    assert found.rows[0].passed is passed
    assert found.largest_difference == pytest.approx(difference, abs=1e-6)
    assert verify(folder, told([0.7 - difference, 0.2 + difference, 0.1]), tolerance=0.31).passed is (difference < 0.25)


def test_a_wrong_top_class_fails_whatever_the_tolerance(tmp_path: Path, photos: Photos) -> None:
    folder = one(tmp_path / "b", photos, [0.51, 0.49, 0.0])
    found = verify(folder, told([0.49, 0.51, 0.0]), tolerance=0.5)
    assert not found.passed
    assert "'astronaut' became 'chelsea'" in found.message
    assert "'chelsea.jpg'" in found.message


def test_one_wrong_answer_of_three_is_enough(sealed: Path) -> None:
    def second(bundle: Bundle, images: Sequence[bytes]) -> Floats:
        out = predict(bundle, images)
        out[1] = out[1][::-1]
        return out

    found = verify(sealed, second)
    assert [row.passed for row in found.rows] == [True, False, True]
    assert not found.passed
    assert "1 of 3" in found.message


def test_a_tie_may_fall_either_way(tmp_path: Path, photos: Photos) -> None:
    folder = one(tmp_path / "b", photos, [0.4502, 0.4498, 0.1])
    assert verify(folder, told([0.4498, 0.4502, 0.1])).passed


def test_several_labels_have_no_top_class(tmp_path: Path, photos: Photos) -> None:
    folder = one(tmp_path / "b", photos, [0.99, 0.98, 0.1], task="multilabel")
    assert verify(folder, told([0.98, 0.99, 0.1]), tolerance=0.02).passed
    assert not verify(folder, told([0.98, 0.99, 0.2]), tolerance=0.02).passed


@pytest.mark.parametrize("row", [[np.nan, 0.3, 0.1], [0.6, np.inf, 0.1]])
def test_answers_that_are_no_numbers_fail(tmp_path: Path, photos: Photos, row: list[float]) -> None:
    found = verify(one(tmp_path / "b", photos, [0.6, 0.3, 0.1]), told(row), tolerance=1.0)
    assert not found.passed
    assert found.largest_difference == np.inf
    assert found.rows[0].got == ""
    assert "no probability" in found.message


@pytest.mark.parametrize("rows", [[[0.6, 0.4]], [[0.6, 0.3, 0.1]] * 2, [0.6, 0.3, 0.1], []])
def test_answers_of_another_shape_fail_with_both_shapes(tmp_path: Path, photos: Photos, rows: Any) -> None:
    found = verify(one(tmp_path / "b", photos, [0.6, 0.3, 0.1]), told(*rows))
    assert not found.passed
    assert "wanted [1, 3]" in found.message
    assert str(list(np.shape(rows))) in found.message


def test_a_bundle_without_golden_images_does_not_pass(tmp_path: Path, photos: Photos) -> None:
    bundles.write(model(photos), tmp_path / "b", [])
    found = verify(tmp_path / "b", predict)
    assert not found.passed
    assert found.images == 0
    assert "proves nothing" in found.message


def test_an_edited_bundle_is_not_replayed(sealed: Path, tmp_path: Path) -> None:
    edited = Path(shutil.copytree(sealed, tmp_path / "copy"))
    (edited / "golden" / "000.jpg").write_bytes((edited / "golden" / "001.jpg").read_bytes())

    def never(bundle: Bundle, images: Sequence[bytes]) -> Floats:
        raise AssertionError("replayed")

    with pytest.raises(BundleError, match=r"golden/000\.jpg"):
        verify(edited, never)
