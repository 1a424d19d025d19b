"""Every command as a newcomer and as a machine meets it: results, exit codes, and errors that say what to type next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import visum as library
from cli.conftest import Visum
from visum.workflow.outcome import Run
from workflow.helping import MAIN, child, until

QUICK = ("--size", "64", "--ladder", "majority,hog+linear_svm")


def one(text: str) -> Any:
    """The one JSON document that a text is."""
    assert text.count("\n") == 1
    return json.loads(text)


# ---- what works


def test_train_prints_the_ladder_the_scores_and_what_to_type_next(
    visum: Visum, split_digits: Path, tmp_path: Path
) -> None:
    code, out, err = visum("train", split_digits, "--out", tmp_path / "run", *QUICK)
    assert code == 0
    for part in (
        "Ladder, on validation images",
        "→ hog+linear_svm",
        "test images it has never seen",
        "accuracy",
        "% to",
    ):
        assert part in out
    assert f"report  {tmp_path / 'run' / 'report.html'}" in out
    assert out.rstrip().endswith(f"Next: visum predict {tmp_path / 'run' / 'bundle'} YOUR_PHOTOS")
    stages = [line.split("  ")[0] for line in err.splitlines()]
    assert stages[:3] == ["read", "plan", "decode"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"].startswith(f"visum train {split_digits}")


def test_train_as_json_is_one_document(visum: Visum, split_digits: Path, tmp_path: Path) -> None:
    code, out, _ = visum("train", split_digits, "--out", tmp_path / "run", *QUICK, "--json")
    assert code == 0
    said = one(out)
    assert said["chosen"] == "hog+linear_svm"
    assert said["scores"]["accuracy"]["n"] == 75
    assert Path(said["report"]).is_file()


def test_audit(visum: Visum, split_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(split_digits / "train", tmp_path / "data")
    shutil.copy(next((tmp_path / "data" / "1").iterdir()), tmp_path / "data" / "2" / "copy.png")
    code, out, _ = visum("audit", tmp_path / "data", "--size", "64")
    assert code == 0
    assert "serious" in out
    assert "2/copy.png" in out
    code, out, _ = visum("audit", tmp_path / "data", "--size", "64", "--json")
    assert code == 0
    assert {"kind", "severity", "message", "ids", "numbers"} == set(one(out)[0])
    assert one(out)[0]["severity"] == "serious"


def test_evaluate(visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    code, out, _ = visum("evaluate", run.bundle, split_digits, "--split", "validation", "--out", tmp_path / "out")
    assert code == 0
    assert "72 images (validation)" in out
    assert "precision" in out
    assert (tmp_path / "out" / "metrics.json").is_file()
    code, out, _ = visum("evaluate", run.bundle, split_digits, "--split", "train", "--json")
    said = one(out)
    assert (code, said["split"], said["n"], said["trained_on"]) == (0, "train", 153, 153)
    assert said["metrics"]["accuracy"]["value"] > 0.9
    code, out, _ = visum("evaluate", run.bundle, split_digits, "--split", "train")
    assert "153 of these images were trained on" in out


def test_ensemble(visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    typed = ("ensemble", run.folder, run.bundle, "--data", split_digits, "--out")
    code, out, _ = visum(*typed, tmp_path / "out", "--combine", "vote")
    assert code == 0
    for part in (
        "On validation images",
        "→ majority vote",
        "majority vote, on test images",
        f"{run.folder}"[:20],
        "% to",
    ):
        assert part in out
    assert out.rstrip().endswith(f"Next: visum predict {tmp_path / 'out' / 'bundle'} YOUR_PHOTOS")
    code, out, _ = visum(*typed, tmp_path / "json", "--json")
    said = one(out)
    assert (code, said["combine"], len(said["members"]), said["test"]["accuracy"]["n"]) == (0, "probabilities", 2, 75)
    code, _, err = visum("ensemble", run.folder, "--data", split_digits, "--out", tmp_path / "no")
    assert (code, "1 bundle. Allowed: 2 to 64" in err) == (2, True)
    code, _, err = visum("ensemble", "--data", split_digits)
    assert (code, "Missing argument 'BUNDLES'" in err) == (2, True)


def test_distill_takes_the_teacher_in_front_and_every_setting_of_train(
    visum: Visum, run: Run, split_digits: Path, tmp_path: Path
) -> None:
    code, _, err = visum("distill", run.folder)
    assert (code, "Missing argument 'DATA'" in err, "visum distill TEACHER DATA" in err) == (2, True, True)
    code, out, _ = visum("distill", "--help")
    assert code == 0
    for part in ("--teacher-share", "--backbone", "--budget"):
        assert part in out
    code, _, err = visum("distill", run.folder, split_digits, "--out", tmp_path / "no", *QUICK)
    assert (code, "a teacher teaches finetune" in err) == (2, True)


def test_verify_exits_4_where_answers_differ(
    visum: Visum, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, _ = visum("verify", run.folder)
    assert code == 0
    assert "All 8 golden images are answered as when the bundle was made" in out
    code, out, _ = visum("verify", run.folder, "--json")
    assert (code, one(out)["passed"], len(one(out)["rows"])) == (0, True, 8)
    from visum.workflow import verify as story

    monkeypatch.setattr(story, "probabilities", lambda said: 1 - library.probabilities(said))
    code, out, _ = visum("verify", run.folder)
    assert code == 4
    assert "WRONG" in out
    code, out, _ = visum("verify", run.folder, "--json")
    assert (code, one(out)["passed"]) == (4, False)


def test_doctor_shows_what_a_model_sees(visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    path = next((split_digits / "test" / "3").iterdir())
    code, out, _ = visum("doctor", path, "--bundle", run.bundle, "--out", tmp_path / "seen.png")
    assert code == 0
    assert "PNG, 8 x 8" in out
    assert "1. enlarged to 64 x 64" in out
    assert "float32 1 x 3 x 64 x 64" in out
    assert (tmp_path / "seen.png").is_file()
    code, out, _ = visum("doctor", path, "--size", "64", "--out", tmp_path / "seen.png", "--json")
    assert (code, one(out)["shape"]) == (0, [1, 3, 64, 64])


def test_doctor_exits_1_where_something_is_not_well(visum: Visum, monkeypatch: pytest.MonkeyPatch) -> None:
    from visum.workflow import doctor as story

    for well, wanted in ((True, 0), (False, 1)):
        checks = (story.Check("cache", "full", well, "free some space"),)
        monkeypatch.setattr(story, "_installation", lambda checks=checks: checks)
        code, out, _ = visum("doctor")
        assert code == wanted
        assert ("✗" in out) is ("Try: free some space" in out) is not well
        code, out, _ = visum("doctor", "--json")
        assert (code, one(out)[0]["well"]) == (wanted, well)


def test_models(visum: Visum) -> None:
    code, out, _ = visum("models")
    assert code == 0
    for part in ("efficientnet_lite0", "openvino", "embedding+probe", "naive_bayes", "visum models SEARCH"):
        assert part in out
    code, out, _ = visum("models", "--json")
    assert (code, one(out)["packaged"][0][0]) == (0, "efficientnet_lite0")


@pytest.mark.slow
def test_models_by_part_of_their_name(visum: Visum) -> None:
    code, out, _ = visum("models", "mobilenetv3_small", "--json")
    assert code == 0
    assert any("mobilenetv3_small" in name for name in one(out)["architectures"])
    code, out, _ = visum("models", "mobilenetv3_small")
    assert "architectures with 'mobilenetv3_small'" in out


def test_version_and_help(visum: Visum) -> None:
    assert visum("--version") == (0, f"{library.__version__}\n", "")
    help_text = visum("--help").out
    assert visum().out == help_text
    assert visum("-h").out == help_text
    order = [
        help_text.index(f"\n  {name} ")
        for name in ("train", "audit", "evaluate", "predict", "verify", "doctor", "models")
    ]
    assert order == sorted(order)
    for name in ("train", "predict"):
        code, out, _ = visum(name, "--help")
        assert code == 0
        assert "--engine" in out


# ---- what does not work: got, allowed, next

Case = tuple[tuple[object, ...], int, tuple[str, ...]]
TYPED: list[Case] = [
    (
        ("trian", "DATA"),
        2,
        ("No such command 'trian'", "Did you mean 'train'?", "train, audit, evaluate", "Try: visum --help"),
    ),
    (("dance",), 2, ("No such command 'dance'", "train, audit, evaluate, predict", "visum --help")),
    (
        ("train", "DATA", "--outt", "x"),
        2,
        ("No such option: --outt", "Did you mean --out", "--budget", "visum train --help"),
    ),
    (("predict", "RUN", "X", "--tpo", "3"), 2, ("--tpo", "Did you mean --top", "visum predict --help")),
    (("train",), 2, ("Missing argument 'DATA'", "visum train DATA", "visum train --help")),
    (("predict", "RUN"), 2, ("Missing argument 'FILES'", "visum predict BUNDLE FILES", "visum predict --help")),
    (("train", "DATA", "more"), 2, ("unexpected extra argument", "more", "visum train --help")),
    (("train", "DATA", "--out"), 2, ("--out", "requires an argument", "visum train --help")),
    (("predict", "RUN", "X", "--top", "few"), 2, ("--top", "integer", "visum predict --help")),
    (("predict", "RUN", "X", "--top", "0"), 2, ("--top 0", "1 or more", "--top 5")),
    (("predict", "RUN", "X", "--format", "xml"), 2, ("--format xml", "table, csv, jsonl, parquet", "--format csv")),
    (("predict", "RUN", "X", "--format", "parquet"), 2, ("parquet without a file", "--out FILE.parquet")),
    (("predict", "RUN", "X", "--engine", "abacus"), 2, ("'abacus'", "auto, openvino", "visum predict --help")),
    (("predict", "RUN", "X", "--extra-formats", "DOC"), 2, ("DOC", "TIFF", "visum predict --help")),
    (("train", "DATA", "--set", "sead=3"), 2, ("sead is no setting", "Did you mean seed?", "visum train --help")),
    (("train", "DATA", "--set", "seed"), 2, ("--set 'seed'", "key=value", "visum train --help")),
    (("train", "DATA", "--set", "seed=3.5"), 2, ("seed is 3.5", "a whole number", "visum train --help")),
    (("train", "DATA", "--recipe", "RECIPE"), 2, ("RECIPE, line 2: sizes is no setting", "Did you mean size?")),
    (("train", "DATA", "--recipe", "GONE"), 2, ("no such file", "a TOML file")),
    (("train", "DATA", "--budget", "soon"), 2, ("budget is 'soon'", "60s, 10m or 2h", "visum train --help")),
    (("train", "DATA", "--size", "big"), 2, ("size is 'big'", "a whole number")),
    (("train", "DATA", "--size", "9"), 2, ("size is 9", "16 to 1024 pixels")),
    (("train", "DATA", "--fractions", "1,2"), 2, ("fractions is [1, 2]", "a list of 3")),
    (("train", "DATA", "--fractions", "1,2,3"), 2, ("fractions are", "sum to 1")),
    (("train", "DATA", "--fit", "stretch"), 2, ("'stretch'", "one of pad, crop, squash")),
    (("train", "DATA", "--views", "back"), 2, ("back", "plain, mirror")),
    (("train", "DATA", "--ladder", "magic"), 2, ("'magic'", "embedding+probe", "--ladder majority,")),
    (("train", "DATA", "--ladder", "majority"), 2, ("nothing to choose", "--ladder majority,embedding+probe")),
    (("train", "DATA", "--backbone", "magic"), 4, ("'magic'", "efficientnet_lite0", "--backbone efficientnet_lite0")),
    (("train", "DATA", "--weights", "GONE"), 4, ("GONE",)),
    (
        ("evaluate", "RUN", "DATA", "--split", "exam"),
        2,
        ("'exam'", "one of train, validation, test.", "visum evaluate --help"),
    ),
    (
        ("audit", "DATA", "--fit", "no", "--seed", "x"),
        2,
        ("2 faults", "fit is 'no'", "seed is 'x'", "visum audit --help"),
    ),
    (("verify", "RUN", "--tolerance", "-1"), 2, ("tolerance -1", "above 0")),
    (("doctor", "IMAGE", "--size", "3"), 2, ("size is 3", "16 to 1024")),
    (("train", "GONE"), 3, ("nothing is at", "GONE")),
    (("train", "EMPTY"), 3, ("holds no files", "one folder per class", "Try:")),
    (("train", "ONE"), 3, ("only one class with images ('3')", "two classes or more", "one sub-folder per class")),
    (("train", "FEW"), 3, ("4 labelled images for 2 classes", "10 or more", "more images")),
    (("train", "MANY"), 3, ("one image for each of 12 classes", "three images or more of a class", "fewer classes")),
    (
        ("train", "TABLE"),
        3,
        ("none of 2 paths in the column “path”", "“cat on a mat”", "paths relative to", "--path-column"),
    ),
    (("train", "DATA", "--out", "FILE"), 5, ("is a file", "a folder, new or existing", "another --out")),
    (
        ("train", "DATA", "--out", "/proc/visum"),
        5,
        ("cannot write /proc/visum", "a folder that you may write to", "--out"),
    ),
    (
        ("train", "DATA", "--out", "FOREIGN"),
        2,
        ("holds other files", "a new, empty or visum run folder", "another --out"),
    ),
    (("predict", "RUN", "GONE"), 3, ("nothing is at", "GONE", "another path")),
    (("predict", "GONE", "IMAGE"), 4, ("GONE does not exist", "a folder with bundle.json")),
    (("verify", "EMPTY"), 4, ("has no bundle in it", "a folder with bundle.json")),
    (("evaluate", "GONE", "DATA"), 4, ("GONE does not exist",)),
    (("predict", "RUN", "IMAGE", "--out", "EMPTY"), 2, ("is a folder", "the name of a file")),
    (("doctor", "GONE"), 3, ("no such file", "another path")),
]


@pytest.fixture(scope="module")
def places(run: Run, split_digits: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("places")
    made = {name: root / name for name in ("EMPTY", "ONE", "FEW", "MANY", "FOREIGN", "FILE", "TABLE", "RECIPE", "GONE")}
    for name in ("EMPTY", "FOREIGN"):
        made[name].mkdir()
    (made["FOREIGN"] / "thesis.txt").write_text("years of work")
    made["FILE"].write_text("")
    shutil.copytree(digits / "3", made["ONE"] / "3")
    files = sorted(digits.rglob("*.png"))
    for name, classes, images in (("FEW", 2, 4), ("MANY", 14, 12)):
        for number in range(classes):
            (made[name] / f"c{number}").mkdir(parents=True)
        for number in range(images):
            shutil.copy(files[number], made[name] / f"c{number % classes}")
    made["TABLE"] = made["TABLE"].with_suffix(".csv")
    made["TABLE"].write_text("path,label\ncat on a mat,1\na dog,2\n")
    made["RECIPE"].write_text("seed = 3\nsizes = 64\n")
    return {**made, "RUN": run.folder, "DATA": split_digits, "IMAGE": files[0], "X": files[0]}


@pytest.mark.parametrize("case", TYPED, ids=lambda case: " ".join(map(str, case[0])))
def test_errors_say_what_was_got_what_is_allowed_and_what_to_type_next(
    case: Case, visum: Visum, places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, wanted, parts = case
    monkeypatch.chdir(tmp_path)
    arguments = [places.get(str(word), word) for word in typed]
    begin = time.monotonic()
    code, out, err = visum(*arguments)
    seconds = time.monotonic() - begin
    assert (code, out) == (wanted, "")
    last = err[err.index("visum: ") :]
    for part in parts:
        assert part in last, last
    assert "Traceback" not in err
    assert seconds < 2
    if "--format" in typed:  # which contradicts --json
        return
    code, out, err = visum(arguments[0], "--json", *arguments[1:])
    assert code == wanted
    said = one(out)
    assert set(said) == {"error", "kind", "exit"}
    assert said["exit"] == wanted
    for part in parts:
        assert part in said["error"]
    assert "visum: " not in err


def test_a_format_and_json_contradict_each_other(visum: Visum, places: dict[str, Path]) -> None:
    code, out, _ = visum("predict", places["RUN"], places["IMAGE"], "--format", "csv", "--json")
    assert code == 2
    assert "--format csv and --json. Allowed: one of them. Try: --json" in one(out)["error"]
    assert visum("predict", places["RUN"], places["IMAGE"], "--format", "jsonl", "--json").code == 0


def test_a_bug_is_a_traceback_for_people_and_a_document_for_machines(
    visum: Visum, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from visum.cli import main
    from visum.workflow import catalogue

    def broken(_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(catalogue, "list_models", broken)
    monkeypatch.setattr(sys, "argv", ["visum", "models", "--json"])
    with pytest.raises(ZeroDivisionError):
        main()
    assert one(capsys.readouterr().out) == {"error": "ZeroDivisionError: division by zero", "kind": "bug", "exit": 1}


def test_unreadable_images_exit_3_with_an_answer_for_all_others(
    visum: Visum, run: Run, split_digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = next((split_digits / "test" / "3").iterdir())
    code, out, err = visum("predict", run.bundle, good, tmp_path / "bad.png")
    assert code == 3
    assert "unreadable: not a picture" in out
    assert "100.0 %" in out or " %  " in out
    assert "1 image could not be read" in err
    code, out, err = visum("predict", run.bundle, good, tmp_path / "bad.png", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, len(lines), sum("error" in line for line in lines)) == (3, 2, 1)


# ---- names from strangers


def test_names_are_printed_without_what_moves_a_cursor(visum: Visum, run: Run, digits: Path, tmp_path: Path) -> None:
    name = "\x1b[31mred\x07\x9b2J\r\u202ex.png"
    shutil.copy(next((digits / "3").iterdir()), tmp_path / name)
    (tmp_path / ("bad" + name)).write_bytes(b"no")
    for form in ("table", "csv", "jsonl"):
        code, out, err = visum("predict", run.bundle, tmp_path, "--format", form)
        assert code == 3
        assert not set("\x1b\x07\x9b\r") & set(out + err), form
    code, _, err = visum("predict", tmp_path / name, tmp_path)
    assert code == 4
    assert not set("\x1b\x07\x9b\r\u202e") & set(err)
    assert "red" in err


def test_paths_that_are_no_text_work(visum: Visum, run: Run, digits: Path, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for name in ("1", "2"):
        shutil.copytree(digits / name, root / os.fsdecode(name.encode() + b"\xff"))
    code, out, err = visum("train", root, "--out", tmp_path / "out", *QUICK, "--json")
    assert code == 0, err
    assert one(out)["scores"]["accuracy"]["value"] > 0.8
    code, out, _ = visum(
        "predict", tmp_path / "out", root, "--format", "jsonl", "--out", tmp_path / os.fsdecode(b"\xff.jsonl")
    )
    assert (code, out) == (0, "")
    lines = (tmp_path / os.fsdecode(b"\xff.jsonl")).read_text().splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"1\\xff", "2\\xff"}
    code, out, _ = visum("predict", root, digits, "--json")
    assert code == 4
    assert "caf" in one(out)["error"]


# ---- pipes, full disks, signals: in processes of their own


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = f'visum() {{ {sys.executable} -c "{MAIN}main()" "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_pipe_that_closes_is_no_error(run: Run, split_digits: Path) -> None:
    for form in ("table", "jsonl"):
        done = shell(f"visum predict {run.bundle} {split_digits} --format {form} | head -1; echo ${{PIPESTATUS[0]}}")
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 2
        assert done.stdout.splitlines()[1] == "0"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_is_full_is_a_sentence(run: Run, split_digits: Path) -> None:
    done = shell(f"visum predict {run.bundle} {split_digits / 'test' / '3'} > /dev/full")
    assert done.returncode == 5
    assert "cannot write: no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_output_at_all_and_one_that_knows_no_blocks(run: Run, split_digits: Path) -> None:
    path = next((split_digits / "test" / "3").iterdir())
    closed = shell(f"visum predict {run.bundle} {path} --format csv >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    ascii_only = shell(f"visum predict {run.bundle} {path} --top 1", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (ascii_only.returncode, ascii_only.stderr) == (0, "")
    assert "####" in ascii_only.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_predict_with_their_code_and_leave_no_draft(
    number: signal.Signals, code: int, run: Run, split_digits: Path, tmp_path: Path
) -> None:
    before = f"""
import pathlib, time, visum.workflow.predict as story
real = story.Classifier.stream
def slow(self, *a, **k):
    for answer in real(self, *a, **k):
        yield answer
        pathlib.Path({str(tmp_path / "marker")!r}).touch()
        time.sleep(0.5)
story.Classifier.stream = slow
"""
    process = child("predict", run.bundle, split_digits, "--format", "csv", "--out", tmp_path / "a.csv", before=before)
    until((tmp_path / "marker").exists)
    assert any(path.suffix == ".tmp" for path in tmp_path.iterdir())
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["marker"]
