"""Answers of ``visum predict`` as a table, CSV, JSON lines or Parquet; each writer takes an iterator and keeps nothing."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from visum.cli.show import plain
from visum.storage import write_atomic
from visum.workflow.predict import Answer

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection): a quote is put before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears whole."""
    if out is None:
        yield sys.stdout
        return
    text = io.StringIO()
    yield text
    write_atomic(out, text.getvalue())


def table(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """For people: one block of lines per image."""
    failed = 0
    with _opened(out) as file:
        for answer in answers:
            if answer.error:
                failed += 1
                print(f"{plain(answer.id)}\n      unreadable: {plain(answer.error)}", file=file)
                continue
            print(plain(answer.id), file=file)
            for name, p in answer.top:
                print(f"  {100 * p:5.1f} %  {'█' * round(20 * p):<20}  {plain(name)}", file=file)
    return failed


def as_csv(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """``id, label, probability, error`` and then the top classes in pairs of columns."""
    failed = 0
    with _opened(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        pairs = [f"{what}{n}" for n in range(1, top + 1) for what in ("class", "p")]
        writer.writerow(["id", "label", "probability", "error", *pairs])
        for answer in answers:
            failed += bool(answer.error)
            cells = [cell for name, p in answer.top for cell in (safe_cell(name), f"{p:.6f}")]
            p = "" if answer.error else f"{answer.probability:.6f}"
            writer.writerow([safe_cell(answer.id), safe_cell(answer.label), p, safe_cell(answer.error), *cells])
    return failed


def as_jsonl(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """One JSON object a line: ``{"id", "label", "probability", "top": [[class, p]]}`` or ``{"id", "error"}``."""
    failed = 0
    with _opened(out) as file:
        for answer in answers:
            failed += bool(answer.error)
            said: dict[str, Any] = {"id": answer.id, "error": answer.error}
            if not answer.error:
                pairs = [[name, round(p, 6)] for name, p in answer.top]
                said = {
                    "id": answer.id,
                    "label": answer.label,
                    "probability": round(answer.probability, 6),
                    "top": pairs,
                }
            print(json.dumps(said, ensure_ascii=False), file=file)
    return failed


def as_parquet(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """Columns id, label, probability, error, classes (list), probabilities (list); needs a file to write to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from visum.errors import UsageError

    if out is None:
        raise UsageError("--format parquet without a file", allowed="--out FILE.parquet", next="--out answers.parquet")
    columns: dict[str, list[Any]] = {
        name: [] for name in ("id", "label", "probability", "error", "classes", "probabilities")
    }
    for answer in answers:
        columns["id"].append(answer.id)
        columns["label"].append(answer.label or None)
        columns["probability"].append(None if answer.error else answer.probability)
        columns["error"].append(answer.error or None)
        columns["classes"].append([name for name, _ in answer.top])
        columns["probabilities"].append([p for _, p in answer.top])
    strings, floats = pa.list_(pa.string()), pa.list_(pa.float64())
    kinds = [pa.string(), pa.string(), pa.float64(), pa.string(), strings, floats]
    blob = io.BytesIO()
    pq.write_table(pa.table(columns, pa.schema(zip(columns, kinds, strict=True))), blob, compression="zstd")
    write_atomic(out, blob.getvalue())
    return sum(error is not None for error in columns["error"])


WRITERS: dict[str, Callable[[Iterable[Answer], Path | None, int], int]] = {
    "table": table,
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}
