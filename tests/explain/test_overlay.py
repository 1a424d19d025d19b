"""A map over a picture: what is seen is the map, whatever its unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visum.errors import CorruptFile
from visum.types import Explanation, overlay
from visum.types.explanation import scaled


def test_scaling() -> None:
    heat = np.zeros((20, 20), np.float32)
    heat[0, 0], heat[5:10, 5:10], heat[15, 15] = 900, 2, -1
    share = scaled(heat)
    assert share[0, 0] == 1
    assert share[6, 6] == pytest.approx(1)  # one hot pixel of 400 does not hide the rest
    assert share[15, 15] == pytest.approx(-0.5)
    assert share[12, 0] == 0
    ramp = np.linspace(0.5, 1, 400, dtype=np.float32).reshape(20, 20)  # attention: no cell is at 0
    assert scaled(ramp).min() == 0
    assert scaled(ramp).max() == 1
    np.testing.assert_allclose(scaled(3 * heat), share, rtol=1e-6)
    assert not scaled(np.full((4, 4), 0.25, np.float32)).any()
    assert not scaled(np.zeros((4, 4), np.float32)).any()


def test_orange_for_blue_against() -> None:
    square = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[0], heat[7] = 1, -1
    over = overlay(square, heat).astype(int)
    assert over[0, 0, 0] > over[0, 0, 2] + 50
    assert over[7, 0, 2] > over[7, 0, 0] + 50
    assert np.ptp(over[4, 4]) == 0


def test_what_was_written_is_read_or_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    made = Explanation(
        "a/b.jpg",
        draw.random((9, 9)).astype(np.float32),
        draw.integers(0, 256, (9, 9, 3), np.uint8),
        "attention",
        "shirt",
        heads=draw.random((3, 3, 3)).astype(np.float32),
    )
    made.save(tmp_path, "one")
    again = Explanation.load(tmp_path, "one")
    assert again.heads is not None
    assert made.heads is not None
    for one, other in ((made.heat, again.heat), (made.square, again.square), (made.heads, again.heads)):
        np.testing.assert_array_equal(one, other)
    (tmp_path / "one.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:-40])
    with pytest.raises(CorruptFile):
        Explanation.load(tmp_path, "one")
