"""Inner and outer half: where a picture lies in its square, and what is left of it."""

from __future__ import annotations

import numpy as np
import pytest

from visum.data.pixels import fit
from visum.judge import background
from visum.judge.representation import representation
from visum.types import Preprocess, column


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (31, 97), (20, 10)])
def test_content_is_where_fit_puts_the_picture(shape: tuple[int, int], photos: dict[str, np.ndarray]) -> None:
    photo = photos["coffee"][: shape[0], : shape[1]]
    spec = Preprocess(size=64, background=(1, 2, 3))
    square = fit(np.maximum(photo, 10), spec)
    top, bottom, left, right = background.content(shape[1], shape[0], 64, "pad")
    inside = np.zeros((64, 64), bool)
    inside[top:bottom, left:right] = True
    padded = (square == (1, 2, 3)).all(2)
    assert (padded == ~inside).all()


def test_halves_part_a_picture_into_two_of_the_same_area(photos: dict[str, np.ndarray]) -> None:
    spec = Preprocess(size=96, background=(0, 0, 0))
    photo = np.maximum(photos["chelsea"], 1)  # no pixel of it looks like padding
    square = fit(photo, spec)
    box = background.content(photo.shape[1], photo.shape[0], 96, "pad")
    outer, inner = background.halves(square, box, (0, 0, 0))
    shown = [(half > 0).any(2) for half in (outer, inner)]
    assert not (shown[0] & shown[1]).any()
    assert (np.where(shown[0][..., None], outer, inner) == square).all()
    assert shown[1].sum() / shown[0].sum() == pytest.approx(1, abs=0.08)


def test_the_block_counts() -> None:
    whole, outer, inner = (np.arange(100) < k for k in (90, 30, 70))
    block = background.background_block(whole, outer, inner, 0.2)
    assert (block["whole"]["value"], block["outer"]["value"], block["inner"]["value"]) == (0.9, 0.3, 0.7)
    assert block["difference"]["value"] == pytest.approx(0.4)
    assert block["difference"]["low"] > 0
    assert block["kept"] == pytest.approx(0.1 / 0.7)
    assert background.background_block(inner, outer, inner, 0.7)["kept"] is None


def test_kinds_that_are_rarer_in_training_are_named() -> None:
    train = {"size": column(["small"] * 20 + ["large"] * 380), "format": column(["JPEG"] * 200 + ["PNG"] * 200)}
    here = {"size": column(["small"] * 60 + ["large"] * 140), "format": column(["JPEG"] * 110 + ["PNG"] * 90)}
    block = representation(train, here)
    assert [row["name"] for row in block["rows"] if row["rare"]] == ["small"]
    assert (block["train"], block["n"], block["rare"]) == (400, 200, 1)
    assert representation({"size": train["size"]}, {"size": column(["large"] * 200)})["rare"] == 0


def test_equal_shares_are_seldom_called_rare() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(80):
        train, here = (column(rng.choice(list("abcd"), n).tolist()) for n in (600, 150))
        alarms += representation({"by": train}, {"by": here})["rare"] > 0
    assert alarms <= 10
