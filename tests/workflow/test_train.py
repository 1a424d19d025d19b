"""The main job, end to end on real digits: what a run leaves, what it refuses, and what survives signals and full disks."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as reference_confusion

import corpus
import visum
from visum import config
from visum.data import load, sources
from visum.errors import DataError, Locked, NotEnoughData, RecipeError, StorageError, UsageError, VisumError
from visum.models import compiled
from visum.types import Manifest, Predictions, Score, decisions, in_split, probabilities, targets
from visum.workflow import record
from visum.workflow.history import COLUMNS
from visum.workflow.outcome import Run
from visum.workflow.train import train
from workflow.helping import SETTINGS, child, facts, limited, timeless, until

LATER = ("tensorboard", "mlflow", "trust.html", "trust.json")
FILES = tuple(name for name in record.FILES if name not in LATER)
"""Of a run without ``--log`` that was not asked how far it can be trusted."""
QUICK = ("majority", "hog+linear_svm")
SCORE = {"value", "low", "high", "n", "method"}


def test_a_run_folder_holds_what_the_design_says(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir() if path.name != ".lock"} == set(FILES)
    assert run.bundle == run.folder / "bundle"
    assert run.report == run.folder / "report.html"
    names = {"bundle.json", "weights.safetensors", "golden", "MODEL_CARD.md", "SHA256SUMS"}
    assert {path.name for path in run.bundle.iterdir()} == names
    assert {path.name for path in (run.folder / "predictions").iterdir()} == {
        f"{split}.{end}" for split in ("validation", "test") for end in ("parquet", "safetensors")
    }
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["rung"] for row in rows} == {"embedding+probe"}
    assert len({row["l2"] for row in rows}) == len(rows) > 2
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    assert max(float(row["validation_score"]) for row in rows) == pytest.approx(
        run.ladder["embedding+probe"].value, abs=0.05
    )
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert float(best["validation_score"]) == pytest.approx(run.ladder["embedding+probe"].value, abs=1e-6)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)
    assert {row["learning_rate"] for row in rows} == {row["train_loss"] for row in rows} == {""}
    assert "<html" in run.report.read_text()[:200]


def test_run_json_says_what_was_done_with_what(run: Run, split_digits: Path) -> None:
    said = facts(run.folder)
    assert said["status"] == "finished"
    assert (said["visum"], said["seed"], said["budget"]) == (visum.__version__, 0, None)
    assert set(said["machine"]) == {"cpu", "cores", "memory_gb", "system", "python"}
    assert {"numpy", "openvino", "torch"} <= set(said["versions"])
    data = said["data"]
    assert data["path"] == str(split_digits)
    assert data["n"] == 300 == sum(data["splits"].values())
    assert data["classes"] == [str(digit) for digit in range(10)]
    assert {split: sum(counts) for split, counts in data["counts"].items()} == data["splits"]
    assert data["unreadable"] == []
    assert said["test_openings"] == 1
    assert said["preprocess"]["size"] == 64
    assert set(said["engine"]) == {"name", "precision", "images_per_second"}
    names = [stage["name"] for stage in said["stages"]]
    order = ("read", "plan", "decode", "embed", "audit", "split", "calibrate", "test", "write")
    assert sorted(order, key=names.index) == list(order)
    assert all(set(stage) == {"name", "seconds", "detail"} for stage in said["stages"])
    assert 0 < sum(stage["seconds"] for stage in said["stages"]) <= said["seconds"] + 0.5


def test_metrics_json_has_the_schema_of_the_design(run: Run) -> None:
    found = facts(run.folder, "metrics.json")
    assert set(found) == {"task", "classes", "chosen", "temperature", "thresholds", "splits", "ladder"}
    assert (found["task"], found["chosen"]) == ("multiclass", run.chosen)
    assert found["temperature"] > 0
    assert [rung["name"] for rung in found["ladder"]] == ["majority", "hog+linear_svm", "embedding+probe"]
    assert [rung["name"] for rung in found["ladder"] if rung["chosen"]] == [run.chosen]
    for rung in found["ladder"]:
        assert set(rung) == {"name", "seconds", "at", "n", "metrics", "chosen", "detail"}
        assert all(set(score) == SCORE for score in rung["metrics"].values())
    for split in ("validation", "test"):
        block = found["splits"][split]
        assert {"n", "metrics", "per_class", "confusion", "confused", "reliability", "wrong"} <= set(block)
        names = {"accuracy", "balanced_accuracy", "top5_accuracy", "macro_f1", "weighted_f1", "micro_f1"}
        assert names | {"auc_roc", "average_precision", "log_loss", "brier", "ece"} <= set(block["metrics"])
        assert all(set(score) == SCORE for score in block["metrics"].values())
        assert [each["class"] for each in block["per_class"]] == found["classes"]
        assert np.array(block["confusion"]).sum() == block["n"]
    moments = [rung["at"] for rung in found["ladder"]]
    assert 0 < moments[0] < moments[1] < moments[2] < facts(run.folder)["seconds"]
    findings = facts(run.folder, "findings.json")
    assert all(set(finding) == {"kind", "severity", "message", "ids", "numbers"} for finding in findings)


def test_scores_are_those_that_scikit_learn_finds_in_the_predictions(run: Run) -> None:
    table = pq.read_table(run.folder / "predictions" / "test.parquet").to_pydict()
    block = facts(run.folder, "metrics.json")["splits"]["test"]
    assert block["n"] == len(table["id"]) == 75
    assert block["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(table["label"], table["prediction"]))
    macro = f1_score(table["label"], table["prediction"], average="macro")
    assert block["metrics"]["macro_f1"]["value"] == pytest.approx(macro)
    names = [str(digit) for digit in range(10)]
    assert block["confusion"] == reference_confusion(table["label"], table["prediction"], labels=names).tolist()
    assert {w["id"] for w in block["wrong"]} == {
        name
        for name, label, said in zip(table["id"], table["label"], table["prediction"], strict=True)
        if label != said
    }
    assert run.scores["accuracy"] == Score("accuracy", **block["metrics"]["accuracy"])
    assert run.sealed


def test_the_ladder_climbs_from_the_dummy_to_something_that_reads_digits(run: Run) -> None:
    table = Manifest.load(run.folder / "manifest.parquet")
    y, train_rows, held = targets(table), in_split(table, "train"), in_split(table, "validation")
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((train_rows.sum(), 1)), y[train_rows])
    assert run.ladder["majority"].value == pytest.approx(dummy.score(np.zeros((held.sum(), 1)), y[held]))
    assert run.ladder["hog+linear_svm"].value > 0.9
    assert run.ladder["embedding+probe"].value > 0.8
    assert run.scores["accuracy"].value > 0.85


def test_given_splits_are_kept_and_a_class_missing_in_one_shifts_no_other(run: Run) -> None:
    table = Manifest.load(run.folder / "manifest.parquet")
    given = {"train": "train", "valid": "validation", "test": "test"}
    assert [given[name.split("/")[0]] for name in table.ids] == table.splits.tolist()
    assert table.classes == tuple(str(digit) for digit in range(10))
    assert [name.split("/")[1] for name in table.ids] == [table.classes[y] for y in targets(table)]
    block = facts(run.folder, "metrics.json")["splits"]["validation"]
    assert np.array(block["confusion"]).shape == (10, 10)
    assert sum(block["confusion"][9]) == 0
    assert block["per_class"][9]["n"] == 0
    assert facts(run.folder)["data"]["counts"]["validation"][9] == 0


def test_the_recipe_is_the_run_again(run: Run, split_digits: Path) -> None:
    again = config.resolve(train, recipe=run.folder / "recipe.toml")
    assert again["data"] == split_digits
    assert (again["size"], again["ladder"], again["seed"]) == (64, ("majority", "hog+linear_svm", "embedding+probe"), 0)
    assert set(again) == set(config.settings_of(train))


def test_the_same_command_reads_the_store_alone_and_finds_the_same(
    run: Run, split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(run.folder, folder)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is decoded or embedded twice")

    monkeypatch.setattr(load, "shrink", never)  # what index does with each picture that it decodes
    monkeypatch.setattr(compiled, "engine", never)
    ladder = ("majority", "hog+linear_svm", "embedding+probe")
    second = train(split_digits, out=folder, size=64, ladder=ladder)
    assert timeless(folder) == timeless(run.folder)
    assert (folder / "bundle" / "weights.safetensors").read_bytes() == (run.bundle / "weights.safetensors").read_bytes()
    assert second.scores == run.scores
    assert facts(folder)["test_openings"] == 2
    assert facts(folder)["engine"]["name"] == "store"


def test_other_settings_in_the_same_folder_are_refused_unless_they_may_replace(
    run: Run, split_digits: Path, digits: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match=r"other data or settings.*the same command again.*--overwrite"):
        train(split_digits, out=folder, size=64, ladder=QUICK)
    with pytest.raises(UsageError, match="other data or settings"):
        train(digits, out=folder, size=64, ladder=("majority", "hog+linear_svm", "embedding+probe"))
    assert (folder / "metrics.json").read_bytes() == before
    assert facts(folder)["status"] == "finished"
    train(split_digits, out=folder, size=64, ladder=QUICK, overwrite=True)
    assert [rung["name"] for rung in facts(folder, "metrics.json")["ladder"]] == list(QUICK)
    assert facts(folder)["test_openings"] == 2  # the same sealed images, looked at once more


def test_a_run_that_came_to_nothing_does_not_stand_in_the_way(tmp_path: Path, digits: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(digits / "3", one / "3")
    with pytest.raises(NotEnoughData):
        train(one, out=tmp_path / "out", size=64, ladder=QUICK)
    assert facts(tmp_path / "out")["status"] == "failed"
    shutil.copytree(digits / "5", one / "5")
    other = tmp_path / "renamed"
    one.rename(other)
    assert train(other, out=tmp_path / "out", size=64, ladder=QUICK).scores["accuracy"].value > 0.8


def _nothing_is_read(*_: object, **__: object) -> None:
    raise AssertionError("work began before --out was looked at")


def test_an_output_that_cannot_be_is_refused_before_any_work(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", _nothing_is_read)
    file = tmp_path / "file"
    file.write_text("mine")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    cases: list[tuple[Path, type[VisumError], str]] = [
        (file, StorageError, "is a file.*a folder, new or existing.*another --out"),
        (file / "below", StorageError, "cannot write"),
        (Path("/proc/visum"), StorageError, "cannot write /proc/visum.*a folder that you may write to.*another --out"),
        (digits / "run", UsageError, "lies inside the data.*a folder outside the data.*--out .*-run"),
        (foreign, UsageError, "holds other files.*a new, empty or visum run folder.*another --out"),
        (tmp_path / os.fsdecode(b"caf\xe9"), UsageError, r"caf\\xe9 is not UTF-8.*another --out"),
    ]
    for out, kind, said in cases:
        for overwrite in (False, True):
            begin = time.monotonic()
            with pytest.raises(kind, match=said):
                train(digits, out=out, overwrite=overwrite)
            assert time.monotonic() - begin < 2
    assert file.read_text() == "mine"
    assert [path.name for path in foreign.iterdir() if path.name != ".lock"] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VISUM_CACHE_GB", "many", "VISUM_CACHE_GB is 'many'.*unset VISUM_CACHE_GB"),
        ("VISUM_THREADS", "x", "VISUM_THREADS is 'x'.*unset VISUM_THREADS"),
        ("VISUM_CACHE", "/proc/visum", "cannot write /proc/visum.*VISUM_CACHE"),
    ],
)
def test_a_machine_that_cannot_do_it_is_told_before_any_work(
    name: str, value: str, said: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read", _nothing_is_read)
    monkeypatch.setenv(name, value)
    for command in (
        lambda: train(digits, out=tmp_path / "run"),
        lambda: visum.find_problems(digits, out=tmp_path / "audit"),
        lambda: visum.evaluate(tmp_path, digits, out=tmp_path / "judged"),
    ):
        with pytest.raises(VisumError, match=said):
            command()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_refused(digits: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        train(digits, out=tmp_path / "run")


def test_impossible_settings_stop_the_run_together_and_leave_nothing(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        train(
            digits,
            out=tmp_path / "run",
            size=7,
            engine="abacus",
            views=("plain", "sideways"),
            extra_formats=("DOC",),
            fractions=(0.5, 0.5, 0.5),
        )
    assert [fault.split(" ")[0] for fault in told.value.faults] == [
        "size",
        "engine",
        "extra_formats",
        "views",
        "fractions",
    ]
    assert all("Allowed: " in fault for fault in told.value.faults)
    with pytest.raises(UsageError, match=r"'magic'.*embedding\+probe.*--ladder"):
        train(digits, out=tmp_path / "run", ladder=("magic",))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def torn(digits: Path, tmp_path: Path) -> Path:
    """Two digits, and four files that are no pictures."""
    root = tmp_path / "torn"
    for name in ("3", "5"):
        shutil.copytree(digits / name, root / name)
    jpeg, png = corpus.saved(corpus.photo(), "JPEG"), corpus.saved(corpus.photo(), "PNG")
    bad = {"empty.jpg": b"", "text.jpg": b"a cat", "cut50.jpg": jpeg[: len(jpeg) // 2], "crc.png": png[:-1] + b"\0"}
    for name, data in bad.items():
        (root / "5" / name).write_bytes(data)
    return root


def test_unreadable_files_are_named_with_their_reason_and_left_out(torn: Path, tmp_path: Path) -> None:
    run = train(torn, out=tmp_path / "out", size=64, ladder=QUICK)
    bad = {each["id"]: each["reason"] for each in facts(run.folder)["data"]["unreadable"]}
    assert set(bad) == {"5/empty.jpg", "5/text.jpg", "5/cut50.jpg", "5/crc.png"}
    assert "truncated" in bad["5/cut50.jpg"]
    assert "text" in bad["5/text.jpg"]
    table = Manifest.load(run.folder / "manifest.parquet")
    assert not set(bad) & set(table.ids)
    assert len(table) == len(list(torn.rglob("*.png"))) - 1
    found = next(finding for finding in run.findings if finding.kind == "unreadable")
    assert set(found.ids) == set(bad)
    assert "cut50.jpg" in run.report.read_text()


def test_strict_stops_at_an_unreadable_file(torn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^5/.*\(and 3 more\).*--strict"):
        train(torn, out=tmp_path / "out", size=64, ladder=QUICK, strict=True)
    assert facts(tmp_path / "out")["status"] == "failed"
    assert not (tmp_path / "out" / "bundle").exists()


def mosaics(root: Path, digits: Path, count: int = 110) -> list[set[str]]:
    """Canvases of two by two places, each empty or with a real digit of three kinds; what is on each of them."""
    draw = np.random.default_rng(3)
    pictures = {name: sorted((digits / name).glob("*.png")) for name in "014"}
    root.mkdir()
    shown = []
    for number in range(count):
        canvas, on = Image.new("L", (20, 20)), set()
        for place in ((1, 1), (11, 1), (1, 11), (11, 11)):
            if draw.random() < 0.45:
                name = str(draw.choice(list(pictures)))
                canvas.paste(Image.open(draw.choice(pictures[name])), place)
                on.add(name)
        canvas.save(root / f"{number:03d}.png")
        shown.append(on)
    return shown


@pytest.mark.slow
def test_several_labels_an_image_end_to_end(digits: Path, tmp_path: Path) -> None:
    shown = mosaics(tmp_path / "canvases", digits)
    parts = ["train"] * 60 + ["validation"] * 25 + ["test"] * 25
    rows = list(zip(sorted((tmp_path / "canvases").iterdir()), shown, parts, strict=True))
    with (tmp_path / "joined.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "label", "split"), *((f"canvases/{p.name}", "|".join(sorted(on)), part) for p, on, part in rows)]
        )
    with (tmp_path / "onehot.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("path", "split", "0", "1", "4"),
                *((f"canvases/{p.name}", part, *(int(c in on) for c in "014")) for p, on, part in rows),
            ]
        )
    ladder = ("majority", "embedding+probe")
    run = train(tmp_path / "joined.csv", out=tmp_path / "joined", size=64, ladder=ladder)
    other = train(tmp_path / "onehot.csv", out=tmp_path / "onehot", size=64, ladder=ladder, task="multilabel")
    found = facts(run.folder, "metrics.json")
    assert (found["task"], found["classes"]) == ("multilabel", ["0", "1", "4"])
    assert len(found["thresholds"]) == 3
    assert run.ladder[run.chosen].value > run.ladder["majority"].value
    said = Predictions.load(run.folder / "predictions", "test")
    truth = np.array([[c in on for c in "014"] for _, on, part in rows if part == "test"], np.int64)
    np.testing.assert_array_equal(said.labels, truth)
    answers = (probabilities(said) >= np.array(found["thresholds"], np.float32)).astype(int)
    np.testing.assert_array_equal(answers, decisions(said))
    for average in ("micro", "macro"):
        reference = f1_score(truth, answers, average=average, zero_division=0)
        assert found["splits"]["test"]["metrics"][f"{average}_f1"]["value"] == pytest.approx(reference)
    assert found["splits"]["test"]["confusion"] is None
    assert timeless(other.folder) == timeless(run.folder)
    paths = [path for path, _, part in rows if part == "test"]
    spoken = visum.load(run.bundle).predict(paths)
    assert ["|".join(c for c, on in zip("014", row, strict=True) if on) for row in answers] == [a.label for a in spoken]
    judged = visum.evaluate(run.bundle, tmp_path / "joined.csv")
    assert judged.metrics["metrics"]["micro_f1"] == found["splits"]["test"]["metrics"]["micro_f1"]


def test_two_classes_are_answered_by_a_threshold_chosen_on_validation(digits: Path, tmp_path: Path) -> None:
    for name in ("3", "8", "9"):  # 8 and 9 look alike to a coarse eye: a threshold has something to do
        shutil.copytree(digits / name, tmp_path / "pair" / ("three" if name == "3" else "round"), dirs_exist_ok=True)
    run = train(tmp_path / "pair", out=tmp_path / "out", size=64, ladder=("majority", "colour_histogram+naive_bayes"))
    found = facts(run.folder, "metrics.json")
    assert (found["task"], found["classes"]) == ("binary", ["round", "three"])
    (threshold,) = found["thresholds"]
    assert 0 < threshold < 1
    table = pq.read_table(run.folder / "predictions" / "test.parquet").to_pydict()
    answers = ["three" if p >= threshold else "round" for p in table["p_three"]]
    assert answers == table["prediction"]
    accuracy = found["splits"]["test"]["metrics"]["accuracy"]["value"]
    assert accuracy == pytest.approx(accuracy_score(table["label"], answers))
    spoken = visum.load(run.bundle).predict([tmp_path / "pair" / name for name in table["id"]])
    assert [answer.label for answer in spoken] == answers
    held = Predictions.load(run.folder / "predictions", "validation")
    p, y = probabilities(held)[:, 1], held.labels
    scores = {t: f1_score(y, p >= t, zero_division=0) for t in (0.5, threshold)}
    assert scores[threshold] >= scores[0.5]


def test_rows_of_a_table_without_an_image_are_told_and_left_out(digits: Path, tmp_path: Path) -> None:
    rows = [(f"{path.parent.name}/{path.name}", path.parent.name) for path in sorted(digits.glob("[35]/*.png"))]
    shutil.copytree(digits, tmp_path / "data")
    with (tmp_path / "data" / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows, ("3/gone.png", "3"), ("../../../../etc/passwd", "5")])
    run = train(tmp_path / "data" / "list.csv", out=tmp_path / "out", size=64, ladder=QUICK)
    assert facts(run.folder)["data"]["n"] == len(rows)
    told = " ".join(finding.message + " ".join(finding.ids) for finding in run.findings)
    assert "3/gone.png" in told
    assert "passwd" in told
    assert "3/gone.png" in run.report.read_text()


# ---- other processes: locks, signals, kill -9, full disks


def pausing(marker: Path) -> str:
    """Python for a child: its run looks at pictures for a minute, and says so."""
    return f"""
