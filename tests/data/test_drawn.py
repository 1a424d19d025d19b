"""Fitted and freshly augmented pictures by row."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from visum.data import load, sources
from visum.data.drawn import drawn, sides, squares
from visum.data.pixels import fit
from visum.types import Manifest, Preprocess

SPEC = Preprocess(size=32)


@pytest.fixture(scope="module")
def table(digits: Path) -> Manifest:
    found, bad = load.index(sources.read(digits).manifest, SPEC)
    assert not bad
    return found


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_rows_are_what_the_file_gives_whether_held_or_not(table: Manifest, most: int) -> None:
    some = np.array([5, 0, 299, 5])
    expected = np.stack([fit(picture, SPEC) for picture in load.pictures(table, SPEC)])[some]
    np.testing.assert_array_equal(squares(table, SPEC, most=most)(some), expected)


def test_a_row_depends_on_epoch_seed_and_file_alone(table: Manifest) -> None:
    read = squares(table, SPEC)
    pictures = drawn(table, SPEC, "medium", 7, read)
    alone, among = pictures(3, np.array([11])), pictures(3, np.array([4, 11, 80]))
    np.testing.assert_array_equal(alone[0], among[1])
    assert not np.array_equal(pictures(4, np.array([11])), alone)
    assert not np.array_equal(drawn(table, SPEC, "medium", 8, read)(3, np.array([11])), alone)


def test_none_is_the_picture_itself(table: Manifest) -> None:
    read, some = squares(table, SPEC), np.arange(20)
    np.testing.assert_array_equal(drawn(table, SPEC, "none", 0, read)(1, some), read(some))


def test_pictures_grow_to_the_working_size() -> None:
    assert sides(64, None, 3) == (64, 64, 64)
    assert sides(64, 32, 6) == (32, 40, 48, 56, 64, 64)
    assert sides(32, 16, 1) == (32,)
    for size, start, epochs in ((224, 128, 10), (28, 16, 7), (300, 17, 20)):
        grown = sides(size, start, epochs)
        assert list(grown) == sorted(grown)
        assert grown[0] == start
        full = math.ceil(epochs / 3)
        assert grown[-full:] == (size,) * full
