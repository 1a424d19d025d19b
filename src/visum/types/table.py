"""The table of images, and pure functions of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from visum.types.basic import Column, Integers, Split, Task, column, printable, reading

_STRING_COLUMNS = ("ids", "paths", "splits", "groups", "sha256", "formats", "notes")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table of images: one row per file, all columns of one length N.

    Attributes:
        root: absolute folder that ``paths`` are relative to.
        task: binary, multiclass or multilabel.
        classes: class names in their fixed order; ``labels`` index into it.
        ids: str; stable and printable: the path below ``root`` with ``/``, undecodable bytes written ``\\xNN``.
        paths: str; the path below ``root`` as the operating system spells it (surrogate escapes kept).
        labels: tuples of class indices; ``()`` means unlabelled (or, when multilabel, none of the classes).
        splits: train, validation, test, or "" where no split is given yet.
        groups: str; rows of one non-empty group never end up in two splits.
        sha256: hex digest of the file's bytes, "" until the file was read.
        widths, heights: int32 pixels as displayed (after orientation); 0 until the file was read.
        formats: JPEG, PNG …; "" until the file was read.
        notes: str; what the decoder altered, ``; ``-separated.
    """

    root: str
    task: Task
    classes: tuple[str, ...]
    ids: Column
    paths: Column
    labels: Column
    splits: Column
    groups: Column
    sha256: Column
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    formats: Column
    notes: Column

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: str | Path) -> None:
        """Write one Parquet file; task, classes and root travel in its schema metadata as JSON."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: pa.array(getattr(self, name).tolist()) for name in _STRING_COLUMNS if name != "paths"}
        columns["paths"] = pa.array([os.fsencode(p) for p in self.paths], pa.binary())
        columns["labels"] = pa.array([list(label) for label in self.labels], pa.list_(pa.int64()))
        columns["widths"] = pa.array(self.widths, pa.int32())
        columns["heights"] = pa.array(self.heights, pa.int32())
        root = os.fsencode(self.root).decode("utf-8", "backslashreplace")
        head = json.dumps({"visum": 1, "root": root, "task": self.task, "classes": list(self.classes)})
        pq.write_table(pa.table(columns).replace_schema_metadata({"visum": head}), str(path), compression="zstd")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            StorageError: no such file.
            CorruptFile: not what ``save`` writes.
        """
        import pyarrow.parquet as pq

        with reading(path):
            table = pq.read_table(str(path))
            head = json.loads(table.schema.metadata[b"visum"])
            columns = {name: column(table[name].to_pylist()) for name in _STRING_COLUMNS if name != "paths"}
            return cls(
                root=head["root"],
                task=head["task"],
                classes=tuple(head["classes"]),
                paths=column([os.fsdecode(p) for p in table["paths"].to_pylist()]),
                labels=column([tuple(label) for label in table["labels"].to_pylist()]),
                widths=table["widths"].to_numpy().astype(np.int32),
                heights=table["heights"].to_numpy().astype(np.int32),
                **columns,
            )


def manifest(
    root: str | Path,
    task: Task,
    classes: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    *,
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Manifest:
    """A manifest of files that have not been read yet; ids are made from ``paths``."""
    n = len(paths)
    empty = [""] * n
    return Manifest(
        root=str(root),
        task=task,
        classes=tuple(classes),
        ids=column([printable(p) for p in paths]),
        paths=column(list(paths)),
        labels=column(list(labels)),
        splits=column(list(splits) if splits is not None else empty),
        groups=column(list(groups) if groups is not None else empty),
        sha256=column(empty),
        widths=np.zeros(n, np.int32),
        heights=np.zeros(n, np.int32),
        formats=column(empty),
        notes=column(empty),
    )


def rows(table: Manifest, where: NDArray[Any]) -> Manifest:
    """The rows at ``where`` (a boolean mask ``[N]`` or integer positions), in that order."""
    changed = {
        f.name: getattr(table, f.name)[where] for f in fields(table) if f.name not in ("root", "task", "classes")
    }
    return replace(table, **changed)


def in_split(table: Manifest, split: Split) -> NDArray[np.bool_]:
    """Boolean mask ``[N]`` of one split."""
    return np.asarray(table.splits == split, dtype=bool)


def targets(table: Manifest) -> Integers:
    """Labels as numbers: int64 ``[N]`` (-1: unlabelled) for one label each, int64 0/1 ``[N, K]`` when multilabel."""
    if table.task == "multilabel":
        out = np.zeros((len(table), len(table.classes)), np.int64)
        for row, label in enumerate(table.labels):
            out[row, list(label)] = 1
        return out
    return np.fromiter((label[0] if label else -1 for label in table.labels), np.int64, len(table))
