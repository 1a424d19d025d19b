"""The mean corruption error by hand, its limits, and intervals that hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from visum.errors import NotEnoughData
from visum.judge import corruption

FAMILIES = {"noise": ("shot", "grain"), "weather": ("fog",), "held out": ("dust",)}


def block(n: int = 40, **more: object) -> dict:  # type: ignore[type-arg]
    """Of images of which the first tenth is wrong as they are, and ever more with fog; dust is held out."""
    wrong = {share: (np.arange(n) < round(share * n)).astype(float) for share in (0.1, 0.2, 0.3, 0.5, 0.9)}
    errors = {
        "shot": np.stack([wrong[0.1], wrong[0.2]]),
        "fog": np.stack([wrong[0.3], wrong[0.5]]),
        "dust": np.stack([wrong[0.9], wrong[0.9]]),
    }
    return corruption.block(errors, wrong[0.1], (1, 3), FAMILIES, held_out=("dust",), **more)  # type: ignore[arg-type]


def test_by_hand() -> None:
    """Kind a: (20 + 40) of (40 + 60) % is 0.6; kind b: (50 + 50) of (50 + 30) % is 1.25; less 10 and 20 %: 40 of 60, 80 of 40."""
    error = {"a": np.array([0.2, 0.4]), "b": np.array([0.5, 0.5])}
    base = {"a": np.array([0.4, 0.6]), "b": np.array([0.5, 0.3])}
    assert corruption.mean_corruption_error(error, base) == pytest.approx((0.6 + 1.25) / 2)
    found = corruption.relative_mean_corruption_error(error, 0.1, base, 0.2)
    assert found == pytest.approx((0.4 / 0.6 + 0.8 / 0.4) / 2)
    assert corruption.mean_corruption_error(base, base) == 1
    assert np.isnan(corruption.mean_corruption_error(error, {**base, "b": np.zeros(2)}))


def test_the_block_tells_what_is_there() -> None:
    told = block()
    assert json.loads(json.dumps(told)) == told
    assert [row["kind"] for row in told["kinds"]] == ["dust", "fog", "shot"]
    assert told["worst"] == ["fog", "shot"]  # dust is held out
    fog = told["kinds"][1]
    assert (fog["family"], fog["held_out"]) == ("weather", False)
    assert [(point["severity"], point["accuracy"]["value"]) for point in fog["curve"]] == [(0, 0.9), (1, 0.7), (3, 0.5)]
    assert fog["drop"] == pytest.approx(0.3)
    assert told["accuracy"]["value"] == pytest.approx(1 - (0.1 + 0.2 + 0.3 + 0.5) / 4)
    assert told["kept"]["value"] == pytest.approx((1 - 0.275) / 0.9)
    assert all(
        part["low"] <= part["value"] <= part["high"] and part["n"] == 40
        for part in (told["clean"], told["accuracy"], told["kept"], *(point["accuracy"] for point in fog["curve"]))
    )
    wanted = "Of 40 images 90.0 % are answered right as they are and 72.5 % when corrupted; worst: "
    wanted += "fog (60.0 %) and shot (85.0 %)."
    assert told["sentence"] == wanted.replace(" %", "\u00a0%")


def test_against_itself_and_against_another() -> None:
    draw = np.random.default_rng(0)
    errors = {kind: (draw.random((3, 200)) < 0.4).astype(float) for kind in ("shot", "grain", "fog")}
    clean = (draw.random(200) < 0.1).astype(float)
    half = {kind: np.concatenate([rows[:, :100], np.zeros((3, 100))], 1) for kind, rows in errors.items()}
    same = corruption.block(errors, clean, (1, 3, 5), FAMILIES, base=("itself", errors, clean))["baseline"]
    assert same["mean_corruption_error"]["value"] == 1
    assert same["mean_corruption_error"]["high"] == pytest.approx(1)
    found = corruption.block(half, clean, (1, 3, 5), FAMILIES, base=("plain", errors, clean))["baseline"]
    rates = [{kind: rows.mean(1) for kind, rows in each.items()} for each in (half, errors)]
    assert found["name"] == "plain"
    assert found["mean_corruption_error"]["value"] == pytest.approx(corruption.mean_corruption_error(*rates))
    wanted = corruption.relative_mean_corruption_error(rates[0], clean.mean(), rates[1], clean.mean())
    assert found["relative_mean_corruption_error"]["value"] == pytest.approx(wanted)
    assert found["mean_corruption_error"]["high"] < 1
    nothing = {"value": None, "low": None, "high": None, "n": 200, "method": ""}
    never = {kind: np.zeros((3, 200)) for kind in errors}
    assert corruption.block(errors, clean, (1, 3, 5), FAMILIES, base=("never", never, clean))["baseline"] == {
        "name": "never",
        "mean_corruption_error": nothing,
        "relative_mean_corruption_error": nothing,
    }


def test_intervals_of_means_over_kinds_hold_the_truth() -> None:
    """Each image has a difficulty of its own, which makes its answers under all conditions alike: about 95 % hold."""
    draw = np.random.default_rng(1)
    held, truth = 0, 0.5
    for _ in range(200):
        hard = draw.random((1, 1, 60))
        wrong = (draw.random((4, 3, 60)) < hard).astype(float)
        told = corruption._accuracy(wrong.mean((0, 1)))
        held += told["low"] <= 1 - truth <= told["high"]
    assert 0.9 <= held / 200 <= 0.99


def test_several_labels_count_in_shares() -> None:
    errors = np.random.default_rng(0).integers(0, 4, (2, 30)) / 3
    told = corruption.block({"fog": errors}, errors[0], (1, 5), FAMILIES)
    assert told["clean"]["value"] == pytest.approx(1 - errors[0].mean())
    assert told["clean"]["method"] == "effective wilson"


def test_few_images_tell_nothing() -> None:
    with pytest.raises(NotEnoughData, match="19 labelled images are too few"):
        block(19)
