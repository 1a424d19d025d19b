"""Monitoring from end to end: the reference in a bundle, folders, tables, feedback, the page, the command line, bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from visum.errors import BundleError, DataError, NotEnoughData, UsageError, VisumError
from visum.judge.drift import concept
from visum.models import predict as running
from visum.serve import feedback
from visum.ship import bundle as bundles
from visum.types import Bundle, Manifest, in_split, network_weights, probabilities, rows
from visum.workflow import incoming
from visum.workflow import reference as references
from visum.workflow.monitor import Monitoring, monitor
from visum.workflow.outcome import Run
from workflow.helping import child


@pytest.fixture(scope="module")
def stream(split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test digits as a table of three days, the last of them blurred; a third has labels."""
    root = tmp_path_factory.mktemp("stream")
    paths = sorted((split_digits / "test").rglob("*.png"), key=lambda each: each.name)
    with (root / "new.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "time"))
        for number, path in enumerate(paths):
            day = number * 3 // len(paths)
            image = Image.open(path)
            (image.filter(ImageFilter.GaussianBlur(1.5)) if day == 2 else image).save(root / path.name)
            label = path.parent.name if number % 3 == 0 else ""
            writer.writerow((path.name, label, f"2026-11-{20 + day}T12:00:00Z"))
    return root / "new.csv"


@pytest.fixture(scope="module")
def watched(run: Run, stream: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Monitoring, Path]:
    out = tmp_path_factory.mktemp("monitored") / "seen"
    return monitor(run.folder, stream, window="1d", out=out), out


def test_a_bundle_carries_its_validation_pictures_as_a_reference(run: Run) -> None:
    bundle = bundles.read(run.folder)
    table = Manifest.load(run.folder / "manifest.parquet")
    held = rows(table, in_split(table, "validation"))
    found = references.of(bundle)
    assert bundle.notes["drift"]["n"] == len(held) == len(found.sample)
    assert sorted(found.sample.labels) == sorted(label[0] for label in held.labels)
    assert bundle.notes["drift"]["features"] == "embeddings"
    seen, said = references.features(held, running.Model(bundle))
    points = references.project(references.arrays_of(bundle), seen)
    assert {tuple(row) for row in points} == {
        tuple(row) for row in found.sample.points
    }  # as new pictures are projected
    assert found.sample.sure.max() == pytest.approx(probabilities(said).max(), abs=1e-6)
    assert not any(name.startswith("drift.") for name in network_weights(bundle))


def test_the_reference_is_small(run: Run) -> None:
    kept = sum(v.nbytes for n, v in bundles.read(run.folder).weights.items() if n.startswith("drift."))
    assert kept < 600_000


def test_a_stream_is_judged_by_windows_and_the_blurred_day_is_found(watched: tuple[Monitoring, Path]) -> None:
    found, _ = watched
    status = [each.verdicts["covariate"].status for _, each in found.windows]
    assert status == ["quiet", "quiet", "alarm"]
    assert "covariate" in found.alarms
    assert [len(window.rows) for window, _ in found.windows] == [len(found.ids) // 3] * 3
    assert found.facts["windows"][2]["start"] == "2026-11-22T00:00:00+00:00"
    assert found.facts["labels"] == {"n": int((found.sample.labels >= 0).sum()), "from": "the column label"}


def test_what_is_written_is_json_a_page_and_a_table(watched: tuple[Monitoring, Path]) -> None:
    found, out = watched
    told = json.loads((out / "drift.json").read_text())
    assert told["alarms"] == list(found.alarms)
    assert told["drift"] is True
    assert set(told["do"]) == set(found.alarms)
    page = (out / "drift.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert told["overall"]["kinds"]["covariate"]["says"] in page.replace("&#39;", "'")
    for svg in page.split("<svg")[1:]:
        ET.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")
    table = pq.read_table(str(out / "pictures.parquet"))
    assert table["id"].to_pylist() == found.ids.tolist()
    assert set(table["window"].to_pylist()) == {0, 1, 2}


def test_a_folder_of_class_folders_is_labelled_by_them(run: Run, split_digits: Path) -> None:
    found = monitor(run.folder, split_digits / "test")
    assert (found.sample.labels >= 0).all()
    assert found.labelled == "the folders' names"
    blind = monitor(run.folder, split_digits / "test", labels="none")
    assert (blind.sample.labels == -1).all()
    assert blind.overall.verdicts["concept"].because == "no labels"


def test_labels_in_a_table_of_their_own(run: Run, stream: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(
        f"path,label\n{sorted(p.name for p in stream.parent.glob('*.png'))[0]},3\nno.png,4\n"
    )
    found = monitor(run.folder, stream, labels=str(tmp_path / "some.csv"))
    assert (found.sample.labels >= 0).sum() == 1
    assert found.labelled == "some.csv"
    (tmp_path / "none.csv").write_text("path,label\nno.png,4\n")
    with pytest.raises(DataError, match=r"none of 1 rows of .* is a picture of the data"):
        monitor(run.folder, stream, labels=str(tmp_path / "none.csv"))


def old(run: Run, tmp_path: Path) -> Path:
    """The bundle as it was before references."""
    bundle, golden = bundles.read_golden(run.folder)
    notes = {key: value for key, value in bundle.notes.items() if key != "drift"}
    weights = {name: value for name, value in bundle.weights.items() if not name.startswith("drift.")}
    bundles.write(replace(bundle, weights=weights, notes=notes), tmp_path / "old", golden)
    return tmp_path / "old"


def test_an_old_bundle_says_how_to_get_a_reference_and_takes_one_given(
    run: Run, split_digits: Path, tmp_path: Path
) -> None:
    before = old(run, tmp_path)
    with pytest.raises(BundleError, match=r"no reference to compare with.*--reference VALIDATION_DATA"):
        monitor(before, split_digits / "test")
    found = monitor(before, split_digits / "test", reference=split_digits / "train")
    assert len(found.reference.sample) >= references.LEAST
    few = tmp_path / "few"
    for path in sorted((split_digits / "train").rglob("*.png"), key=lambda each: each.name)[:40]:
        (few / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, few / path.parent.name)
    with pytest.raises(NotEnoughData, match=r"40 labelled pictures.*60 or more"):
        monitor(before, split_digits / "test", reference=few)


def test_a_classical_bundle_is_compared_by_its_descriptors_and_an_ensemble_by_its_answers(
    run: Run, split_digits: Path, tmp_path: Path
) -> None:
    from visum.workflow.ensemble import ensemble
    from visum.workflow.train import train

    classical = train(split_digits, out=tmp_path / "hog", size=64, ladder=("majority", "hog+linear_svm"))
    assert monitor(classical.folder, split_digits / "test").overall.verdicts["covariate"].status == "quiet"
    made = ensemble((run.folder, classical.folder), data=split_digits, out=tmp_path / "both")
    assert bundles.read(made.bundle).notes["drift"]["features"] == "logits"
    assert not [n for n in bundles.read(made.bundle).weights if n.startswith("members.") and ".drift." in n]
    assert monitor(made.bundle, split_digits / "test").overall.verdicts["covariate"].status in ("quiet", "alarm")


def fed(run: Run, folder: Path, wrong: float, n: int = 120) -> Path:
    """Feedback as a server writes it: answers of the validation reference, some of them called wrong."""
    found, rng = references.of(bundles.read(run.folder)), np.random.default_rng(0)
    version, names = bundles.digest(run.folder)[:12], found.classes
    kept = feedback.opened(folder)
    for number, row in enumerate(rng.integers(0, len(found.sample), n)):
        answer = names[found.sample.answers[row]]
        truth = names[found.sample.labels[row]] if rng.random() > wrong else names[(found.sample.answers[row] + 1) % 10]
        kept._rows.append(
            (1e9 + 60 * number, str(number), "m", version, truth, answer, answer, float(found.sample.sure[row]))
        )
    kept._rows.append((1e9, "x", "m", "another", "3", "3", "3", 0.9))
    kept.flush()
    return folder


def test_feedback_of_a_server_shows_concept_drift_alone(run: Run, tmp_path: Path) -> None:
    good = monitor(run.folder, fed(run, tmp_path / "good.parquet", 0.0))
    assert good.alarms == ()
    assert good.left_out == 1
    assert good.overall.verdicts["covariate"].because == "no pictures"
    bad = monitor(run.folder, fed(run, tmp_path / "bad.parquet", 0.3), window="30m", out=tmp_path / "seen")
    assert bad.alarms == ("concept",)
    assert bad.facts["sequential"]["crossed"] is not None
    assert isinstance(bad.sequential, concept.Martingale)


@pytest.mark.slow
def test_the_command_line_prints_and_exits_with_7_where_asked(run: Run, stream: Path, tmp_path: Path) -> None:
    done = child(
        "monitor", run.folder, stream, "--window", "1d", "--fail-on-drift", "--json", "--out", tmp_path / "seen"
    )
    out, _ = done.communicate(timeout=120)
    assert done.returncode == 7
    assert json.loads(out)["alarms"] == json.loads((tmp_path / "seen" / "drift.json").read_text())["alarms"]
    plain = child("monitor", run.folder, stream, "--window", "1d")
    out, _ = plain.communicate(timeout=120)
    assert plain.returncode == 0
    assert "Look at the examples" in out
    assert "2026-11-22" in out


@pytest.mark.parametrize(
    ("cells", "error", "words"),
    [
        (["yesterday"], DataError, "1 of 1 times in the column 'time' cannot be read, the first is 'yesterday'"),
        (["-5"], DataError, "cannot be read"),
        (["inf"], DataError, "cannot be read"),
    ],
)
def test_times_that_cannot_be_read(cells: list[str], error: type[VisumError], words: str) -> None:
    with pytest.raises(error, match=words):
        incoming.seconds(cells, "time")


def test_times_that_can() -> None:
    cells = ["1970-01-02", "1970-01-02T00:00:00+01:00", "60", 60.0, "1700000000000", "", None]
    found = incoming.seconds(cells, "time").tolist()
    assert found[:5] == [86400, 82800, 60, 60, 1.7e9]
    assert np.isnan(found[5:]).all()


def test_bad_input_is_refused_in_words(run: Run, split_digits: Path, stream: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((split_digits / "test").rglob("*.png"))[:5]:
        shutil.copy(path, few)
    with pytest.raises(NotEnoughData, match=r"5 pictures, too few.*20 or more"):
        monitor(run.folder, few)
    with pytest.raises(UsageError, match="--window 1y"):
        monitor(run.folder, stream, window="1y")
    with pytest.raises(DataError, match=r"has no column 'when'.*path, label, time"):
        monitor(run.folder, stream, time_column="when")
    with pytest.raises(UsageError, match="--time-column time of a folder"):
        monitor(run.folder, split_digits / "test", time_column="time")
    other = tmp_path / "other"
    (other / "3").mkdir(parents=True)
    (other / "cat").mkdir()
    for number, path in enumerate(sorted((split_digits / "test").rglob("*.png"))[:30]):
        shutil.copy(path, other / ("cat" if number % 2 else "3"))
    with pytest.raises(DataError, match=r"others not: cat.*--labels none"):
        monitor(run.folder, other)
    table = stream.parent / "strange.csv"
    table.write_text("path,label\n" + "\n".join(f"{p.name},cat" for p in stream.parent.glob("*.png")))
    with pytest.raises(DataError, match="labels that are no class of the bundle: cat"):
        monitor(run.folder, table)
    os.unlink(table)  # noqa: PTH108
    with pytest.raises(DataError, match="does not exist"):
        monitor(run.folder, tmp_path / "nowhere.csv")


def test_too_few_validation_pictures_leave_a_bundle_as_it_is(run: Run) -> None:
    bundle: Bundle = bundles.read(run.folder)
    table = Manifest.load(run.folder / "manifest.parquet")
    seen, said = references.features(rows(table, np.arange(20)), running.Model(bundle))
    assert references.equip(bundle, seen, said, seen) is bundle


def test_a_reference_whose_parts_do_not_fit_is_refused(run: Run) -> None:
    bundle = bundles.read(run.folder)
    for name in ("drift.points", "drift.mean", "drift.known", "drift.labels"):
        broken = replace(bundle, weights={**bundle.weights, name: bundle.weights[name][..., 1:]})
        with pytest.raises(BundleError, match="train it again"):
            references.of(broken)
