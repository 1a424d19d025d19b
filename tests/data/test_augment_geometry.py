"""Crops, mirrors and warps against torchvision, NumPy and scikit-image, on real photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torchvision.transforms.v2 import functional as reference

from visum.data.augment import draws, geometry
from visum.data.pixels import fit
from visum.types import Pixels, Preprocess

PHOTO: Pixels = fit(np.asarray(data.chelsea())[:, 80:380], Preprocess(size=96))
RED = (255, 0, 0)


def theirs(function: str, *args: object, **kwargs: object) -> Pixels:
    """torchvision's answer for the photo."""
    found = getattr(reference, function)(torch.from_numpy(PHOTO).permute(2, 0, 1), *args, **kwargs)
    return np.asarray(found.permute(1, 2, 0).numpy(), np.uint8)


def off(a: Pixels, b: Pixels, edge: int = 0) -> NDArray[np.int64]:
    """Differences away from the edges of the picture."""
    inside = slice(edge, len(a) - edge)
    return np.abs(a[inside, inside].astype(int) - b[inside, inside])


def close(a: Pixels, b: Pixels) -> None:
    """Equal but for rounding, and for the fringe of what a warp uncovers."""
    different = off(a, b).max(2)
    assert np.quantile(different, 0.93) <= 3
    assert different.mean() < 2.5


def test_flips_are_numpys_and_twice_is_nothing() -> None:
    draw = draws(0, 0, "")
    np.testing.assert_array_equal(geometry.flip(PHOTO, draw), PHOTO[:, ::-1])
    np.testing.assert_array_equal(geometry.vertical_flip(PHOTO, draw), PHOTO[::-1])
    np.testing.assert_array_equal(geometry.flip(geometry.flip(PHOTO, draw), draw), PHOTO)


@pytest.mark.parametrize("box", [(0, 0, 96, 96), (10, 3, 60, 80), (40, 41, 55, 50), (95, 95, 1, 1)])
def test_a_crop_is_torchvisions(box: tuple[int, int, int, int]) -> None:
    wanted = theirs("resized_crop", *box, [96, 96], antialias=True)
    assert off(geometry.crop(PHOTO, *box), wanted).max() <= 1


@pytest.mark.parametrize("degrees", [10.0, -37.5, 90.0, 180.0])
def test_a_rotation_is_torchvisions(degrees: float) -> None:
    wanted = theirs("rotate", degrees, reference.InterpolationMode.BILINEAR, fill=list(RED))
    close(geometry.rotate(PHOTO, degrees, RED), wanted)


def test_quarter_turns_are_numpys() -> None:
    assert off(geometry.rotate(PHOTO, 90.0), np.rot90(PHOTO)).max() <= 1
    assert off(geometry.rotate(PHOTO, -180.0), PHOTO[::-1, ::-1]).max() <= 1


def test_no_turn_is_no_change() -> None:
    assert geometry.rotate(PHOTO, 0.0) is PHOTO
    for name, settings in {
        "rotation": {"degrees": 0},
        "affine": {"degrees": 0, "translate": 0, "scale": (1, 1), "shear": 0},
        "elastic": {"strength": 0},
        "random_resized_crop": {"area": (1, 1), "aspect": (1, 1)},
    }.items():
        np.testing.assert_array_equal(getattr(geometry, name)(PHOTO, draws(0, 0, ""), **settings), PHOTO)


@pytest.mark.parametrize(
    ("degrees", "scale", "shear", "shift"),
    [(0, 1, (20, 0), (0, 0)), (0, 1, (0, -15), (0, 0)), (25, 0.8, (10, 0), (0.125, -0.25)), (-70, 1.3, (-8, 12), (0, 0.125))],
)  # fmt: skip
def test_an_affine_warp_is_torchvisions(
    degrees: float, scale: float, shear: tuple[float, float], shift: tuple[float, float]
) -> None:
    move = [round(96 * each) for each in shift]
    mode = reference.InterpolationMode.BILINEAR
    wanted = theirs("affine", -degrees, move, scale, list(shear), mode, fill=list(RED))  # its angles are clockwise
    close(geometry.warp(PHOTO, geometry.linear(degrees, scale=scale, shear=shear), shift, background=RED), wanted)


