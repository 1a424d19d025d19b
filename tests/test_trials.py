"""Trials: over sixty odd files, each through the library, the command line and training.

Readable ones are answered and learnt from; all others are an error with its reason or a reported skip. Nothing hangs, and
nothing is lost.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import corpus
import visum
from corpus import Odd
from visum.types import Manifest, printable
from visum.workflow.outcome import Run
from visum.workflow.predict import Answer
from visum.workflow.train import train

NAMES = tuple(corpus._files())
SPECIAL = ("named pipe", "folder", "link to itself", "dangling link")
NO_PICTURES = "not_pictures"  # what is passed over for the ending of its name, and told


class Trial(NamedTuple):
    """What became of every odd file, by name."""

    odd: dict[str, Odd]
    special: dict[str, Odd]
    library: dict[str, Answer]
    line: dict[str, dict[str, Any]]
    code: int
    run: Run
    learnt: set[str]
    unreadable: dict[str, str]
    told: dict[str, set[str]]
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def trial(run: Run, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    root, seconds = tmp_path_factory.mktemp("trial"), {}
    for name in ("0", "1"):
        shutil.copytree(digits / name, root / "data" / name)
    folder = root / "data" / "odd"
    odd = {each.name: each for each in corpus.make(folder)}
    special = {each.name: each for each in corpus.make_special(folder)}

    begin = time.monotonic()
    classifier = visum.load(run.bundle)
    every = [*odd.values(), *special.values()]
    library = {each.name: classifier.predict(each.path)[0] for each in every if not each.path.is_dir()}
    seconds["library"] = time.monotonic() - begin

    begin = time.monotonic()
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(run.bundle), str(folder), "--json"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    line = {said["id"]: said for said in map(json.loads, done.stdout.decode().splitlines())}
    seconds["line"] = time.monotonic() - begin

    begin = time.monotonic()
    made = train(root / "data", out=root / "run", size=64, ladder=("majority", "hog+linear_svm"))
    seconds["train"] = time.monotonic() - begin
    facts = json.loads((made.folder / "run.json").read_text())
    told: dict[str, set[str]] = {}
    for finding in made.findings:
        for each in finding.ids:
            told.setdefault(each, set()).add(finding.kind)
    return Trial(
        odd,
        special,
        library,
        line,
        done.returncode,
        made,
        set(Manifest.load(made.folder / "manifest.parquet").ids),
        {each["id"]: each["reason"] for each in facts["data"]["unreadable"]},
        told,
        seconds,
    )


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) + len(SPECIAL) >= 55


@pytest.mark.parametrize("name", NAMES)
def test_the_library_answers_or_says_why_not(name: str, trial: Trial) -> None:
    odd, answer = trial.odd[name], trial.library[name]
    if odd.readable:
        assert answer.error == ""
        assert answer.label in "0123456789"
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
    else:
        assert odd.why in answer.error
        assert (answer.label, answer.top, answer.probability) == ("", (), 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_says_what_the_library_says(name: str, trial: Trial) -> None:
    odd, answer = trial.odd[name], trial.library[name]
    if odd.path.suffix == ".pdf":  # no name of a picture: passed over in folders, an error where it is named
        assert printable(odd.path.name) not in trial.line
        return
    said = trial.line[printable(odd.path.name)]
    if odd.readable:
        assert (said["label"], said["probability"]) == (answer.label, pytest.approx(answer.probability, abs=1e-5))
    else:
        assert said["error"] == answer.error


@pytest.mark.parametrize("name", NAMES)
def test_training_learns_from_it_or_tells(name: str, trial: Trial) -> None:
    odd = trial.odd[name]
    key = f"odd/{printable(odd.path.name)}"
    if odd.readable:
        assert key in trial.learnt
        assert key not in trial.unreadable
        return
    assert key not in trial.learnt
    if key in trial.unreadable:
        assert odd.why in trial.unreadable[key]
        assert "unreadable" in trial.told[key]
    else:
        assert NO_PICTURES in trial.told[key]


@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_no_file_blocks_nothing_and_is_told(name: str, trial: Trial) -> None:
    odd = trial.special[name]
    key = f"odd/{odd.path.name}"
    assert key not in trial.learnt
    if name != "folder":  # an empty folder has nothing to tell
        assert trial.told[key] & {"broken_link", "special_file"} or key in trial.unreadable
        assert trial.library[name].error
    assert trial.line.get(odd.path.name, {}).get("label") is None


def test_nothing_hangs_and_what_failed_is_counted(trial: Trial) -> None:
    assert all(seconds < 60 for seconds in trial.seconds.values()), trial.seconds
    assert trial.code == 3
    failed = [said for said in trial.line.values() if "error" in said]
    assert len(failed) == sum(not odd.readable for odd in trial.odd.values()) - 1  # all but the PDF
    assert trial.run.scores["accuracy"].value > 0.7


def test_names_are_escaped_where_they_are_shown(trial: Trial) -> None:
    page = trial.run.report.read_text()
    assert "<img src=x onerror" not in page
    card = (trial.run.bundle / "MODEL_CARD.md").read_text()
    assert "<img src=x onerror" not in card
    for name in ("run.json", "findings.json", "metrics.json"):
        json.loads((trial.run.folder / name).read_text())
    (trial.run.folder / "report.html").read_text().encode()


@pytest.mark.parametrize("name", ["jpeg 50 %", "huge png"])
def test_one_bad_file_alone_exits_3_with_its_reason(name: str, trial: Trial, run: Run) -> None:
    odd = trial.odd[name]
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(run.bundle), str(odd.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert odd.why in done.stdout
    assert "1 image could not be read" in done.stderr


def test_a_picture_is_one_picture_whatever_its_file_is_called(trial: Trial) -> None:
    same = ("plain jpeg", "no extension", "space and emoji", "newline in name", "leading dash", "undecodable name")
    answers = [trial.library[name].probabilities for name in (*same, "markup in name", "formula name")]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=0, atol=1e-6)
