"""Each kind of problem on real photos, from files to a bundle that answers as it was judged."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from visum import predict, train
from visum.ship import bundle
from visum.types import Predictions, decisions, probabilities
from visum.workflow import ladder
from visum.workflow.outcome import Run
from workflow.helping import facts
from workflow.test_fine_grained import answers_as_trained

pytestmark = pytest.mark.slow
QUICK: dict[str, Any] = {"size": 96, "ladder": (ladder.MAJORITY, ladder.PROBE, ladder.FINETUNE), "epochs": 1}
COUNTS = {"train": 60, "validation": 25, "test": 15}


def photos_of(clothing: Path, split: str, label: str, count: int) -> list[Path]:
    return sorted((clothing / split / label).iterdir())[:count]


def some(clothing: Path, to: Path, labels: tuple[str, ...]) -> Path:
    """A few photos of a few classes, in their splits."""
    for split, count in COUNTS.items():
        for label in labels:
            (to / split / label).mkdir(parents=True)
            for photo in photos_of(clothing, split, label, count):
                shutil.copy(photo, to / split / label)
    return to


def mosaics(clothing: Path, to: Path, labels: tuple[str, ...], counts: dict[str, int]) -> Path:
    """A table of canvases with one to four garments, of photos of their own split; labels are what is on them."""
    draw = np.random.default_rng(5)
    (to / "canvases").mkdir(parents=True)
    lines = [("path", "label", "split")]
    for split, count in counts.items():
        of = {label: photos_of(clothing, split, label, 60) for label in labels}
        for number in range(count):
            canvas, on = Image.new("RGB", (192, 192), (255, 255, 255)), set()
            for place in draw.permutation(4)[: draw.integers(1, 5)]:
                label = labels[int(draw.integers(len(labels)))]
                photo = Image.open(of[label][int(draw.integers(len(of[label])))]).convert("RGB")
                photo.thumbnail((96, 96))
                canvas.paste(photo, (96 * int(place % 2), 96 * int(place // 2)))
                on.add(label)
            name = f"canvases/{split}-{number:03d}.jpg"
            canvas.save(to / name)
            lines.append((name, "|".join(sorted(on)), split))
    with (to / "canvases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return to / "canvases.csv"


def scored_as(run: Run, name: str, value: float) -> None:
    """A score of the test split is what scikit-learn makes of the same answers."""
    found = facts(run.folder, "metrics.json")["splits"]["test"]["metrics"][name]["value"]
    assert found == pytest.approx(value, abs=1e-6)
    assert run.scores[name].value == pytest.approx(found)


def test_several_garments_on_a_canvas(clothing: Path, tmp_path: Path) -> None:
    labels = ("dress", "hat", "pants", "shoes", "t-shirt")
    table = mosaics(clothing, tmp_path / "data", labels, {"train": 90, "validation": 30, "test": 30})
    run = train(table, out=tmp_path / "run", delimiter="|", pool="attention", **QUICK)
    told, said = facts(run.folder, "metrics.json"), Predictions.load(run.folder / "predictions", "test")
    assert (told["task"], tuple(told["classes"])) == ("multilabel", labels)
    assert tuple(run.ladder) == QUICK["ladder"]
    assert run.ladder[run.chosen].value > run.ladder[ladder.MAJORITY].value + 0.1
    assert len(said) == 30
    assert said.labels.sum(1).min() >= 1
    assert said.labels.sum(1).max() <= 4
    assert len(told["thresholds"]) == 5
    answers = decisions(said)
    np.testing.assert_array_equal(answers, probabilities(said) >= np.array(told["thresholds"], np.float32))
    for average in ("micro", "macro"):
        scored_as(run, f"{average}_f1", metrics.f1_score(said.labels, answers, average=average, zero_division=0))
    answers_as_trained(run)
    canvas = sorted((tmp_path / "data" / "canvases").glob("test-*.jpg"))[0]
    (one,) = predict(run.bundle, canvas)
    row = probabilities(said)[list(said.ids).index(f"canvases/{canvas.name}")]
    np.testing.assert_allclose(one.probabilities, row, atol=2e-3)


@pytest.mark.parametrize("pool", ["attention", "bilinear"])
def test_garments_that_differ_little(
    pool: str, clothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shirts, T-shirts and long sleeves, with head and pools for such classes, cropped; what was fine-tuned is shipped."""
    labels = ("longsleeve", "shirt", "t-shirt")
    monkeypatch.setattr(ladder, "best", lambda rungs: rungs[-1])
    data = some(clothing, tmp_path / "data", labels)
    run = train(data, out=tmp_path / "run", head="cosine", pool=pool, fit="crop", **QUICK)
    made, said = bundle.read(run.bundle), Predictions.load(run.folder / "predictions", "test")
    assert (made.architecture["classifier"], made.architecture["pool"]) == ("cosine", pool)
    assert (run.chosen, made.preprocess.fit) == (ladder.FINETUNE, "crop")
    assert run.ladder[ladder.FINETUNE].value > run.ladder[ladder.MAJORITY].value + 0.1
    scored_as(run, "accuracy", metrics.accuracy_score(said.labels, decisions(said)))
    scored_as(run, "macro_f1", metrics.f1_score(said.labels, decisions(said), average="macro"))
    answers_as_trained(run)


def test_one_garment_or_the_other(clothing: Path, tmp_path: Path) -> None:
    data = some(clothing, tmp_path / "data", ("pants", "t-shirt"))
    run = train(data, out=tmp_path / "run", **QUICK)
    told, said = facts(run.folder, "metrics.json"), Predictions.load(run.folder / "predictions", "test")
    assert told["task"] == "binary"
    assert len(told["thresholds"]) == 1
    np.testing.assert_array_equal(decisions(said), probabilities(said)[:, 1] >= np.float32(told["thresholds"][0]))
    assert run.scores["accuracy"].value > 0.8
    scored_as(run, "accuracy", metrics.accuracy_score(said.labels, decisions(said)))
    scored_as(run, "auc_roc", metrics.roc_auc_score(said.labels, probabilities(said)[:, 1]))
    answers_as_trained(run)
