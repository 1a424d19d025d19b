"""What a bundle of a run promises: made of validation, sealed with it, kept by predict, by the server and by the card."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import visum
from visum.cli import answers as writers
from visum.errors import BundleError, DataError, NotEnoughData, UsageError
from visum.judge import abstain, conformal, promise
from visum.models import predict as running
from visum.models.ensemble import join
from visum.serve import answers as serving
from visum.ship import bundle as bundles
from visum.ship import card
from visum.types import Bundle, Manifest, Predictions, in_split, network_weights, probabilities, rows
from visum.workflow.outcome import Run
from visum.workflow.predict import predict
from visum.workflow.promise import equip


@pytest.fixture(scope="module")
def made(run: Run) -> Bundle:
    return bundles.read(run.folder)


def pictures(run: Run, split: str = "test") -> list[Path]:
    table = Manifest.load(run.folder / "manifest.parquet")
    part = rows(table, in_split(table, split))
    from visum.data.load import location

    return [Path(location(part, row)) for row in range(len(part))][:20]


def test_the_promises_of_a_run_are_those_of_its_predictions(run: Run, made: Bundle) -> None:
    held, test = (Predictions.load(run.folder / "predictions", split) for split in ("validation", "test"))
    note = made.notes["conformal"]
    assert (note["method"], note["n"]) == (conformal.USUAL_METHOD, len(held))
    for level in note["levels"]:
        scores, _ = conformal.calibrated(held, level["coverage"])
        assert level["quantile"] == conformal.quantile(scores, level["coverage"])
        assert level["low"] < level["expected"] < level["high"]
        found = promise.set_maker(made, level["coverage"])(probabilities(test))
        assert level["test"]["coverage"] == pytest.approx(found[np.arange(len(test)), test.labels].mean())
    sure, wrong = abstain.surest(held)
    target = next(each for each in made.notes["abstain"]["targets"] if each["target"] == 0.05)
    if "why" in target:
        with pytest.raises(NotEnoughData):
            abstain.threshold(sure, wrong, 0.05)
    unknown = made.notes["unknown"]
    assert unknown["detector"] == "vim"
    assert unknown["n"] == len(held)
    assert 0.8 < unknown["test"]["kept"] <= 1


def test_nothing_of_it_is_part_of_the_network_or_changes_an_answer(run: Run, made: Bundle) -> None:
    names = set(made.weights) - set(network_weights(made))
    assert {"conformal.score", "conformal.label", "conformal.sure", "conformal.wrong"} < names
    assert sum(made.weights[name].nbytes for name in names) < 4e6
    assert not any("unknown." in name or "conformal." in name for name in join([made, made], "logits").weights)
    plain = {a.id: a for a in visum.load(run.folder).predict(pictures(run))}
    asked = visum.load(run.folder, coverage=0.9, unknown=True).predict(pictures(run))
    for answer in asked:
        assert np.array_equal(answer.probabilities, plain[answer.id].probabilities)
        assert plain[answer.id].set is plain[answer.id].unknown is plain[answer.id].unsure is None
    assert visum.verify(run.folder).passed


def test_sets_unknown_and_unsure_in_python_csv_and_json(run: Run, made: Bundle, tmp_path: Path) -> None:
    from PIL import Image
    from skimage import data

    strange = tmp_path / "grass.png"
    Image.fromarray(data.grass()[:256, :256]).save(strange)
    settings = {"coverage": 0.9, "target_error": 0.5, "unknown": True}
    found = visum.load(run.folder, **settings).predict([strange, *pictures(run)])
    assert (found[0].label, found[0].unknown) == ("unknown", True)
    cut = promise.abstention(made, 0.5).threshold
    for answer in found:
        assert answer.unsure is (not answer.probability > cut)
        assert answer.label == ("unknown" if answer.unknown else "unsure" if answer.unsure else answer.top[0][0])
        within = promise.set_maker(made, 0.9)(answer.probabilities[None])[0]
        assert set(answer.set or ()) == {made.classes[k] for k in np.flatnonzero(within)}
        assert (answer.set or ("",))[0] == answer.top[0][0]  # most probable first, never empty
    paths = [strange, *pictures(run)[:3]]
    writers.as_csv(predict(run.folder, paths, **settings), tmp_path / "a.csv", 5)
    writers.as_jsonl(predict(run.folder, paths, **settings), tmp_path / "a.jsonl", 5)
    with (tmp_path / "a.csv").open() as file:
        lines = sorted(csv.DictReader(file), key=lambda each: each["id"])
    said = sorted(map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines()), key=lambda each: str(each["id"]))
    for line, each in zip(lines, said, strict=True):
        assert line["set"] == "|".join(each["set"])
        assert line["unknown"] == ("yes" if each["unknown"] else "no")
        assert line["label"] == each["label"]
    writers.table(predict(run.folder, [strange], **settings), tmp_path / "a.txt", 5)
    assert "unknown: it is like nothing that was learnt" in (tmp_path / "a.txt").read_text()
    assert "one of  " in (tmp_path / "a.txt").read_text()


def test_the_server_says_the_same(made: Bundle) -> None:
    logits = Predictions.load((made.folder or Path()).parent / "predictions", "test").logits[0]
    limit = made.notes["unknown"]["threshold"]
    said = serving.answer(made, logits, 0, limit + 1)
    assert said["unknown"] is True
    assert serving.answer(made, logits, 0, limit)["unknown"] is False
    assert "unknown" not in serving.answer(made, logits, 0)
    p = probabilities(serving.said(made, logits[None]))
    within = promise.set_maker(made, said["coverage"])(p)[0]
    assert set(said["set"]) == {made.classes[k] for k in np.flatnonzero(within)}


def test_strangeness_is_the_same_alone_and_through_the_store(run: Run, made: Bundle) -> None:
    """The threshold was found on embeddings of the store; the share that it keeps of validation is that of fresh ones."""
    found = visum.load(run.folder, unknown=True).predict(pictures(run, "validation"))
    assert np.mean([answer.unknown for answer in found]) <= 0.25
    strangeness, limit = promise.detector(made)
    x = np.zeros((2, 1), np.float32)
    assert limit == made.notes["unknown"]["threshold"]
    with pytest.raises(ValueError, match=r"mismatch|size"):
        strangeness(x, np.zeros((2, 10), np.float32))


def test_what_a_bundle_does_not_promise_is_said(run: Run, made: Bundle) -> None:
    n = made.notes["conformal"]["n"]
    with pytest.raises(NotEnoughData, match="999 or more"):
        visum.load(run.folder, coverage=0.999)
    with pytest.raises(NotEnoughData, match=f"{n} validation images.*2995 or more"):
        visum.load(run.folder, target_error=0.001)
    with pytest.raises(UsageError, match="no coverage"):
        visum.load(run.folder, each_class=True)
    old = replace(made, notes={}, weights=network_weights(made))
    for asked in ({"coverage": 0.9}, {"target_error": 0.1}, {"unknown": True}):
        with pytest.raises(UsageError, match="older visum"):
            promise.asked(old, **asked)
    assert promise.asked(old).sets is None
    assert not promise.has(old, "conformal")
    assert "set" not in serving.answer(old, np.zeros(10, np.float32), 0)
    broken = replace(made, notes={**made.notes, "unknown": {"detector": "oracle", "threshold": 1.0}})
    with pytest.raises(BundleError, match="oracle"):
        promise.detector(broken)
    with pytest.raises(BundleError, match=r"conformal\.score"):
        promise.set_maker(replace(made, weights=network_weights(made)), 0.9)


def test_a_bundle_without_enough_pictures_says_why(run: Run, made: Bundle) -> None:
    """Too few, none at all, one class, NaN: the bundle is made all the same, and says what it lacks."""
    held, table = (
        Predictions.load(run.folder / "predictions", "validation"),
        Manifest.load(run.folder / "manifest.parquet"),
    )
    model = running.Model(made)

    def part(n: int, **changes: object) -> Predictions:
        some = replace(held, ids=held.ids[:n], logits=held.logits[:n], labels=held.labels[:n])
        return replace(some, **changes)  # type: ignore[arg-type]

    cases = {
        "9 or more": {"validation": part(5)},
        "no validation images": {},
        "two classes": {"validation": part(30, labels=np.zeros(30, np.int64))},
        "NaN": {"validation": part(30, logits=np.full((30, 10), np.nan, np.float32))},
    }
    for words, told in cases.items():
        poor = equip(replace(made, notes={}, weights=network_weights(made)), told, table, model)
        assert words in poor.notes["conformal"]["why"]
        assert not promise.has(poor, "conformal")
        with pytest.raises(UsageError, match=words):
            promise.asked(poor, coverage=0.9)
        assert "No prediction sets" in card.text(poor)
    with pytest.raises(DataError):
        conformal.calibrated(part(5), 0.9)


def test_the_card_tells_what_is_promised(made: Bundle) -> None:
    words = card.text(made)
    assert "## What it promises" in words
    odd = {
        name: {"levels": [{"coverage": "all"}, 3], "targets": [{"threshold": "x"}], "threshold": []}
        for name in made.notes
    }
    assert "–" in card.text(replace(made, notes=odd))
    assert "Prediction sets with 90 % coverage" in words
    assert "unknown" in words