import pathlib, time, visum.workflow.audit as audit
def looks(table, spec, step):
    pathlib.Path({str(marker)!r}).touch()
    for _ in range(600):
        time.sleep(0.1)
        step(1)
audit.looks = looks
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_is_alone_in_its_folder_and_signals_save_and_exit(
    number: signal.Signals, code: int, split_digits: Path, tmp_path: Path, run: Run
) -> None:
    out, marker = tmp_path / "out", tmp_path / "marker"
    process = child("train", split_digits, "--out", out, *SETTINGS, before=pausing(marker))
    until(marker.exists)
    begin = time.monotonic()
    with pytest.raises(Locked, match=r"another run is writing to .*wait for it, or give another --out"):
        train(split_digits, out=out, size=64, ladder=QUICK)
    assert time.monotonic() - begin < 2
    begin = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "the same command again" in said
    assert facts(out)["status"] == "interrupted"
    finished = train(split_digits, out=out, size=64, ladder=QUICK)
    assert facts(out)["status"] == "finished"
    assert finished.scores["accuracy"].value > 0.85


def killed(
    moments: list[float], unbroken: Run, data: Path, folder: Path, cache: Path, patch: pytest.MonkeyPatch
) -> list[str]:
    """Kill runs that start with an empty store at these seconds, then let one finish and compare; how far each had come."""
    shutil.copytree(cache, folder / "cache", ignore=shutil.ignore_patterns("store"))  # networks are built already
    patch.setenv("VISUM_CACHE", str(folder / "cache"))
    ladder, reached = ("majority", "hog+linear_svm", "embedding+probe"), []
    for moment in moments:
        process = child("train", data, "--out", folder / "out", "--size", "64", "--ladder", ",".join(ladder))
        time.sleep(moment)
        process.kill()
        _, said = process.communicate()
        reached.append(said)
    finished = train(data, out=folder / "out", size=64, ladder=ladder)
    assert timeless(finished.folder) == timeless(unbroken.folder)
    for name in ("bundle/weights.safetensors", "predictions/test.safetensors", "findings.json"):
        assert (finished.folder / name).read_bytes() == (unbroken.folder / name).read_bytes(), name
    assert {path.name for path in finished.folder.iterdir()} == {*FILES, ".lock"}
    return reached


