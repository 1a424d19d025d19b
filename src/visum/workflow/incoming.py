"""What ``visum monitor`` is given: new pictures with or without labels and times, or what clients fed back to a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.data import sources
from visum.data.sources import places
from visum.data.sources.layouts import TABLES
from visum.errors import DataError, UsageError
from visum.types import Bundle, Column, Floats, Integers, Manifest, column, manifest

FEEDBACK = ("time", "id", "model", "version", "label", "answer", "top", "probability")
"""Columns of ``serve.feedback``."""
TIMES = "2026-11-25T13:00:00Z, 2026-11-25, or seconds since 1970"
NONE = "none"
"""Given as labels: look at no label, wherever the data has some."""


@dataclass(frozen=True, eq=False)
class Incoming:
    """New pictures.

    Attributes:
        table: task and classes of the bundle; labels where some are known.
        times: float64 ``[N]``, seconds since 1970; NaN where unknown.
        labelled: where the labels come from, in words; "" for nowhere.
        timed: where the times come from; "" for nowhere.
    """

    table: Manifest
    times: NDArray[np.float64]
    labelled: str
    timed: str


@dataclass(frozen=True, eq=False)
class Feedback:
    """What clients said of answers: no pictures.

    Attributes:
        ids: str ``[N]``.
        times: float64 ``[N]``, seconds since 1970.
        labels, answers: int64 ``[N]``.
        sure: float32 ``[N]``, calibrated probability of each answer.
        left_out: rows of other versions or of classes that the bundle has not.
    """

    ids: Column
    times: NDArray[np.float64]
    labels: Integers
    answers: Integers
    sure: Floats
    left_out: int


def read(
    data: Path, bundle: Bundle, labels: str | None, time_column: str | None, path_column: str, label_column: str
) -> Incoming:
    """New pictures of a folder or a table.

    Args:
        data: folder of pictures, labelled by its sub-folders if all of these are classes; or a table of paths.
        bundle: whose classes labels are.
        labels: None: those that the data has; ``none``; or a table of paths and labels.
        time_column: of the table; None: ``time`` if it has one, else the files' own times.

    Raises:
        DataError: nothing there, labels that are no classes of the bundle, or times that cannot be read.
        UsageError: a time column for a folder.
    """
    path = os.path.abspath(os.fspath(data))  # noqa: PTH100 - text throughout, as in data.sources
    if os.path.isdir(path):  # noqa: PTH112
        if time_column is not None:
            raise UsageError(
                f"--time-column {time_column} of a folder",
                allowed="a table (CSV, Parquet, JSON Lines) with a column of paths and one of times",
                next="leave it out: the files' own times are used",
            )
        table = sources.images([path])
        cells, times, timed = None, None, ""
        if labels is None:
            cells = _by_folder(table, bundle)
            words = "the folders' names" if cells else ""
    else:
        root, paths, cells, times = _rows(path, time_column, path_column, label_column)
        table = manifest(root, bundle.task, bundle.classes, paths, [()] * len(paths))
        timed = f"the column {time_column or 'time'}" if times is not None else ""
        cells = cells if labels is None else None
        words = f"the column {label_column}" if cells else ""
    if labels not in (None, NONE):
        cells, words = _beside(Path(str(labels)), table, path_column, label_column), Path(str(labels)).name
    numbers = _numbers(cells, bundle) if cells else [()] * len(table)
    if times is None:
        times, timed = _of_files(table), "the files' own times"
    filled = manifest(table.root, bundle.task, bundle.classes, table.paths.tolist(), numbers)
    return Incoming(filled, times, words if cells else "", timed)


def _by_folder(table: Manifest, bundle: Bundle) -> list[str | None] | None:
    """Labels by the names of top folders, if all pictures lie in folders called like classes."""
    tops = [name.split("/", 1)[0] if "/" in name else "" for name in table.ids]
    known = set(tops) & set(bundle.classes)
    if not known:
        return None
    if strange := sorted(set(tops) - set(bundle.classes)):
        raise DataError(
            f"some folders are called like classes of the bundle, others not: {', '.join(strange[:5]) or 'no folder'}",
            allowed=f"folders called {_listed(bundle.classes)}, or none of them",
            next="--labels none, to look at the pictures alone",
        )
    return list(tops)


def _rows(
    path: str, time_column: str | None, path_column: str, label_column: str
) -> tuple[str, list[str], list[str | None] | None, NDArray[np.float64] | None]:
    """Folder, paths below it, labels and times of a table's rows whose files are there."""
    ending = path.rpartition(".")[2].lower()
    if ending not in TABLES or not os.path.isfile(path):  # noqa: PTH113
        raise DataError(
            f"{path} is no folder and no table" if os.path.lexists(path) else f"{path} does not exist",
            allowed=f"a folder of pictures, or a table: {', '.join(TABLES)}",
            next="another DATA",
        )
    found = TABLES[ending](path, (path_column, "file_name"))
    name = path_column if path_column in found.columns else "file_name"
    if name not in found.columns:
        raise DataError(
            f"{path} has no column {path_column!r}",
            allowed=_listed(tuple(found.columns)),
            next="--path-column NAME",
        )
    folder = os.path.dirname(path)  # noqa: PTH120
    located = places.locate(folder, [str(cell or "") for cell in found.columns[name]])
    kept = [row for row, (_, why) in enumerate(located) if not why]
    if not kept:
        raise DataError(f"no path of {path} leads to a file in {folder}", next="paths below the table's own folder")
    labels = found.columns.get(label_column)
    cells = None if labels is None else [None if labels[row] in (None, "") else str(labels[row]) for row in kept]
    times = None
    wanted = time_column or "time"
    if wanted in found.columns or wanted in found.odd:
        raw = found.columns.get(wanted) or _dates(path, wanted)
        times = seconds([raw[row] for row in kept], wanted)
    elif time_column is not None:
        raise DataError(
            f"{path} has no column {time_column!r}", allowed=_listed(tuple(found.columns)), next="--time-column NAME"
        )
    return folder, [located[row][0] for row in kept], cells, times


