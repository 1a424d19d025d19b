"""Where labelled images come from: class folders, tables, annotation files, and archives of these, as one ``Manifest``.

Nothing outside the given folder is looked at, no link is followed out of it, no picture is opened, and nothing is written
except that an archive is unpacked into the cache. What was noticed and passed over comes back as findings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visum.data.sources.classes import check, finish, ordered
from visum.data.sources.folders import SPLIT_NAMES
from visum.data.sources.further import further
from visum.data.sources.layouts import TABLES, find
from visum.data.sources.rows import LABEL, PATH, SPLIT, read_rows
from visum.data.sources.walk import missing, no_picture, walk
from visum.data.sources.words import listed
from visum.errors import DataError, UsageError
from visum.types import Finding, Manifest, Task, manifest

__all__ = ["SPLIT_NAMES", "TABLES", "Sources", "further", "images", "ordered", "read"]


@dataclass(frozen=True, eq=False)
class Sources:
    """What ``read`` returns.

    Attributes:
        manifest: one row per picture; the files themselves have not been opened.
        findings: what was noticed and passed over.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]


def read(
    data: str | Path,
    *,
    path_column: str = PATH,
    label_column: str = LABEL,
    split_column: str = SPLIT,
    group_column: str | None = None,
    group_regex: str | None = None,
    delimiter: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
) -> Sources:
    """List the labelled images of a data set.

    ``data`` is a folder ``<class>/…`` or ``<split>/<class>/…``; a table whose paths start at its own folder; a folder (or a
    folder of split folders) with Hugging Face's ``metadata.csv``, ``.jsonl`` or ``.parquet``; COCO or Label Studio JSON; or a
    zip or tar of any of these.

    Args:
        data: path of a folder or file.
        path_column: column of paths; ``file_name`` is taken where ``path`` is not there.
        label_column: column of labels; where ``label`` is not there, all other columns must be 0 or 1 (one-hot).
        split_column: column of train, validation, test; may be missing if it is ``split``.
        group_column: column of groups that no split may tear apart.
        group_regex: searched in each id; its first bracket (or all that it matched) is the group.
        delimiter: what separates several labels in one cell; None: ``|`` or ``;`` if some cell has one.
        task: None: multilabel if images may have several labels, binary if there are two classes, else multiclass.
        classes: their order, for judging a model that exists; None: numbers by value, then words by letters.

    Raises:
        DataError: nothing usable is there; the message says what was looked for and what to do.
        UsageError: an impossible argument.
        StorageError: an archive cannot be unpacked into the cache.
    """
    check(task, classes, group_column, group_regex, delimiter)
    rows = partial(
        read_rows,
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        group_column=group_column,
        delimiter=delimiter,
        task=task,
    )
    path = os.path.abspath(os.fspath(data))  # noqa: PTH100 - text throughout, since pathlib alters odd names
    found = find(path, rows, path_column=path_column, group_column=group_column)
    table, findings = finish(found, task=task, classes=classes, group_regex=group_regex)
    return Sources(table, findings)


def images(paths: Sequence[str | Path]) -> Manifest:
    """Unlabelled images: files as they are named, folders with everything below them, sorted; each file once.

    The root is the deepest folder that holds them all. A file that was named is listed whatever it is, so that its decoder
    can say what is wrong with it.

    Raises:
        DataError: a path where nothing is, or no image at all.
        UsageError: no paths.
    """
    if not paths or isinstance(paths, (str, bytes)):
        raise UsageError(
            "no files to look at", allowed="files and folders of images", next="visum predict BUNDLE FILES"
        )
    found: dict[str, None] = {}
    tops = []
    for each in paths:
        path = os.path.abspath(os.fspath(each))  # noqa: PTH100
        if os.path.isdir(path):  # noqa: PTH112
            tops.append(path)
            found.update((os.path.join(path, name), None) for name in walk(path).files if not no_picture(name))  # noqa: PTH118
        elif os.path.lexists(path):
            tops.append(os.path.dirname(path))  # noqa: PTH120
            found[path] = None
        else:
            raise missing(path, "files and folders of images")
    if not found:
        raise DataError(
            f"no images in {listed([os.fspath(each) for each in paths])}",
            allowed="files, and folders with files in them",
            next="another folder",
        )
    root = os.path.commonpath(tops)
    start = len(os.path.join(root, ""))  # noqa: PTH118
    below = [path[start:] for path in found]
    return manifest(root, "multiclass", (), below, [()] * len(below))
