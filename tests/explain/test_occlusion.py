"""Occlusion: where hiding hurts is where the answer comes from, for models whose reason is known."""

from __future__ import annotations

import numpy as np
import pytest

from visum.explain.occlusion import heat, hidden, log_odds
from visum.types import Floats, Task


@pytest.mark.parametrize(("side", "grid"), [(224, 7), (64, 7), (5, 5), (10, 1)])
def test_cells_cover_the_picture_once(side: int, grid: int) -> None:
    square = np.full((side, side, 3), 9, np.uint8)
    covered = np.zeros((side, side), int)
    for cell in range(grid * grid):
        out = hidden(square, cell, grid, (1, 2, 3))
        changed = (out != 9).any(axis=2)
        assert (out[changed] == (1, 2, 3)).all()
        covered += changed
    assert (covered == 1).all()
    assert (square == 9).all()


def test_the_map_points_at_the_only_thing_that_counts() -> None:
    draw = np.random.default_rng(0)
    square = draw.integers(0, 256, (70, 70, 3), np.uint8)
    square[20:30, 50:60] = 255  # row 2, column 5 of a 7 x 7 grid

    def logits(picture: np.ndarray) -> Floats:
        white = picture[20:30, 50:60].mean() / 255
        return np.array([8 * white, 1.0, 0.5], np.float32)

    plain = logits(square)
    occluded = np.stack([logits(hidden(square, cell, 7, (127, 127, 127))) for cell in range(49)])
    found = heat(plain, occluded, 0, "multiclass")
    assert found.shape == (7, 7)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 5)
    assert found[2, 5] == 1
    assert np.count_nonzero(found) == 1
    assert not heat(plain, occluded, 1, "multiclass").any()  # hiding the thing helps the other classes


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_log_odds_are_those_of_the_probability(task: Task) -> None:
    z = np.random.default_rng(1).normal(0, 4, (20, 2 if task == "binary" else 5)).astype(np.float32)
    e = np.exp(z.astype(np.float64))
    p = e / (1 + e) if task == "multilabel" else e / e.sum(1, keepdims=True)
    for k in range(z.shape[1]):
        np.testing.assert_allclose(log_odds(z, k, task), np.log(p[:, k] / (1 - p[:, k])), rtol=1e-9, atol=1e-9)


def test_a_very_sure_answer_still_has_a_map() -> None:
    plain = np.array([200.0, 0.0], np.float32)  # the probability is 1 to the last bit, before and after
    occluded = np.array([[200.0, 0.0], [150.0, 0.0], [200.0, 0.0], [175.0, 0.0]], np.float32)
    np.testing.assert_allclose(heat(plain, occluded, 0, "binary"), [[0, 1], [0, 0.5]])