def _dates(path: str, name: str) -> list[Any]:
    """A column of dates of a Parquet file, which ``tables`` does not build."""
    import pyarrow.parquet as pq

    return list(pq.read_table(path, columns=[name])[name].to_pylist())


def seconds(cells: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Times as seconds since 1970, float64 ``[N]``; empty cells are NaN.

    Args:
        cells: ISO 8601 text (without a zone: UTC), dates, or numbers: seconds, or milliseconds from 1e11 on.

    Raises:
        DataError: how many cannot be read, and the first.
    """
    out, bad = np.full(len(cells), np.nan), []
    for row, cell in enumerate(cells):
        try:
            out[row] = _second(cell)
        except (ValueError, OverflowError):
            bad.append(str(cell)[:40])
    if bad:
        raise DataError(
            f"{len(bad):,} of {len(cells):,} times in the column {name!r} cannot be read, the first is {bad[0]!r}",
            allowed=TIMES,
            next="correct them, or another --time-column",
        )
    return out


def _second(cell: Any) -> float:
    if cell is None or cell == "":
        return float("nan")
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day, tzinfo=UTC).timestamp()
    try:
        number = float(cell)
    except ValueError:
        return _second(datetime.fromisoformat(str(cell).strip()))
    if not np.isfinite(number) or number < 0:
        raise ValueError(cell)
    return number / 1000 if number >= 1e11 else number


def _of_files(table: Manifest) -> NDArray[np.float64]:
    out = np.full(len(table), np.nan)
    for row, path in enumerate(table.paths):
        try:
            out[row] = Path(table.root, path).stat().st_mtime
        except OSError:
            continue
    return out


def _beside(path: Path, table: Manifest, path_column: str, label_column: str) -> list[str | None]:
    """Labels of a table of its own: paths as in the data, or from the table's own folder."""
    ending = path.name.rpartition(".")[2].lower()
    if ending not in TABLES or not path.is_file():
        raise DataError(f"--labels {path} is no table that can be read", allowed=f"{', '.join(TABLES)}, or none")
    found = TABLES[ending](str(path), (path_column, label_column))
    name = next((each for each in (path_column, "file_name", "id") if each in found.columns), path_column)
    for each in (name, label_column):
        if each not in found.columns:
            raise DataError(
                f"{path} has no column {each!r}", allowed=_listed(tuple(found.columns)), next="--label-column NAME"
            )
    at = {os.path.normpath(os.path.join(table.root, p)): row for row, p in enumerate(table.paths)}  # noqa: PTH118
    out: list[str | None] = [None] * len(table)
    met = 0
    for cell, label in zip(found.columns[name], found.columns[label_column], strict=True):
        for base in (table.root, os.path.abspath(path.parent)):  # noqa: PTH100
            row = at.get(os.path.normpath(os.path.join(base, str(cell))))  # noqa: PTH118
            if row is not None and label not in (None, ""):
                out[row] = str(label)
                met += 1
                break
    if not met:
        raise DataError(
            f"none of {len(found):,} rows of {path} is a picture of the data",
            allowed="paths as they stand in the data, with a label each",
            next=f"paths such as {table.ids[0]}",
        )
    return out


def _numbers(cells: Sequence[str | None], bundle: Bundle) -> list[tuple[int, ...]]:
    """Class numbers of labels.

    Raises:
        DataError: names that the bundle has not, all of them.
    """
    at = {name: k for k, name in enumerate(bundle.classes)}
    split = [
        () if cell is None else tuple(cell.split("|")) if bundle.task == "multilabel" else (cell,) for cell in cells
    ]
    strange = sorted({name for names in split for name in names if name not in at})
    if strange:
        raise DataError(
            f"labels that are no class of the bundle: {', '.join(strange[:5])}"
            + (f" and {len(strange) - 5} more" if len(strange) > 5 else ""),
            allowed=_listed(bundle.classes),
            next="correct them, or --labels none",
        )
    return [tuple(sorted(at[name] for name in names)) for names in split]


def feedback(data: Path, bundle: Bundle, version: str) -> Feedback | None:
    """What a server was told, if ``data`` is that: a Parquet file or a folder of parts with the columns ``FEEDBACK``; else None.

    Args:
        version: of the bundle, as a server names it: rows of other versions are left out if any are of this one.

    Raises:
        DataError: damaged, or no row that speaks of the bundle's classes.
    """
    parts = sorted(data.glob("part-*.parquet")) if data.is_dir() else [data] if data.suffix == ".parquet" else []
    if not parts or not data.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not set(FEEDBACK) <= set(pq.read_schema(parts[0]).names):
            return None
        rows = pa.concat_tables([pq.read_table(part, columns=list(FEEDBACK)) for part in parts]).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{data} is no feedback that can be read: {str(error)[:200]}", next="another DATA") from error
    at = {name: k for k, name in enumerate(bundle.classes)}
    mine = {row for row, each in enumerate(rows["version"]) if each == version}
    kept = [
        row
        for row in range(len(rows["id"]))
        if (not mine or row in mine) and rows["label"][row] in at and rows["answer"][row] in at
    ]
    if bundle.task == "multilabel" or not kept:
        raise DataError(
            f"no row of {data} is about an answer of this bundle",
            allowed=f"labels and answers among {_listed(bundle.classes)}, one a picture",
            next="the bundle that was served",
        )
    times = seconds([rows["time"][row] for row in kept], "time")
    order = np.argsort(times, kind="stable")
    kept = [kept[i] for i in order]
    sure = [
        rows["probability"][row] if rows["top"][row] == rows["answer"][row] else 1 - rows["probability"][row]
        for row in kept
    ]
    return Feedback(
        column([rows["id"][row] for row in kept]),
        times[order],
        np.array([at[rows["label"][row]] for row in kept], np.int64),
        np.array([at[rows["answer"][row]] for row in kept], np.int64),
        np.array(sure, np.float32),
        len(rows["id"]) - len(kept),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