def test_a_killed_run_ends_like_an_unbroken_one(
    run: Run, split_digits: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = killed([0.9, 1.5, 2.1], run, split_digits, tmp_path, cache, monkeypatch)
    assert all("report" not in said for said in reached)


@pytest.mark.slow
def test_twenty_killed_runs_end_like_an_unbroken_one(
    run: Run, split_digits: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, begin = np.random.default_rng(5), time.monotonic()
    with monkeypatch.context() as patch:
        killed([], run, split_digits, tmp_path / "unbroken", cache, patch)
    whole, reached = time.monotonic() - begin, []
    for turn in range(4):
        moments = (0.5 + whole * draw.uniform(0.0, 1.2, 5)).round(2).tolist()  # half a second: to start Python
        with monkeypatch.context() as patch:
            reached += killed(moments, run, split_digits, tmp_path / str(turn), cache, patch)
    assert len({said.count("\n") for said in reached}) > 3  # they had come to different places


@pytest.mark.parametrize(
    "size", [30_000, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 100, 1_000, 3_000, 6_000, 70_000))]
)
def test_a_full_disk_is_told_and_costs_nothing_that_was_finished(
    size: int, run: Run, split_digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run.folder, out)
    kept = [name for name in FILES if name not in ("run.json", "recipe.toml")]
    before = {name: contents(out / name) for name in kept}
    ladder = "majority,hog+linear_svm,embedding+probe"
    process = child("train", split_digits, "--out", out, "--size", "64", "--ladder", ladder, before=limited(size))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 5, said
    assert "no space left while writing" in said
    assert "free some space" in said
    assert "Traceback" not in said
    assert {name: contents(out / name) for name in kept} == before
    assert {path.name for path in out.iterdir()} == {*FILES, ".lock"}
    assert visum.verify(out).passed


def contents(path: Path) -> object:
    """The bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.read_bytes()
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}
