"""What the columns of a table mean: paths, labels (one, several in one cell, or one-hot), splits and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visum.data.sources import places
from visum.data.sources.classes import Found
from visum.data.sources.folders import split_of
from visum.data.sources.tables import Table
from visum.data.sources.words import clean, counted, finding, listed, meant, quoted
from visum.errors import DataError
from visum.types import Finding, Severity, Task

PATH, LABEL, SPLIT = "path", "label", "split"
"""The columns' usual names; a table with ``file_name`` (Hugging Face) may go without ``path``."""

_FLAGS: Mapping[Any, bool] = {
    0: False,
    1: True,
    "0": False,
    "1": True,
    "0.0": False,
    "1.0": True,
    "false": False,
    "true": True,
}

_REFUSALS = {
    places.OUTSIDE: (
        "path_out_of_folder",
        ("leads out of its folder", "lead out of its folder"),
        "Move the table into the folder that holds the images; absolute paths are allowed inside it",
    ),
    places.MISSING: (
        "missing_file",
        ("leads to no file", "lead to no file"),
        "Correct or delete these rows, or bring the files back",
    ),
    places.SPECIAL: (
        "special_file",
        ("leads to a folder, pipe or device", "lead to a folder, pipe or device"),
        "Correct or delete these rows",
    ),
}

_Facts = tuple[tuple[str, ...], str, str]  # labels, split, group


def read_rows(
    table: Table,
    folder: str,
    *,
    path_column: str = PATH,
    label_column: str = LABEL,
    split_column: str = SPLIT,
    group_column: str | None = None,
    delimiter: str | None = None,
    task: Task | None = None,
    split: str = "",
) -> Found:
    """The pictures that a table names.

    Args:
        table: columns of cells.
        folder: absolute; what relative paths start from, and what no path may lead out of.
        split: of rows that the table gives none.

    Raises:
        DataError: a column is missing or unusable, no path is a file, or a split has an unknown name.
    """
    path_column = path_name(table, path_column)
    cells = [cell_text(cell, strip=False) for cell in _column(table, path_column, "--path-column")]
    splits = _splits(table, split_column, split)
    groups = _groups(table, group_column)
    labels, several, notes = _labels(table, {path_column, split_column, group_column}, label_column, delimiter, task)
    located = places.locate(folder, cells)
    kept = [row for row, (_, why) in enumerate(located) if not why]
    if not kept:
        raise _no_files(table, path_column, folder, located)
    merged, doubled = _once(
        [located[row][0] for row in kept],
        [labels[row] for row in kept],
        [splits[row] for row in kept],
        [groups[row] for row in kept],
        several,
    )
    paths = list(merged)
    found = [*notes, *_refused(table, located), *doubled]
    if not paths:
        raise DataError(
            f"every path in {quoted(table.name)} is listed more than once with different labels, splits or groups",
            allowed="one row per image",
            next="--task multilabel, if an image may have several labels",
        )
    chosen = [merged[path] for path in paths]
    return Found(
        folder, paths, [c[0] for c in chosen], [c[1] for c in chosen], [c[2] for c in chosen], several, tuple(found)
    )


def path_name(table: Table, path_column: str) -> str:
    """The column of paths: as given, or ``file_name`` where ``path`` is the default that is not there."""
    if path_column == PATH and PATH not in table.columns and "file_name" in table.columns:
        return "file_name"
    return path_column


def _column(table: Table, name: str, flag: str) -> list[Any]:
    if name in table.columns:
        return table.columns[name]
    known = list(table.columns)
    if name in table.odd:
        raise DataError(
            f"the column {quoted(name)} of {quoted(table.name)} holds {table.odd[name]}",
            allowed="text, numbers, or lists of text",
            next=f"{flag} NAME, one of {listed(known)}" if known else "a table with plain columns",
        )
    raise DataError(
        f"{quoted(table.name)} has no column {quoted(name)}{meant(name, known)}",
        allowed=f"one of its columns: {listed(known, 20)}",
        next=f"{flag} NAME" if name not in (PATH, LABEL) else f"{flag} NAME, or a header that says {name}",
    )


def cell_text(cell: Any, *, strip: bool = True) -> str:
    """A cell as a name: whole floats without their ``.0``, since tables with gaps turn 3 into 3.0; NaN as nothing."""
    if isinstance(cell, str):
        return cell.strip() if strip else cell
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _splits(table: Table, name: str, split: str) -> list[str]:
    if name not in table.columns and name == SPLIT:
        return [split] * len(table)
    known: dict[str, str] = {"": split}
    out = []
    for cell in _column(table, name, "--split-column"):
        text = cell_text(cell)
        if text not in known:
            known[text] = split_of(text)
        out.append(known[text])
    unknown = [text for text, found in known.items() if text and not found]
    if unknown:
        raise DataError(
            f"the column {quoted(name)} of {quoted(table.name)} names splits that are not known: {listed(unknown)}",
            allowed="train, validation (val, valid, dev), test, or nothing, in any case",
            next="other words in this column, or --split-column NAME for another one",
        )
    return out


def _groups(table: Table, name: str | None) -> list[str]:
    if name is None:
        return [""] * len(table)
    return [clean(cell_text(cell)) for cell in _column(table, name, "--group-column")]


