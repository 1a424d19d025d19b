"""Shortcuts planted on real photos are found; plain photos and digits raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from visum.audit import bias
from visum.types import Finding, Manifest, Pixels, Score, manifest


def score_of(right: np.ndarray) -> Score:
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return Score("accuracy", float(right.mean()), float(low), float(high), len(right), "wilson")


def held_out(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> Score:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300, tol=1e-3))
    return score_of(model.fit(x[train], y[train]).predict(x[~train]) == y[~train])


def audit(pictures: list[Pixels], y: np.ndarray, train: np.ndarray) -> list[Finding]:
    thumbnails = [cv2.resize(p, (9, 9), interpolation=cv2.INTER_AREA).ravel() for p in pictures]
    border, colour = (np.array([f(p) for p in pictures]) for f in (bias.border, bias.colour))
    majority = score_of(y[~train] == np.bincount(y[train]).argmax())
    real = held_out(np.array(thumbnails, np.float32), y, train)
    return bias.findings(table_of(pictures), held_out(border, y, train), held_out(colour, y, train), real, majority)


def table_of(pictures: list[Pixels]) -> Manifest:
    n = len(pictures)
    height, width = np.array([p.shape[:2] for p in pictures], np.int32).T
    made = manifest("/data", "multiclass", ["a", "b"], [f"{i}.png" for i in range(n)], [(0,)] * n)
    return replace(made, widths=width, heights=height)


def framed(picture: Pixels, colour: np.ndarray) -> Pixels:
    out, edge = picture.copy(), round(0.05 * min(picture.shape[:2]))
    out[:edge] = out[-edge:] = colour
    out[:, :edge] = out[:, -edge:] = colour
    return out


def test_plain_garment_photos_raise_no_alarm(garments) -> None:
    assert audit(garments.pictures, garments.labels, garments.train) == []


def test_a_frame_coloured_by_class_is_found(garments) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (len(garments.classes), 3))
    pictures = [
        framed(p, np.clip(colours[y] + rng.normal(0, 10, 3), 0, 255).astype(np.uint8))
        for p, y in zip(garments.pictures, garments.labels, strict=True)
    ]
    found = {f.kind: f for f in audit(pictures, garments.labels, garments.train)}
    assert found["border_shortcut"].severity == "serious"
    assert found["border_shortcut"].numbers["share"] > 0.9


def test_a_light_of_each_class_is_found_by_its_colour(garments) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (len(garments.classes), 3))
    pictures = [
        (p * 0.6 + colours[y] * 0.4).astype(np.uint8) for p, y in zip(garments.pictures, garments.labels, strict=True)
    ]
    found = {f.kind: f for f in audit(pictures, garments.labels, garments.train)}
    assert found["colour_shortcut"].severity == "warning"


def test_small_digits_raise_no_alarm() -> None:
    source = load_digits()
    pictures = [np.repeat((d * 15.9375).astype(np.uint8)[..., None], 3, 2) for d in source.images]
    train = np.arange(len(pictures)) % 3 > 0
    assert audit(pictures, source.target, train) == []


def test_the_border_of_tiny_pictures_is_passed_over() -> None:
    sure, chance = Score("accuracy", 0.9, 0.88, 0.92, 1000, ""), Score("accuracy", 0.1, 0.08, 0.12, 1000, "")
    for side, expected in ((8, ["colour_shortcut"]), (28, ["border_shortcut", "colour_shortcut"])):
        table = table_of([np.zeros((side, side, 3), np.uint8)] * 3)
        assert [f.kind for f in bias.findings(table, sure, sure, sure, chance)] == expected


@pytest.mark.parametrize(
    ("shortcut", "real", "alarm"),
    [
        ((0.90, 0.88, 0.92), (0.92, 0.90, 0.94), "serious"),
        ((0.70, 0.67, 0.73), (0.92, 0.90, 0.94), "warning"),
        ((0.50, 0.47, 0.53), (0.92, 0.90, 0.94), None),
        ((0.38, 0.20, 0.56), (0.40, 0.30, 0.50), None),  # above the majority, but not beyond chance
        ((0.28, 0.27, 0.29), (0.29, 0.28, 0.30), None),  # certain, but worth little
        ((0.60, 0.57, 0.63), (0.20, 0.18, 0.22), "serious"),  # the real model has learnt less than the frame tells
    ],
)
def test_the_alarm_needs_certainty_gain_and_share(shortcut, real, alarm: str | None) -> None:
    majority = Score("accuracy", 0.2, 0.18, 0.25, 1000, "wilson")
    nothing = replace(majority, name="accuracy")
    scores = (Score("accuracy", *shortcut, 1000, "wilson"), nothing, Score("accuracy", *real, 1000, "wilson"), majority)
    found = bias.findings(table_of([np.zeros((64, 64, 3), np.uint8)]), *scores)
    assert [f.severity for f in found] == ([alarm] if alarm else [])


def law(features: Callable[[Pixels], np.ndarray], a: Pixels, b: Pixels) -> bool:
    return bool(np.array_equal(features(a), features(b)))


def test_border_sees_the_frame_alone_and_colour_everything(photos) -> None:
    picture = np.ascontiguousarray(photos["coffee"][:200, :150])
    edge = round(bias.FRAME * 150)
    inside = picture.copy()
    inside[edge:-edge, edge:-edge] = 255 - inside[edge:-edge, edge:-edge]
    corner = picture.copy()
    corner[0, 0] = 255 - corner[0, 0]
    assert law(bias.border, picture, inside)
    assert not law(bias.border, picture, corner)
    assert not law(bias.colour, picture, inside)


def test_features_agree_with_numpy(photos) -> None:
    picture = np.ascontiguousarray(photos["astronaut"][:180, :224])
    expected = np.concatenate([picture.mean((0, 1)), picture.std((0, 1))]) / 255
    np.testing.assert_allclose(bias.colour(picture), expected, atol=1e-5)
    edge = round(bias.FRAME * 180)
    got = bias.border(picture)
    np.testing.assert_allclose(got[18:21], picture[:, -edge:].mean((0, 1)) / 255, atol=1e-5)
    np.testing.assert_allclose(got[33:36], picture[-edge:, -edge:].mean((0, 1)) / 255, atol=1e-5)
    assert got[36:].sum() == pytest.approx(1, abs=1e-5)
    frame = np.concatenate(
        [s.reshape(-1, 3) for s in (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:])]
    )
    np.testing.assert_allclose(
        got[36:], np.histogramdd(frame, [[0, 64, 128, 192, 256]] * 3)[0].ravel() / len(frame), atol=1e-6
    )
    assert bias.border(np.zeros((1, 1, 3), np.uint8)).shape == (bias.BORDER_FEATURES,)
    assert bias.colour(picture).shape == (bias.COLOUR_FEATURES,)
