"""Four forms of the same answers: they say the same, hold little, and appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cli.conftest import Visum
from visum.cli import answers as forms
from visum.cli.answers import WRITERS, as_line, safe_cell
from visum.errors import StorageError, UsageError
from visum.workflow.outcome import Run
from visum.workflow.predict import Answer
from workflow.helping import child, limited

P = np.array([0.25, 0.75], np.float32)
GOOD = Answer("a/1.png", "dog", 0.75, (("dog", 0.75), ("cat", 0.25)), P)
BAD = Answer("a/2.png", "", 0.0, (), np.zeros(0, np.float32), "truncated JPEG: 31 of 400 rows")


def written(form: str, answers: list[Answer], folder: Path, top: int = 2) -> tuple[int, Path]:
    out = folder / f"answers.{form}"
    return WRITERS[form](iter(answers), out, top), out


def read(form: str, path: Path) -> list[dict[str, object]]:
    """id, label, p, error, classes of each answer, by a reader that is not ours."""
    if form == "csv":
        rows = pd.read_csv(path, keep_default_na=False).to_dict("records")
        return [
            {
                "id": row["id"],
                "label": row["label"],
                "p": float(row["probability"] or 0),
                "error": row["error"],
                "classes": [row[f"class{n}"] for n in (1, 2) if row[f"class{n}"]],
            }
            for row in rows
        ]
    if form == "jsonl":
        rows = pd.read_json(path, lines=True).replace({np.nan: None}).to_dict("records")
        return [
            {
                "id": row["id"],
                "label": row["label"] or "",
                "p": row["probability"] or 0.0,
                "error": row.get("error") or "",
                "classes": [name for name, _ in row["top"] or []],
            }
            for row in rows
        ]
    return [
        {
            "id": row["id"],
            "label": row["label"] or "",
            "p": row["probability"] or 0.0,
            "error": row["error"] or "",
            "classes": row["classes"],
        }
        for row in pq.read_table(path).to_pylist()
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_machines_read_back_what_was_said(form: str, tmp_path: Path) -> None:
    failed, path = written(form, [GOOD, BAD, GOOD], tmp_path)
    assert failed == 1
    good = {"id": "a/1.png", "label": "dog", "p": 0.75, "error": "", "classes": ["dog", "cat"]}
    bad = {"id": "a/2.png", "label": "", "p": 0.0, "error": BAD.error, "classes": []}
    assert read(form, path) == [good, bad, good]


@pytest.mark.parametrize("form", list(WRITERS))
def test_no_answers_are_an_empty_file_with_its_head(form: str, tmp_path: Path) -> None:
    failed, path = written(form, [], tmp_path)
    assert failed == 0
    if form == "csv":
        assert path.read_text() == "id,label,probability,error,class1,p1,class2,p2\n"
    elif form == "parquet":
        assert pq.read_table(path).num_rows == 0
    else:
        assert path.read_text() == ""


def test_people_see_bars(tmp_path: Path) -> None:
    failed, path = written("table", [GOOD, BAD], tmp_path)
    text = path.read_text()
    assert failed == 1
    assert "a/1.png\n   75.0 %  ███████████████       dog\n   25.0 %  █████                 cat\n" in text
    assert "a/2.png\n      unreadable: truncated JPEG: 31 of 400 rows" in text


@pytest.mark.parametrize("form", list(WRITERS))
def test_the_four_forms_of_a_run_agree(form: str, visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    folder = split_digits / "test" / "4"
    code, out, _ = visum("predict", run.bundle, folder, "--format", form, "--out", tmp_path / "x", "--top", "2")
    assert (code, out) == (0, "")
    import visum as library

    wanted = library.load(run.bundle).predict(folder, top=2)
    if form == "table":
        lines = (tmp_path / "x").read_text().splitlines()
        assert [line for line in lines if not line.startswith(" ")] == [answer.id for answer in wanted]
        return
    said = read(form, tmp_path / "x")
    assert [(str(row["id"]), str(row["label"])) for row in said] == [(answer.id, answer.label) for answer in wanted]
    assert [row["p"] for row in said] == pytest.approx([answer.probability for answer in wanted], abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＋1",
        "－1",
        "＠a",
        "=cmd|' /C calc'!A0",
        "\x00=1",
    ],
)
def test_no_cell_is_a_formula(text: str, tmp_path: Path) -> None:
    hostile = Answer(text, text, 0.5, ((text, 0.5),), P)
    _, path = written("csv", [hostile, Answer(text, "", 0, (), P, text)], tmp_path, top=1)
    rows = list(csv.reader(io.StringIO(path.read_text())))[1:]
    for cell in [*rows[0], *rows[1]]:
        assert not re.match(r"[=+@＝＋－＠\t\r\n]|-[^\d]", cell), cell
    assert safe_cell(text) != text


@pytest.mark.parametrize(
    "text", ["1.png", "a-b.png", "übung.png", "a=b", "", "猫.jpg", "two\nlines", 'say "hi", twice']
)
def test_harmless_cells_stay_as_they_are(text: str, tmp_path: Path) -> None:
    assert safe_cell(text) == text
    _, path = written("csv", [Answer(text, "dog", 0.5, (), P)], tmp_path)
    assert list(csv.reader(io.StringIO(path.read_text())))[1][0] == text


def test_json_lines_escape_what_moves_a_cursor_and_keep_letters() -> None:
    odd = "\x1b[31m\x7f\x9b2J\u2028\udce9 é 猫 \U0001f431"
    line = as_line({"id": odd})
    assert json.loads(line) == {"id": odd}
    assert "é 猫 \U0001f431" in line
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\ud800-\udfff]", line)
    line.encode()


# ---- files that appear whole


def endless(broken_at: int) -> Iterator[Answer]:
    for number in range(broken_at):
        yield Answer(f"{number}.png", "dog", 0.75, (("dog", 0.75),), P)
    raise RuntimeError("the machine stops here")


@pytest.mark.parametrize("form", list(WRITERS))
def test_a_file_appears_whole_or_not_at_all(form: str, tmp_path: Path) -> None:
    out = tmp_path / "answers"
    out.write_text("old")
    with pytest.raises(RuntimeError):
        WRITERS[form](endless(10_000), out, 1)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]
    WRITERS[form]([GOOD], out, 1)
    assert out.read_bytes() != b"old"
    assert out.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("form", list(WRITERS))
def test_memory_does_not_grow_with_the_answers(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "ROWS", 256)

    def many(count: int) -> Iterator[Answer]:
        return (Answer(f"{number:080}.png", "dog", 0.75, (("dog", 0.75),), P) for number in range(count))

    WRITERS[form](many(10), tmp_path / "warm", 1)
    peaks = []
    for count in (1_000, 8_000):
        tracemalloc.start()
        WRITERS[form](many(count), tmp_path / "answers", 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "answers").stat().st_size > (30_000 if form == "parquet" else 800_000)
    assert peaks[1] < peaks[0] + 200_000


@pytest.mark.parametrize("form", list(WRITERS))
def test_an_output_that_cannot_be_written(form: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*another --out"):
        WRITERS[form]([GOOD], tmp_path / "file" / "below", 1)
    with pytest.raises(UsageError, match="is a folder"):
        WRITERS[form]([GOOD], tmp_path, 1)


def test_a_device_is_filled_and_not_replaced() -> None:
    null = Path("/dev/null")
    for form in ("table", "csv", "jsonl"):
        WRITERS[form]([GOOD], null, 1)
    assert null.is_char_device()


def test_parquet_needs_a_file() -> None:
    with pytest.raises(UsageError, match=r"--out FILE\.parquet"):
        WRITERS["parquet"]([GOOD], None, 1)


def test_a_name_is_one_line_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    odd = [replace(GOOD, id="a\nb\x1b[31m.png", top=(("do\ng", 0.75),)), replace(BAD, id="c\nd.png")]
    WRITERS["table"](iter(odd), None, 2)
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == [
        "a�b�[31m.png",
        "c�d.png",
    ]


def test_a_full_disk_names_the_file_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(60):
        (tmp_path / "pictures" / f"{'x' * 150}{number}.png").write_bytes(b"no picture")
    out = tmp_path / "out" / "answers.csv"
    process = child(
        "predict", run.bundle, tmp_path / "pictures", "--format", "csv", "--out", out, before=limited(4_000)
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert f"no space left while writing {out}" in said
    assert list(out.parent.iterdir()) == []
