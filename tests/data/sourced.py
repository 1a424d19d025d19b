"""Small data sets of real pictures on disk, and what a manifest says as plain rows."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from visum.data.sources import Sources, read
from visum.errors import VisumError
from visum.types import Finding, Manifest

Row = tuple[str, tuple[str, ...], str, str]


def rows(table: Manifest) -> list[Row]:
    """(id, names of its classes, split, group) of every row."""
    columns = zip(table.ids, table.labels, table.splits, table.groups, strict=True)
    return [(i, tuple(table.classes[k] for k in label), split, group) for i, label, split, group in columns]


def tops(source: Path, target: Path, layout: Iterable[str], each: int = 3) -> Path:
    """Copies of real pictures: ``each`` files from the digit that numbers a folder of ``layout`` into that folder."""
    for number, name in enumerate(layout):
        folder = target / name
        folder.mkdir(parents=True)
        for file in sorted((source / str(number % 10)).iterdir())[:each]:
            shutil.copy(file, folder / file.name)
    return target


def table(path: Path, lines: Sequence[Sequence[object]], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """A CSV."""
    with path.open("w", newline="", encoding=encoding, errors="surrogateescape") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    return path


def pictures(root: Path) -> list[str]:
    """Paths below ``root`` of its PNG files, sorted."""
    return sorted(os.path.relpath(path, root) for path in root.rglob("*.png"))


def kinds(found: Sources) -> list[str]:
    return [each.kind for each in found.findings]


def only(found: Sources, kind: str) -> Finding:
    """The one finding of a kind."""
    (each,) = [each for each in found.findings if each.kind == kind]
    return each


def refused(data: object, kind: type[VisumError], *words: str, **options: object) -> VisumError:
    """The error of reading ``data``: of exactly this kind, with all three parts, holding these words."""
    with pytest.raises(kind) as caught:
        read(data, **options)  # type: ignore[arg-type]
    error = caught.value
    assert type(error) is kind
    assert error.got
    assert error.allowed
    assert error.next
    for word in words:
        assert word in str(error)
    return error
