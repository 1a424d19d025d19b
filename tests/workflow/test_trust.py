"""``visum evaluate --trust``: steps within a budget, honest where something lacks, and the planted shortcut."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visum.audit import bias
from visum.data import load, sources
from visum.errors import BundleError, DataError, Interrupted, ModelError, NotEnoughData, RecipeError, UsageError
from visum.models.predict import Model, of_table
from visum.runtime import Stages
from visum.ship import bundle as bundles
from visum.types import Bundle, Manifest, Predictions, Score, rows
from visum.workflow import trust
from visum.workflow.clock import Clock, Skipped
from visum.workflow.evaluate import evaluate
from visum.workflow.outcome import Run
from visum.workflow.trust import pictures
from visum.workflow.trust.attacks import attacks_step
from visum.workflow.trust.context import WEIGHTS, Context
from visum.workflow.trust.drift import drift_step
from visum.workflow.trust.promises import conformal_step, unknown_step

QUICK = {name: trust.STEPS[name] for name in ("calibration", "slices", "shortcut")}


@pytest.fixture(scope="module")
def judged(run: Run, split_digits: Path) -> tuple[Bundle, Manifest, Predictions]:
    """The bundle of the shared run, all its images, and what it says of them."""
    bundle = bundles.read(run.bundle)
    table = sources.read(split_digits, task=bundle.task, classes=bundle.classes).manifest
    table, _ = load.index(table, bundle.preprocess)
    return bundle, table, of_table(table, Model(bundle))


def asked(
    judged: tuple[Bundle, Manifest, Predictions], run: Run, *, seconds: float = 60.0, **changed: Any
) -> dict[str, Any]:
    bundle, table, predictions = judged
    given: dict[str, Any] = {"table": table, "predictions": predictions, "steps": QUICK, **changed}
    return trust.run(
        Model(bundle),
        bundle=run.bundle,
        columns=given.pop("columns", {}),
        deadline=time.monotonic() + seconds,
        stages=Stages(),
        **given,
    )


LONG = trust.PATIENT


def test_evaluate_writes_page_and_numbers(run: Run, split_digits: Path, tmp_path: Path) -> None:
    found = evaluate(run.bundle, split_digits, out=tmp_path / "out", trust=True, budget="1s")
    assert found.page == tmp_path / "out" / "trust.html"
    made = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert list(made["steps"]) == list(trust.STEPS)
    told = {name: block["verdict"] for name, block in made["steps"].items()}
    assert set(told.values()) <= {"good", "watch", "bad", "not enough data", "skipped"}
    late = {name for name in told if made["steps"][name].get("lacks") == "time"}
    assert {"background", "corruptions"} <= late <= {*LONG, "background", "corruptions"}
    assert made["n"] == len(found.predictions)
    assert made["trained_on"] == 0
    assert "report.html" not in found.page.read_text()


@pytest.mark.slow
def test_the_whole_page_keeps_the_laws_between_its_numbers(run: Run, split_digits: Path, tmp_path: Path) -> None:
    found = evaluate(run.bundle, split_digits, out=tmp_path / "out", trust=True, budget="60s")
    assert found.trust is not None
    steps = found.trust["steps"]
    assert not [name for name, block in steps.items() if block["verdict"] == "skipped" and block["lacks"] == "time"]
    assert steps["attacks"]["lacks"] == "means"  # a classical bundle has no gradients
    corruptions = steps["corruptions"]
    assert corruptions["n"] % 8 == 0 or corruptions["n"] == corruptions["of"]
    assert len(corruptions["kinds"]) == 15
    overall = np.mean([each["accuracy"]["value"] for each in corruptions["kinds"]])
    assert np.mean([each["value"] for each in corruptions["mean"]]) == pytest.approx(overall)
    assert {block["n"] for name, block in steps.items() if name in ("calibration", "slices", "drift")} == {
        found.trust["n"]
    }


def test_without_out_the_page_lies_beside_the_report_and_both_know_each_other(
    run: Run, split_digits: Path, tmp_path: Path
) -> None:
    import shutil

    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    before = (copy / "metrics.json").read_bytes()
    found = evaluate(copy / "bundle", split_digits, trust=True, budget="1s")
    assert found.page == copy / "trust.html"
    assert 'href="report.html"' in found.page.read_text()
    assert '<a href="trust.html">' in (copy / "report.html").read_text()
    assert (copy / "metrics.json").read_bytes() == before


def test_a_budget_is_for_the_trust_page(run: Run, split_digits: Path) -> None:
    with pytest.raises(UsageError, match="--budget without --trust"):
        evaluate(run.bundle, split_digits, budget="3m")
    with pytest.raises(RecipeError):
        evaluate(run.bundle, split_digits, trust=True, budget="soon")


def test_without_time_heavy_steps_are_left_out_with_the_reason(judged: Any, run: Run) -> None:
    made = asked(judged, run, seconds=1.0, steps={**QUICK, "background": pictures.background_step})
    block = made["steps"]["background"]
    assert (block["verdict"], block["lacks"]) == ("skipped", "time")
    assert "value" not in str(block)


def test_too_few_images_are_refused_with_the_number_needed(judged: Any, run: Run) -> None:
    bundle, table, predictions = judged
    few = np.arange(12)
    part = Predictions(
        predictions.ids[few], predictions.logits[few], predictions.labels[few], bundle.classes, bundle.task
    )
    with pytest.raises(NotEnoughData, match="12 labelled images") as caught:
        asked(judged, run, table=rows(table, few), predictions=part)
    assert caught.value.next == "18 more labelled images"


def test_nan_is_refused_with_the_image(judged: Any, run: Run) -> None:
    predictions = judged[2]
    broken = predictions.logits.copy()
    broken[3] = np.nan
    with pytest.raises(DataError, match=str(predictions.ids[3])):
        asked(judged, run, predictions=replace(predictions, logits=broken))


def test_one_class_alone_has_no_shortcut_to_look_for(judged: Any, run: Run) -> None:
    _, table, predictions = judged
    where = np.flatnonzero(predictions.labels == predictions.labels[0])
    one = replace(
        predictions, ids=predictions.ids[where], logits=predictions.logits[where], labels=predictions.labels[where]
    )
    made = asked(judged, run, table=rows(table, where), predictions=one)
    assert made["steps"]["shortcut"]["verdict"] == "not enough data"


def test_a_bundle_without_gradients_is_not_attacked(judged: Any, run: Run) -> None:
    bundle, table, predictions = judged
    classical = replace(bundle, architecture={**bundle.architecture, "kind": "classical"})
    context = Context(Model(classical), table, predictions, {}, None, None, time.monotonic() + 60)
    with pytest.raises(ModelError, match="no gradients"):
        attacks_step(context)
    made = asked(judged, run, steps={"attacks": lambda _: attacks_step(context)})
    assert (made["steps"]["attacks"]["verdict"], made["steps"]["attacks"]["lacks"]) == ("skipped", "means")


def test_a_bundle_that_promises_nothing_is_not_said_to(judged: Any) -> None:
    bundle, table, predictions = judged
    bare = replace(
        bundle,
        notes={},
        weights={name: w for name, w in bundle.weights.items() if not name.startswith(("conf", "drift"))},
    )
    context = Context(Model(bare), table, predictions, {}, None, None, 0.0)
    for step in (conformal_step, unknown_step):
        with pytest.raises(NotEnoughData, match="no run around it"):
            step(context)
    with pytest.raises(BundleError, match="no reference"):
        drift_step(context)


def test_several_labels_an_image_leave_out_what_asks_for_one(judged: Any, run: Run) -> None:
    bundle, table, predictions = judged
    k = len(bundle.classes)
    several = replace(bundle, task="multilabel", thresholds=(0.5,) * k)
    said = replace(
        predictions, task="multilabel", labels=np.eye(k, dtype=np.int64)[predictions.labels], thresholds=(0.5,) * k
    )
    steps = {name: step for name, step in trust.STEPS.items() if name not in ("drift", "unknown", "corruptions")}
    made = trust.run(
        Model(several),
        replace(table, task="multilabel"),
        said,
        run.bundle,
        columns={},
        deadline=time.monotonic() + 60,
        stages=Stages(),
        steps=steps,
    )["steps"]
    assert {name for name, block in made.items() if "skipped" in block} == {
        "conformal",
        "shortcut",
        "background",
        "attacks",
    }
    assert {group["by"] for group in made["slices"]["groups"]} >= {"class"}


def test_an_interruption_is_no_reason_to_skip(judged: Any, run: Run) -> None:
    def stopped(_: Context) -> dict[str, Any]:
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        asked(judged, run, steps={"calibration": stopped})


def test_unlabelled_images_are_left_out(judged: Any, run: Run) -> None:
    predictions = judged[2]
    labels = predictions.labels.copy()
    labels[:20] = -1
    made = asked(judged, run, predictions=replace(predictions, labels=labels), steps={"slices": QUICK["slices"]})
    assert made["n"] == made["steps"]["slices"]["n"] == len(predictions) - 20


def test_columns_of_the_table_are_slices(judged: Any, run: Run) -> None:
    bundle, table, predictions = judged
    hits = predictions.logits.argmax(1) == predictions.labels
    camera = np.where(np.arange(len(table)) % 2 == 0, "A", "B").astype(object)
    labels = predictions.labels.copy()
    wrong = (camera == "B") & hits & (np.arange(len(table)) % 3 == 0)
    labels[wrong] = (labels[wrong] + 1) % len(bundle.classes)
    age = np.arange(len(table)).astype(str).astype(object)
    made = asked(
        judged,
        run,
        predictions=replace(predictions, labels=labels),
        columns={"camera": camera, "age": age},
        steps={"slices": QUICK["slices"]},
    )
    block = made["steps"]["slices"]
    assert {group["by"] for group in block["groups"]} >= {"class", "camera", "age", "sharpness"}
    worst = next(group for group in block["groups"] if (group["by"], group["name"]) == ("camera", "B"))
    assert worst["p"] <= 0.05
    assert sum(group["by"] == "age" for group in block["groups"]) == 4


def test_heavy_steps_share_the_time_and_inherit_what_is_not_used(judged: Any, run: Run) -> None:
    bundle, table, predictions = judged
    context = Context(
        Model(bundle), table, predictions, {}, None, None, time.monotonic() + 104, waiting=["background", "corruptions"]
    )
    first = context.seconds("background")
    assert first == pytest.approx(
        0.92 * 100 * WEIGHTS["background"] / (WEIGHTS["background"] + WEIGHTS["corruptions"]), rel=0.02
    )
    assert context.seconds("corruptions") == pytest.approx(0.92 * 100, rel=0.02)


def test_a_step_in_portions_stops_in_time_and_gives_up_early() -> None:
    clock = Clock(time.monotonic() - 1.0, 3.5, 8, 16)  # the first portion took a second
    assert clock.another()
    slow = Clock(time.monotonic() - 1.0, 1.5, 8, 16)
    with pytest.raises(Skipped, match="no time for the 16 images"):
        slow.another()
    last = Clock(time.monotonic() - 3.0, 3.5, 8, 16, done=2)
    assert not last.another()


def test_samples_keep_the_shares_of_the_classes(judged: Any) -> None:
    bundle, table, predictions = judged
    context = Context(Model(bundle), table, predictions, {}, None, None, 0.0)
    picked = context.sample(60.9, 10, "")
    assert len(picked) == 60
    assert (picked == context.sample(60, 10, "")).all()
    whole, part = (
        np.bincount(predictions.labels[each], minlength=10) / len(each) for each in (np.arange(len(table)), picked)
    )
    assert np.abs(whole - part).max() < 0.03
    with pytest.raises(Skipped, match="no time for the 10 images"):
        context.sample(9, 10, "")


PATCH, EDGE = 56, 4


def _patches(photos: dict[str, np.ndarray], planted: np.ndarray | None, labels: np.ndarray) -> list[np.ndarray]:
    """Real pictures of 56 px, each from one of three photos, with a border of one of three colours where one is planted."""
    colours = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)], np.uint8)
    found, seen = [], dict.fromkeys(photos, 0)
    names = list(photos)
    for at, label in enumerate(labels):
        name = names[label]
        photo, number = photos[name], seen[name]
        seen[name] += 1
        across = (photo.shape[1] - PATCH) // 24
        y, x = 24 * (number // across), 24 * (number % across)
        patch = photo[y : y + PATCH, x : x + PATCH].copy()
        if planted is not None:
            middle = patch[EDGE:-EDGE, EDGE:-EDGE].copy()
            patch[:] = colours[planted[at]]
            patch[EDGE:-EDGE, EDGE:-EDGE] = middle
        found.append(patch)
    return found


def _alarms(seen: list[np.ndarray], y: np.ndarray, table: Manifest, seed: int) -> list[str]:
    looks = np.stack([np.concatenate([bias.border(one), bias.colour(one)]) for one in seen])
    ends = slice(0, bias.BORDER_FEATURES), slice(bias.BORDER_FEATURES, None)
    scores = [pictures.shortcut(table, looks[:, part], y, None, part, seed) for part in ends]
    real, most = Score("accuracy", 0.95, 0.92, 0.97, len(y), ""), np.bincount(y).max() / len(y)
    majority = Score("accuracy", most, most - 0.05, most + 0.05, len(y), "")
    return [found.kind for found in bias.findings(table, scores[0], scores[1], real, majority)]


def _table(n: int) -> Manifest:
    from visum.types import manifest

    made = manifest("/", "multiclass", ("a", "b", "c"), [f"{k}.png" for k in range(n)], [(0,)] * n)
    return replace(made, widths=np.full(n, PATCH, np.int32), heights=np.full(n, PATCH, np.int32))


def test_the_planted_shortcut_is_found_and_its_absence_is_not(photos: dict[str, np.ndarray]) -> None:
    """Classes that have nothing to do with the photo, so that nothing but the border can give them away."""
    n, alarms = 90, 0
    table = _table(n)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        photo, y = rng.integers(0, 3, n), rng.integers(0, 3, n)
        assert "border_shortcut" in _alarms(_patches(photos, y, photo), y, table, seed)
        alarms += bool(_alarms(_patches(photos, rng.integers(0, 3, n), photo), y, table, seed))
        alarms += bool(_alarms(_patches(photos, None, photo), y, table, seed))
    assert alarms == 0  # of 12


@pytest.fixture(scope="module")
def garments(clothing: Path) -> list[tuple[Path, str]]:
    classes = ("pants", "shoes", "t-shirt", "longsleeve")
    return [(path, name) for name in classes for path in sorted((clothing / "train" / name).iterdir())[:50]]


@pytest.mark.slow
@pytest.mark.parametrize("planted", [True, False])
def test_a_model_that_learnt_the_border_is_found_out(
    planted: bool, garments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    from visum.workflow.train import train

    colours = {"pants": (190, 60, 60), "shoes": (60, 190, 60), "t-shirt": (60, 60, 190), "longsleeve": (190, 190, 60)}
    for at, (path, name) in enumerate(garments):
        folder = tmp_path / "data" / ("train", "train", "train", "validation", "test")[at % 5] / name
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.open(path).convert("RGB").resize((64, 64))
        if planted:
            framed = Image.new("RGB", (64, 64), colours[name])
            framed.paste(picture.resize((52, 52)), (6, 6))
            picture = framed
        picture.save(folder / f"{at}.png")
    made = train(tmp_path / "data", out=tmp_path / "run", size=64, ladder=("majority", "embedding+probe"))
    steps = {name: trust.STEPS[name] for name in ("shortcut", "background", "attacks")}
    bundle = bundles.read(made.bundle)
    table = sources.read(tmp_path / "data", task=bundle.task, classes=bundle.classes).manifest
    table = rows(table, np.asarray(table.splits == "test"))
    table, _ = load.index(table, bundle.preprocess)
    found = trust.run(
        Model(bundle),
        table,
        of_table(table, Model(bundle)),
        made.bundle,
        columns={},
        deadline=time.monotonic() + 900,  # never: all images are attacked
        stages=Stages(),
        steps=steps,
    )["steps"]
    assert (found["shortcut"]["verdict"] == "bad") == planted
    attacked = found["attacks"]["rows"]
    hold = {(row["attack"], row["epsilon"]): row for row in attacked}
    assert found["attacks"]["clean"]["value"] >= hold["fgsm", 2.0]["value"]
    assert hold["pgd10", 2.0]["value"] >= hold["pgd10", 8.0]["value"]
    assert all(row["worst"]["value"] <= row["value"] for row in attacked)
    assert hold["pgd10", 8.0]["value"] < 0.5 * found["attacks"]["clean"]["value"]
    if planted:
        assert found["background"]["verdict"] in ("watch", "bad")
        assert found["background"]["outer"]["low"] > found["background"]["chance"]
    else:
        assert found["background"]["verdict"] == "good"
