"""The choice of a calibration by cross-fitting, the block of the trust page, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.errors import DataError, NotEnoughData
from visum.judge.calibration import FOLDS, calibration_block, choice, crossed, folds
from visum.judge.calibrators import CALIBRATORS
from visum.judge.evaluate import evaluate
from visum.judge.sound import taken
from visum.storage import finite
from visum.types import Predictions, Task, column


def halves(task: Task) -> tuple[Predictions, Predictions]:
    given = predictions(task)
    return taken(given, np.arange(0, 797, 2)), taken(given, np.arange(1, 797, 2))


def test_folds_have_all_classes_and_no_image_judges_itself() -> None:
    validation, _ = halves("multiclass")
    fold = folds(validation.labels)
    counts = np.stack([np.bincount(validation.labels[fold == at], minlength=10) for at in range(FOLDS)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    p = crossed(validation)
    rest, own = fold != 2, fold == 2
    vector = CALIBRATORS["vector"]
    alone = vector.apply(
        vector.fit(validation.logits[rest], validation.labels[rest], "multiclass"), validation.logits[own], "multiclass"
    )
    assert np.array_equal(p["vector"][own], alone)


def simulated(n: int, seed: int, *, bias: bool) -> Predictions:
    """Labels drawn from known probabilities; logits that say them three times too sure, or with one class favoured besides."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, 4))
    y = (z + rng.gumbel(0, 1, z.shape)).argmax(1)
    said = 3 * z + (np.array([6.0, 0, 0, -4.0]) if bias else 0)
    return Predictions(column([str(row) for row in range(n)]), said.astype(np.float32), y, tuple("abcd"), "multiclass")


def test_temperature_is_kept_where_it_is_the_truth_and_told_where_it_is_not() -> None:
    one = choice(simulated(400, 0, bias=False))
    assert not one["better"]
    none = next(each for each in one["calibrators"] if each["name"] == "none")
    assert none["difference"]["low"] > 0
    other = choice(simulated(400, 0, bias=True))
    assert (other["best"], other["better"]) == ("vector", True)
    vector = next(each for each in other["calibrators"] if each["name"] == "vector")
    assert vector["difference"]["high"] < 0
    assert vector["difference"]["low"] <= vector["difference"]["value"] <= vector["difference"]["high"]


@pytest.mark.slow
def test_no_calibrator_is_called_better_than_the_truth() -> None:
    """In at most 5 of 100 draws for which a temperature is all that is wrong."""
    called = sum(choice(simulated(100, seed, bias=False))["better"] for seed in range(40))
    assert called <= 2


@pytest.mark.parametrize("task", ["binary", pytest.param("multiclass", marks=pytest.mark.slow), "multilabel"])
def test_the_block(task: Task) -> None:
    validation, test = halves(task)
    found = calibration_block(validation, test)
    json.dumps(finite(found), allow_nan=False)
    assert (found["n_validation"], found["n_test"]) == (399, 398)
    assert found["calibrators"]["temperature"]["accuracy"] == found["calibrators"]["none"]["accuracy"]
    assert found["in_use"]["accuracy"] == found["calibrators"]["none"]["accuracy"]
    judged = evaluate(test)["metrics"]
    for name in ("log_loss", "brier", "ece"):
        assert found["in_use"][name]["value"] == pytest.approx(judged[name]["value"], abs=1e-9)
    for scores in (found["in_use"], *found["calibrators"].values()):
        for each in scores.values():
            assert each["low"] <= each["value"] <= each["high"]
            assert each["n"] == 398
    assert [each["ece"] for each in found["classes"]] == sorted(
        (each["ece"] for each in found["classes"]), reverse=True
    )
    assert np.mean([each["ece"] for each in found["classes"]]) == pytest.approx(
        found["in_use"]["classwise_ece"]["value"]
    )
    assert found["verdict"] in ("good", "fair", "poor")
    assert "points" in found["sentence"]


def test_scikit_learn_says_the_same_of_each_calibrator() -> None:
    validation, test = halves("multiclass")
    found = calibration_block(validation, test)
    for name, each in CALIBRATORS.items():
        p = each.apply(each.fit(validation.logits, validation.labels, "multiclass"), test.logits, "multiclass").astype(
            float
        )
        p /= p.sum(1, keepdims=True)
        scores, eps = (
            found["calibrators"][name],
            np.finfo(np.float32).eps,
        )  # visum keeps this far from 0, scikit-learn 2e-16
        p = np.maximum(p, eps)
        p /= p.sum(1, keepdims=True)
        assert scores["log_loss"]["value"] == pytest.approx(reference.log_loss(test.labels, p), abs=1e-6)
        brier = reference.brier_score_loss(test.labels, p, labels=range(10), scale_by_half=False)
        assert scores["brier"]["value"] == pytest.approx(brier, abs=1e-6)
        assert scores["accuracy"]["value"] == reference.accuracy_score(test.labels, p.argmax(1))


@pytest.mark.slow
def test_words_for_the_good_and_the_bad() -> None:
    known, good = simulated(300, 0, bias=False), simulated(3000, 1, bias=False)
    assert calibration_block(known, replace(good, temperature=3.0))["verdict"] == "good"
    found = calibration_block(known, replace(known))
    assert found["verdict"] == "poor"
    assert "more sure than it is right" in found["sentence"]
    biased = calibration_block(simulated(200, 0, bias=True), simulated(200, 1, bias=True))
    assert "Vector scaling" in biased["advice"]


def test_what_is_refused() -> None:
    validation, test = halves("multiclass")
    with pytest.raises(
        NotEnoughData, match=r"20 labelled images to calibrate with. Allowed: 50 or more. Try: 30 more labelled images"
    ):
        choice(taken(validation, np.arange(20)))
    with pytest.raises(NotEnoughData, match="to judge calibration by"):
        calibration_block(validation, taken(test, np.arange(49)))
    with pytest.raises(NotEnoughData, match="all 399 images to calibrate with are digit-3"):
        choice(replace(validation, labels=np.full(399, 3)))
    with pytest.raises(NotEnoughData, match="none of 399 images has a label"):
        choice(replace(validation, labels=np.full(399, -1)))
    broken = validation.logits.copy()
    broken[0, 0] = np.nan
    with pytest.raises(DataError, match="1 of 399 images are NaN"):
        calibration_block(replace(validation, logits=broken), test)
    with pytest.raises(DataError, match="other classes"):
        calibration_block(validation, replace(test, classes=tuple("abcdefghij")))
