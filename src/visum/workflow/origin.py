"""The run that a bundle lies in, as far as it is still beside it: which images it was trained on, and which it was not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import StorageError
from visum.models import predict as running
from visum.ship import bundle as bundles
from visum.types import Bundle, Manifest, column, in_split, rows

SNAPSHOTS = "snapshots"
"""Folder of a run in which the networks at the end of each round of the schedule lie, numbered from 1."""


IMAGENET = "imagenet"
"""The packaged network, where a bundle's folder may be given."""


def opened(place: str | Path) -> Bundle:
    """A bundle (or the bundle inside a run folder), checked against its own digests; ``"imagenet"`` for the packaged network."""
    packaged = str(place) == IMAGENET and not Path(place).is_dir()
    return running.imagenet() if packaged else bundles.read(place)


def name(place: str | Path) -> str:
    """What people call a bundle: its folder, or that of its run where the folder says no more than bundle."""
    if not Path(place).exists():
        return str(place)
    path = Path(place).resolve()
    return path.parent.name if path.name == "bundle" and path.parent.name else path.name


def table(bundle: Path) -> Manifest | None:
    """The table of the run around a bundle (or of the run folder itself); None where there is none that can be read."""
    for run in (bundle, bundle.parent.parent if bundle.parent.name == SNAPSHOTS else bundle.parent):
        if (run / "manifest.parquet").is_file():
            with contextlib.suppress(StorageError):
                return Manifest.load(run / "manifest.parquet")
    return None


def folder(bundle: Path) -> Path | None:
    """The folder of the run around a bundle (or the run folder itself); None where there is none."""
    return next((run for run in (bundle, bundle.parent) if (run / "run.json").is_file()), None)


def trained(made: Manifest | None) -> frozenset[str]:
    """Digests of the files that a run was trained on."""
    return frozenset(made.sha256[in_split(made, "train")].tolist()) if made is not None else frozenset()


def with_splits(data: Manifest, runs: Sequence[Manifest]) -> Manifest:
    """``data`` (indexed) with splits that suit several runs at once: what any of them was trained on is train.

    Of the other images, validation are those that some run validated with, test those that were test wherever they occurred;
    an image that no run knows has no split. Copies of one file share its digest, and so its split.
    """
    split: dict[str, str] = {}
    for name in ("test", "validation", "train"):  # the last one said stands
        for run in runs:
            split.update(dict.fromkeys(run.sha256[run.splits == name].tolist(), name))
    return replace(data, splits=column([split.get(digest, "") for digest in data.sha256]))


def joined(runs: Sequence[Manifest], classes: Sequence[str]) -> Manifest:
    """One table of all that the runs were trained on, each file once, with the labels of the first run that has it.

    Args:
        runs: at least one; of one task, their classes those of ``classes`` in any order.
        classes: in the order that the labels of the answer have.
    """
    parts, seen = [], set[str]()
    for run in runs:
        own = rows(run, in_split(run, "train"))
        own = rows(own, np.array([row for row, digest in enumerate(own.sha256) if digest not in seen], np.int64))
        seen.update(own.sha256.tolist())
        number = [list(classes).index(name) for name in run.classes]
        labels = column([tuple(number[k] for k in label) for label in own.labels])
        paths = column([os.path.join(run.root, path) for path in own.paths])  # noqa: PTH118 - bytes of paths stay theirs
        parts.append(replace(own, labels=labels, paths=paths))
    first = parts[0]
    columns: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(first)
        if field.name not in ("root", "task", "classes")
    }
    return replace(first, root=os.sep, classes=tuple(classes), **columns)