def test_what_is_uncovered_is_the_background_or_the_edge() -> None:
    moved = geometry.warp(PHOTO, np.eye(2), (0.25, 0), background=RED)
    np.testing.assert_array_equal(moved[:, :24], np.full((96, 24, 3), RED, np.uint8))
    np.testing.assert_array_equal(moved[:, 24:], PHOTO[:, :-24])
    edge = geometry.warp(PHOTO, np.eye(2), (0.25, 0))
    np.testing.assert_array_equal(edge[:, :24], np.repeat(PHOTO[:, :1], 24, 1))


def test_displacements_are_torchvisions() -> None:
    field = np.random.default_rng(3).normal(0, 3, (96, 96, 2)).astype(np.float32)
    shares = torch.from_numpy(field[None] * 2 / 96)  # its field is in halves of the side
    wanted = theirs("elastic", shares, reference.InterpolationMode.BILINEAR, fill=list(RED))
    close(geometry.displace(PHOTO, field, RED), wanted)


def test_an_elastic_field_is_smooth_and_as_strong_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.float32]] = []
    monkeypatch.setattr(geometry, "displace", lambda x, field, background: seen.append(field) or x)
    for side in (64, 224):
        geometry.elastic(np.zeros((side, side, 3), np.uint8), draws(1, 1, "a"), strength=0.03, smoothness=0.1)
        field = seen.pop()
        assert field.shape == (side, side, 2)
        assert math.sqrt(float((field**2).mean())) == pytest.approx(0.03 * side, rel=1e-3)
        # white noise smoothed by sigma has slopes of 1 / (sqrt(2) sigma) times its deviation
        slope = math.sqrt(float((np.diff(field, axis=0) ** 2).mean() / (field**2).mean()))
        assert slope == pytest.approx(1 / (math.sqrt(2) * 0.1 * side), rel=0.3)


def test_crops_keep_to_their_ranges_and_fill_them() -> None:
    area, aspect, side = (0.2, 0.9), (0.6, 1.5), 224
    draw = draws(4, 2, "crops")
    boxes = [geometry.draw_box(draw, side, side, area, aspect) for _ in range(500)]
    found = np.array([box for box in boxes if box])
    top, left, height, width = found.T
    assert len(found) > 495  # of ten draws one fits, but for the largest and longest
    assert (found[:, :2] >= 0).all()
    assert (top + height <= side).all()
    assert (left + width <= side).all()
    share, ratio = height * width / side**2, width / height
    assert share.min() >= area[0] - 0.01
    assert share.max() <= area[1] + 0.01
    assert ratio.min() >= aspect[0] - 0.02
    assert ratio.max() <= aspect[1] + 0.02
    assert share.min() < 0.23
    assert share.max() > 0.85
    assert ratio.min() < 0.63
    assert ratio.max() > 1.43


def test_crops_are_distributed_as_torchvisions() -> None:
    from scipy.stats import ks_2samp
    from torchvision.transforms.v2 import RandomResizedCrop

    torch.manual_seed(0)
    theirs_ = RandomResizedCrop(224, scale=(0.3, 1.0), ratio=(0.75, 4 / 3))
    image, draw = torch.zeros(3, 224, 224), draws(0, 0, "crops")
    wanted = np.array([list(theirs_.make_params([image]).values()) for _ in range(300)])
    found = np.array(
        [geometry.draw_box(draw, 224, 224, (0.3, 1.0), (0.75, 4 / 3)) or (0, 0, 224, 224) for _ in range(300)]
    )
    for column in range(4):
        assert ks_2samp(found[:, column], wanted[:, column]).pvalue > 0.001
    assert ks_2samp(found[:, 2] * found[:, 3], wanted[:, 2] * wanted[:, 3]).pvalue > 0.001


def test_a_crop_that_cannot_be_drawn_is_the_largest_in_the_middle() -> None:
    wide = geometry.random_resized_crop(PHOTO, draws(0, 0, ""), area=(1, 1), aspect=(2, 2))
    np.testing.assert_array_equal(wide, geometry.crop(PHOTO, 24, 0, 48, 96))
    tall = geometry.random_resized_crop(PHOTO, draws(0, 0, ""), area=(1, 1), aspect=(0.5, 0.5))
    np.testing.assert_array_equal(tall, geometry.crop(PHOTO, 0, 24, 96, 48))


def test_draws_stay_within_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(geometry, "rotate", lambda x, degrees, background: seen.append(degrees) or x)
    for number in range(300):
        geometry.rotation(PHOTO, draws(0, number, "turn"), degrees=20)
    assert -20 <= min(seen) < -18
    assert 18 < max(seen) <= 20
    assert abs(np.mean(seen)) < 4 * 20 / math.sqrt(3 * 300)
