"""Which layout a path has: told from the names in a folder and from the first bytes of a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from visum.data.decode.sniff import HEAD, KINDS, sniff
from visum.data.sources.annotations import read_json
from visum.data.sources.archives import is_archive, unpack
from visum.data.sources.classes import Found
from visum.data.sources.folders import read_folder, split_folders
from visum.data.sources.rows import path_name
from visum.data.sources.tables import TABLE_ENDINGS, Table, read_csv, read_jsonl, read_parquet
from visum.data.sources.walk import ignored, missing
from visum.data.sources.words import quoted
from visum.errors import DataError, UsageError

Rows = Callable[..., Found]
"""``rows.read_rows`` with the caller's columns filled in: (table, folder, split=) → Found."""

TABLES: Mapping[str, Callable[[str, Sequence[str]], Table]] = MappingProxyType(
    {
        "csv": read_csv,
        "tsv": read_csv,
        "txt": read_csv,
        "parquet": read_parquet,
        "jsonl": read_jsonl,
        "json": read_json,
    }
)
"""Ending → reader of (path, wanted columns): the tables that are read."""

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""What Hugging Face calls the table inside a folder of images."""

ALLOWED = "a folder of class folders, a CSV, Parquet, JSON Lines or JSON table, or a zip or tar of these"


def find(path: str, rows: Rows, *, path_column: str, group_column: str | None) -> Found:
    """What the folder or file at an absolute path holds.

    Raises:
        DataError: nothing is there, or nothing that is read.
        UsageError: a group column is named where there are no columns.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise _nothing(path, error) from error
    if stat.S_ISDIR(mode):
        return _in_folder(path, rows, path_column, group_column)
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{quoted(path)} is a pipe, socket or device", allowed=ALLOWED, next="a folder or a regular file"
        )
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise _nothing(path, error) from error
    ending = path.rpartition(".")[2].lower()
    if head.startswith(b"PAR1"):
        return rows(read_parquet(path), os.path.dirname(path))  # noqa: PTH120
    if is_archive(path):
        return _in_archive(path, rows, path_column, group_column)
    if ending in TABLES and b"\0" not in head[4:5]:
        return rows(_table(path, path_column), os.path.dirname(path))  # noqa: PTH120
    raise _strange(path, head)


def _table(path: str, path_column: str) -> Table:
    return TABLES[path.rpartition(".")[2].lower()](path, (path_column, "file_name"))


def _nothing(path: str, error: Exception) -> DataError:
    if isinstance(error, PermissionError):
        return DataError(f"{quoted(path)} may not be read", allowed=ALLOWED, next="other permissions, or another path")
    return missing(path, ALLOWED)


def _strange(path: str, head: bytes) -> DataError:
    kind = sniff(head)
    if kind is None:
        what = "of a kind that is not known" if head else "empty"
    else:
        what = KINDS.get(kind, f"a single picture ({kind})")
    return DataError(
        f"{quoted(path)} is {what}",
        allowed=ALLOWED,
        next="visum predict BUNDLE FILE for one picture"
        if kind and kind not in KINDS
        else "its name with the right ending",
    )


def _in_folder(root: str, rows: Rows, path_column: str, group_column: str | None) -> Found:
    """Hugging Face's metadata if there is some, else class folders."""
    try:
        tops = sorted(os.listdir(root))  # noqa: PTH208
    except OSError as error:
        raise _nothing(root, error) from error
    here = next((name for name in METADATA if name in tops), None)
    if here:
        return rows(_table(f"{root}/{here}", path_column), root)
    with_metadata = [top for top in tops if any(os.path.isfile(f"{root}/{top}/{name}") for name in METADATA)]  # noqa: PTH113
    if splits := split_folders(with_metadata):
        return _joined(
            root, {top: _in_split(f"{root}/{top}", split, rows, path_column) for top, split in splits.items()}
        )
    if group_column is not None:
        raise UsageError(
            f"group column {quoted(group_column)}, but {quoted(root)} is a folder of class folders",
            allowed="--group-column with tables, --group-regex with folders",
            next=r"--group-regex '([^/_]+)_[^/]*$' for patient7_003.png",
        )
    return read_folder(root)


def _in_split(folder: str, split: str, rows: Rows, path_column: str) -> Found:
    name = next(name for name in METADATA if os.path.isfile(f"{folder}/{name}"))  # noqa: PTH113
    return rows(_table(f"{folder}/{name}", path_column), folder, split=split)


def _joined(root: str, parts: Mapping[str, Found]) -> Found:
    """Split folders, each with its own table, as one."""
    return Found(
        root,
        [f"{top}/{path}" for top, part in parts.items() for path in part.paths],
        [label for part in parts.values() for label in part.labels],
        [split for part in parts.values() for split in part.splits],
        [group for part in parts.values() for group in part.groups],
        any(part.several for part in parts.values()),
        tuple(
            replace(each, ids=tuple(f"{top}/{name}" for name in each.ids))
            for top, part in parts.items()
            for each in part.findings
        ),
    )


def _in_archive(path: str, rows: Rows, path_column: str, group_column: str | None) -> Found:
    """What the unpacked folder holds, in words that name the archive, which people know, and not the cache."""
    root = unpack(path)
    try:
        found = _unpacked(root, rows, path_column, group_column)
    except DataError as error:
        raise DataError(error.got.replace(root, path), allowed=error.allowed, next=error.next) from error
    findings = tuple(replace(each, message=each.message.replace(root, path)) for each in found.findings)
    return replace(found, findings=findings)


def _unpacked(root: str, rows: Rows, path_column: str, group_column: str | None) -> Found:
    """What the one table at the top says if it names paths, else what the folder holds."""
    table = _only_table(root, path_column)
    if table is not None and path_name(table, path_column) in table.columns:
        return rows(table, root)
    found = None
    try:
        found = _in_folder(root, rows, path_column, group_column)
    except DataError:
        if table is None:
            raise
    if found is None or (table is not None and len(set(found.labels)) == 1):
        return rows(table, root)  # to hear what is missing in it
    return found


def _only_table(root: str, path_column: str) -> Table | None:
    names = [name for name in sorted(os.listdir(root)) if name.rpartition(".")[2].lower() in TABLE_ENDINGS]  # noqa: PTH208
    if len(names) != 1 or ignored(names[0]) or names[0] in METADATA:
        return None
    try:
        return _table(f"{root}/{names[0]}", path_column)
    except DataError:
        return None
