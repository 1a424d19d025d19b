"""Answers of ``visum predict`` as a table, CSV, JSON lines or Parquet; each writer takes an iterator and keeps nothing."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from visum.cli.show import name as one_line
from visum.cli.show import plain
from visum.errors import UsageError
from visum.storage.files import explained, flows
from visum.workflow.predict import Answer

ROWS = 4096
"""Answers in one row group of a Parquet file: what is held in memory at a time."""
MORE = ("uncertainty", "set", "unknown", "unsure")
"""Attributes of an ``Answer`` that are None unless they were asked for."""
_FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")  # the last four are the full-width signs
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection: a quote is put before it) and no terminal for
    a command (control characters but the line break become ``\\xNN``, as in ids)."""
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return f"'{text}" if text.startswith(_FORMULA) else text


@contextlib.contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A sibling of ``out`` to fill, which takes its name when the block ends without an error and is gone otherwise.

    A device or a pipe is filled itself: nobody wants ``/dev/null`` replaced by a file.
    """
    with explained(out):
        if out.is_dir():
            raise UsageError(f"--out {out} is a folder", allowed="the name of a file", next=f"--out {out}/answers.csv")
        if flows(out):
            yield out
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name[:40]}.", suffix=".tmp", dir=out.parent)
        os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with explained(out):
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.chmod(0o644)
            draft.replace(out)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that grows aside and appears whole."""
    if out is None:
        if sys.stdout is not None:
            yield sys.stdout
        else:  # closed by whoever started us
            with Path(os.devnull).open("w") as nowhere:
                yield nowhere
        return
    with (
        explained(out),
        _draft(out) as draft,
        draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


def table(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """For people: one block of lines per image."""
    failed = 0
    with _opened(out) as file:
        block = "█" if "utf" in (file.encoding or "").lower() else "#"
        for answer in answers:
            if answer.error:
                failed += 1
                print(f"{one_line(answer.id)}\n      unreadable: {plain(answer.error)}", file=file)
                continue
            print(one_line(answer.id), file=file)
            if answer.unknown:
                print("  unknown: it is like nothing that was learnt", file=file)
            if answer.unsure:
                print(f"  unsure: {100 * answer.probability:.1f} % is too little for the error asked for", file=file)
            if answer.set is not None:
                print(f"  one of  {', '.join(map(one_line, answer.set)) or 'none: no class fits'}", file=file)
            if answer.uncertainty is not None:
                print(f"  passes of dropout disagree by {answer.uncertainty:.3f} nats", file=file)
            for name, p in answer.top:
                print(f"  {100 * p:5.1f} %  {block * round(20 * p):<20}  {one_line(name)}", file=file)
    return failed


def as_csv(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """``id, label, probability, error``, the top classes in pairs of columns, and those of ``MORE`` that were asked for.

    Classes of a set are joined by ``|``; ``unknown`` and ``unsure`` are yes or no.
    """
    failed = 0
    with _opened(out) as file:
        answers, more = _peeked(answers)
        writer = csv.writer(file, lineterminator="\n")
        pairs = [f"{what}{n}" for n in range(1, top + 1) for what in ("class", "p")]
        writer.writerow(["id", "label", "probability", "error", *pairs, *more])
        for answer in answers:
            failed += bool(answer.error)
            cells = [cell for name, p in answer.top for cell in (safe_cell(name), f"{p:.6f}")]
            p = "" if answer.error else f"{answer.probability:.6f}"
            row = [safe_cell(answer.id), safe_cell(answer.label), p, safe_cell(answer.error), *cells]
            if more:
                row += [""] * (4 + len(pairs) - len(row))
                row += [_cell(getattr(answer, name)) for name in more]
            writer.writerow(row)
    return failed


def _cell(value: Any) -> str:
    """What stands in a column of ``MORE``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6f}" if isinstance(value, float) else safe_cell("|".join(value))


def as_line(value: Any) -> str:
    """JSON on one line; letters stay readable, what moves a cursor or is no Unicode (bytes of a path) is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_jsonl(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """One JSON object a line: ``{"id", "label", "probability", "top": [[class, p]]}`` and what was asked for of ``MORE``, or
    ``{"id", "error"}``."""
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
                if answer.uncertainty is not None:
                    said["uncertainty"] = round(answer.uncertainty, 6)
                said |= {name: getattr(answer, name) for name in MORE[1:] if getattr(answer, name) is not None}
            print(as_line(said), file=file)
    return failed


def as_parquet(answers: Iterable[Answer], out: Path | None, top: int) -> int:
    """Columns id, label, probability, error, classes (list), probabilities (list) and ``MORE``; needs a file to write to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out is None:
        raise UsageError("--format parquet without a file", allowed="--out FILE.parquet", next="--out answers.parquet")
    strings, floats = pa.list_(pa.string()), pa.list_(pa.float64())
    kinds = [pa.string(), pa.string(), pa.float64(), pa.string(), strings, floats]
    kinds += [pa.float64(), strings, pa.bool_(), pa.bool_()]
    names = ("id", "label", "probability", "error", "classes", "probabilities", *MORE)
    schema = pa.schema(zip(names, kinds, strict=True))
    failed = 0
    with _draft(out) as draft, explained(out), pq.ParquetWriter(str(draft), schema, compression="zstd") as writer:
        for group in _groups(answers):
            failed += sum(bool(answer.error) for answer in group)
            columns = [
                [answer.id for answer in group],
                [answer.label or None for answer in group],
                [None if answer.error else answer.probability for answer in group],
                [answer.error or None for answer in group],
                [[name for name, _ in answer.top] for answer in group],
                [[p for _, p in answer.top] for answer in group],
                *([getattr(answer, name) for answer in group] for name in MORE),
            ]
            arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return failed


def _peeked(answers: Iterable[Answer]) -> tuple[Iterable[Answer], list[str]]:
    """The same answers, and what of ``MORE`` they say: one that is an error says nothing about it."""
    left, ahead = iter(answers), []
    for answer in left:
        ahead.append(answer)
        if not answer.error or len(ahead) == ROWS:
            break
    return itertools.chain(ahead, left), [name for name in MORE if ahead and getattr(ahead[-1], name) is not None]


def _groups(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """``ROWS`` answers at a time."""
    left = iter(answers)
    while group := list(itertools.islice(left, ROWS)):
        yield group


WRITERS: dict[str, Callable[[Iterable[Answer], Path | None, int], int]] = {
    "table": table,
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}
