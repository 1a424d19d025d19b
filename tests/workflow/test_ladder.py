"""Rungs: names, what each is compared with, which one wins, and what a wrong name is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss

from visum.errors import UsageError
from visum.models import classical, weights
from visum.models.embed import Network
from visum.models.weights import Backbone
from visum.types import Manifest, Predictions, Preprocess, column, in_split, manifest, probabilities, targets
from visum.workflow import ladder
from visum.workflow.ladder import LADDER, MAJORITY, PROBE, Rung, best, check, climb, foothold
from visum.workflow.outcome import Run
from workflow.helping import facts

pytestmark = pytest.mark.usefixtures(
    "fresh_cache"
)  # the rows of these tests have no digests that could tell them apart


def predictions(right: int, sure: float = 3.0, task: str = "multiclass") -> Predictions:
    """Ten pictures of two classes, of which this many are answered rightly."""
    labels = np.array([0, 1] * 5, np.int64)
    said = np.where(np.arange(10) < right, labels, 1 - labels)
    logits = np.where(np.arange(2)[None] == said[:, None], sure, 0.0).astype(np.float32)
    ids = column([f"{n}.png" for n in range(10)])
    return Predictions(ids, logits, labels, ("a", "b"), "multiclass")


def rung(name: str, held: Predictions, ships: bool = True) -> Rung:
    return Rung(name, "", 0.0, {"kind": "probe"} if ships else None, {}, held)


def test_the_highest_score_wins_or_what_cannot_be_told_from_it_and_loses_less_and_never_the_yardstick() -> None:
    few, many = rung("few", predictions(6)), rung("many", predictions(8))
    assert best([few, many]).name == "many"
    bold, modest = rung("bold", predictions(8, 9.0)), rung("modest", predictions(8, 1.0))
    assert best([bold, modest]).name == "modest"  # two wrong answers cost the bold one more
    # 7 of 10 are no proof of more than 6 of 10 (a standard error is 1.3), but of more than 5
    assert best([rung("bold", predictions(7, 9.0)), rung("modest", predictions(6, 1.0))]).name == "modest"
    assert best([rung("bold", predictions(7, 9.0)), rung("modest", predictions(5, 0.1))]).name == "bold"
    assert best([rung(MAJORITY, predictions(10), ships=False), few]).name == "few"


def test_every_descriptor_with_every_classifier_is_a_rung() -> None:
    for descriptor in ("embedding", *classical.DESCRIPTORS):
        for classifier in classical.CLASSIFIERS:
            check([f"{descriptor}+{classifier}"])
    check(LADDER)
    assert LADDER[0] == MAJORITY
    assert LADDER[-1] == PROBE


@pytest.mark.parametrize(
    "names", [["hog"], ["hog+magic"], ["magic+knn"], ["hog+knn+knn"], ["", PROBE], ["majority+knn"]]
)
def test_names_that_are_no_rungs_are_told_what_there_is(names: list[str]) -> None:
    with pytest.raises(
        UsageError, match=r"no rung is called .*Allowed: majority, embedding\+probe, finetune, or A\+B with A of .*hog"
    ):
        check(names)


def test_a_ladder_needs_something_to_stand_on() -> None:
    for names in ([], [MAJORITY]):
        with pytest.raises(UsageError, match=r"nothing to choose.*--ladder majority,embedding\+probe"):
            check(names)
    assert foothold(LADDER) == PROBE
    assert foothold(["hog+knn", "lbp+knn", MAJORITY]) == "lbp+knn"


def test_the_majority_rung_is_scikit_learns_prior_with_a_temperature(run: Run) -> None:
    table = Manifest.load(run.folder / "manifest.parquet")
    y, held = targets(table), in_split(table, "validation")
    train = in_split(table, "train")
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((train.sum(), 1)), y[train])
    prior = dummy.predict_proba(np.zeros((held.sum(), 1)))

    def loss(t: float) -> float:
        p = prior ** (1 / t)
        return float(log_loss(y[held], p / p.sum(axis=1, keepdims=True), labels=range(10)))

    found = next(r for r in facts(run.folder, "metrics.json")["ladder"] if r["name"] == MAJORITY)
    assert found["metrics"]["log_loss"]["value"] == pytest.approx(
        min(loss(t) for t in np.geomspace(0.05, 20, 200)), abs=0.01
    )
    assert found["metrics"]["log_loss"]["value"] < loss(1)


TENSORS = {"weight": np.zeros((2, 2), np.float32)}
NETWORK = Network(Backbone("tiny", TENSORS, Preprocess(), ("one",), weights.digest_of_weights(TENSORS)), Preprocess())
"""Never run: the vectors are there already."""


def ground(task: str, labels: list[tuple[int, ...]], splits: list[str]) -> ladder.Ground:
    """Rows with vectors that are their labels and a little noise, so that any honest classifier finds them."""
    table = manifest("/nowhere", task, ("a", "b", "c"), [f"{n}.png" for n in range(len(labels))], labels, splits=splits)  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    vectors = draw.normal(0, 0.05, (len(labels), 5)).astype(np.float32)
    for row, label in enumerate(labels):
        vectors[row, list(label)] += 1

    return ladder.Ground(
        table=table,
        preprocess=NETWORK.preprocess,
        network=NETWORK,
        vectors=vectors,
        views=(),
        view_names=(),
        seed=0,
    )


@pytest.mark.parametrize("name", [PROBE, *(f"embedding+{classifier}" for classifier in classical.CLASSIFIERS)])
def test_unlabelled_rows_teach_nothing_and_are_not_judged(name: str) -> None:
    labels: list[tuple[int, ...]] = [(n // 3 % 3,) for n in range(60)] + [()] * 6
    splits = (["train"] * 2 + ["validation"]) * 20 + ["train", "validation", "test"] * 2
    made = climb(name, ground("multiclass", labels, splits))
    assert made.name == name
    assert made.seconds > 0
    assert len(made.validation) == 20
    assert made.metrics()["accuracy"].value == 1.0
    assert np.isfinite(probabilities(made.validation)).all()


def test_a_class_without_train_rows_keeps_its_column() -> None:
    labels: list[tuple[int, ...]] = [(n % 2,) for n in range(40)] + [(2,)] * 2
    splits = (["train"] * 3 + ["validation"]) * 10 + ["validation"] * 2
    for name in (MAJORITY, PROBE, "embedding+knn", "embedding+linear_svm"):
        made = climb(name, ground("multiclass", labels, splits))
        p = probabilities(made.validation)
        assert p.shape == (12, 3)
        assert np.isfinite(p).all()
        assert made.metrics()["accuracy"].value <= 10 / 12


@pytest.mark.parametrize("name", [MAJORITY, PROBE, "embedding+logistic", "embedding+random_forest", "embedding+knn"])
def test_several_labels_a_row(name: str) -> None:
    labels: list[tuple[int, ...]] = [((0,), (1, 2), (0, 1), (), (2,))[n % 5] for n in range(100)]
    made = climb(name, ground("multilabel", labels, (["train"] * 3 + ["validation"]) * 25))
    assert made.validation.labels.shape == (25, 3)
    assert set(made.metrics()) == {"micro_f1", "macro_f1", "log_loss"}
    if name != MAJORITY:
        assert made.metrics()["micro_f1"].value == 1.0


def test_only_some_neighbours_are_kept_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "MOST_NEIGHBOURS", 30)
    labels: list[tuple[int, ...]] = [(n % 3,) for n in range(200)]
    made = climb("embedding+knn", ground("multiclass", labels, (["train"] * 3 + ["validation"]) * 50))
    assert "30 of the train images" in made.detail
    assert max(len(array) for array in made.weights.values() if array.ndim == 2) == 30
    assert made.metrics()["accuracy"].value == 1.0


def test_each_rung_of_a_run_has_its_seconds_and_its_settings(run: Run) -> None:
    rungs = {each["name"]: each for each in facts(Path(run.folder), "metrics.json")["ladder"]}
    assert "L2" in rungs[PROBE]["detail"]
    assert "1,904 features of 4 stages" in rungs[PROBE]["detail"]
    assert "features" in rungs["hog+linear_svm"]["detail"]
    assert all(each["seconds"] >= 0 for each in rungs.values())
    assert rungs[PROBE]["seconds"] > 0