def _labels(
    table: Table, taken: set[str | None], name: str, delimiter: str | None, task: Task | None
) -> tuple[list[tuple[str, ...]], bool, list[Finding]]:
    """Names of each row's classes, whether there may be several, and what was assumed."""
    if name == LABEL and LABEL not in table.columns and LABEL not in table.odd:
        return (*_one_hot(table, taken), [])
    cells = _column(table, name, "--label-column")
    several = any(isinstance(cell, list) for cell in cells)
    notes: list[Finding] = []
    if delimiter is None and not several and task not in ("binary", "multiclass"):
        delimiter, notes = _recognised({cell_text(cell) for cell in cells}, task)
    names: dict[str, tuple[str, ...]] = {}
    out = []
    for cell in cells:
        if isinstance(cell, list):
            out.append(_names(cell))
            continue
        text = cell_text(cell)
        if text not in names:
            names[text] = _names(text.split(delimiter) if delimiter else [text])
        out.append(names[text])
    return out, several or delimiter is not None or task == "multilabel", notes


def _names(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts if (name := clean(part.strip()))))


def _recognised(texts: set[str], task: Task | None) -> tuple[str | None, list[Finding]]:
    """What separates labels in some cells; a comma only if several labels are asked for, since names may hold one."""
    for each in "|;," if task == "multilabel" else "|;":
        examples = sorted(text for text in texts if each in text)
        if examples:
            message = (
                f"Labels are taken apart at “{each}”, as in {quoted(examples[0])}, so that an image may have several. "
                "If it is part of a name, say --task multiclass."
            )
            return each, [finding("labels_split", "info", message)]
    return None, []


def _one_hot(table: Table, taken: set[str | None]) -> tuple[list[tuple[str, ...]], bool]:
    """Labels of a table without a label column, whose other columns are all 0 or 1."""
    others = [name for name in (*table.columns, *table.odd) if name not in taken]
    flags = {name: [_flag(cell) for cell in table.columns.get(name, [None])] for name in others}
    stranger = next((name for name in others if None in flags[name]), None)
    if len(others) < 2 or stranger is not None:
        why = (
            f"; nor is it one-hot, since {quoted(stranger)} is not 0 or 1 throughout" if stranger and others[1:] else ""
        )
        raise DataError(
            f"{quoted(table.name)} has no column {quoted(LABEL)}{meant(LABEL, others) or why}",
            allowed="a column of labels, or one column of 0 and 1 for each of at least two classes",
            next=f"--label-column NAME, one of {listed(others, 20)}" if others else "a table with labels",
        )
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    out = []
    for row in zip(*flags.values(), strict=True):
        label = tuple(name for name, flag in zip(others, row, strict=True) if flag)
        out.append(known.setdefault(label, label))
    return out, True


def _flag(cell: Any) -> bool | None:
    return None if isinstance(cell, list) else _FLAGS.get(cell.strip().lower() if isinstance(cell, str) else cell)


def _once(
    paths: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    splits: Sequence[str],
    groups: Sequence[str],
    several: bool,
) -> tuple[dict[str, _Facts], list[Finding]]:
    """Each path once. Rows that say the same count once; rows that contradict each other are all left out, since either
    may be wrong; where several labels are allowed, rows that differ in the label alone add up."""
    rows: dict[str, _Facts] = {}
    repeated: dict[str, None] = {}
    torn: dict[str, None] = {}
    for path, label, split, group in zip(paths, labels, splits, groups, strict=True):
        new = (label, split, group)
        before = rows.setdefault(path, new)
        if before is new:
            continue
        if before == new:
            repeated[path] = None
        elif several and before[1:] == (split, group):
            rows[path] = (tuple(dict.fromkeys((*before[0], *label))), split, group)
        else:
            torn[path] = None
    for path in torn:
        del rows[path]
    found = []
    if repeated:
        message = f"{counted(len(repeated), 'image')} listed more than once with the same facts: counted once."
        found.append(finding("repeated_row", "info", message, list(repeated), images=len(repeated)))
    if torn:
        message = (
            f"{counted(len(torn), 'image')} listed more than once with different labels, splits or groups: left out, since "
            "either row may be wrong. Keep the right row of each, or say --task multilabel if an image may have several labels."
        )
        found.append(finding("contradicting_rows", "serious", message, list(torn), images=len(torn)))
    return rows, found


def _refused(table: Table, located: Sequence[tuple[str, str]]) -> list[Finding]:
    """Rows that were left out, by reason."""
    out = []
    for why, (kind, (one, many), advice) in _REFUSALS.items():
        cells = list(dict.fromkeys(cell for cell, reason in located if reason == why))
        if cells:
            share, what = len(cells) / len(located), one if len(cells) == 1 else many
            message = f"{counted(len(cells), 'path')} of {quoted(table.name)} {what}: left out. {advice}."
            severity: Severity = "serious" if share >= 0.05 else "warning"
            out.append(finding(kind, severity, message, cells, rows=len(cells), share=share))
    return out


def _no_files(table: Table, name: str, folder: str, located: Sequence[tuple[str, str]]) -> DataError:
    """Not one path is a file that may be read: say with an example where it was looked for."""
    cell, why = next(((cell, why) for cell, why in located if cell), ("", places.MISSING))
    head = f"none of {counted(len(located), 'path')} in the column {quoted(name)} of {quoted(table.name)} "
    if why == places.OUTSIDE:
        return DataError(
            head + f"may be read: {quoted(cell)} leads out of the folder {quoted(folder)}",
            allowed="paths relative to the table's folder, or absolute ones inside it",
            next="move the table into the folder that holds the images",
        )
    tried = cell if cell.startswith("/") else f"{folder}/{cell}"
    return DataError(
        head + (f"is a file: {quoted(cell)} was looked for at {quoted(tried)}" if cell else "is filled"),
        allowed="paths relative to the table's folder, with the endings of the files",
        next=f"--path-column NAME, one of {listed(list(table.columns), 20)}, or the table beside its images",
    )
