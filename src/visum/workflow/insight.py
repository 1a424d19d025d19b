"""Pictures that a look inside a network is taken with: labelled ones that are named, or those of the run around the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visum import storage
from visum.data import load, sources
from visum.errors import NotEnoughData, UnreadableImage, UsageError
from visum.explain import panels
from visum.runtime import Stages
from visum.ship.report import frame
from visum.types import Bundle, Integers, Manifest, Preprocess, Split, in_split, rows, targets
from visum.workflow import origin, ready


def labelled(data: str | Path, shipped: Bundle) -> Manifest:
    """The labelled images of a data set, not yet read, with the bundle's classes.

    Raises:
        DataError: nothing usable is there.
    """
    table = sources.read(data, task=shipped.task, classes=shipped.classes).manifest
    y = targets(table)
    return table if y.ndim == 2 else rows(table, y >= 0)


def around(place: str | Path, split: Split = "train") -> Manifest | None:
    """One split of the run around a bundle, as it was read then; None where there is no run."""
    made = origin.table(Path(place))
    return None if made is None else rows(made, in_split(made, split))


def training(place: str | Path, data: str | Path | None, shipped: Bundle) -> Manifest:
    """The labelled images that a bundle was trained on: those that are named, else those of the run around it.

    Of data with a train split, that split.

    Raises:
        UsageError: neither is there.
    """
    if data is not None:
        table = labelled(data, shipped)
        return rows(table, in_split(table, "train")) if in_split(table, "train").any() else table
    found = around(place)
    if found is None or not len(found):
        raise UsageError(
            f"no run lies around {place}, so that its training images are not known",
            allowed="a bundle inside the folder of its run, or --data with the training images",
            next=f"visum explain {place} … --data DATA",
        )
    y = targets(found)
    return found if y.ndim == 2 else rows(found, y >= 0)


def indexed(
    table: Manifest, preprocess: Preprocess, stages: Stages, extra_formats: Sequence[str] = ()
) -> tuple[Manifest, list[UnreadableImage]]:
    """Rows whose files could be read, pixels in the store; and why the others could not."""
    with stages.stage("decode", len(table)) as stage:
        found, bad = load.index(table, preprocess, extra_formats=extra_formats, step=stage.step)
    ready.check_readable(found, bad)
    return found, bad


def drawn(count: int, most: int, seed: int, strata: Integers | None = None) -> Integers:
    """At most ``most`` of ``count`` rows, ascending; of each class its share, where ``strata`` int64 ``[N]`` are given."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(count)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
        order = order[np.floor(np.arange(most) * count / most).astype(np.int64)]
    return np.sort(order[:most]).astype(np.int64)


def enough(found: int, least: int, what: str, wish: str) -> None:
    """Refuse what too few pictures can answer.

    Raises:
        NotEnoughData: says how many there are and how many are needed.
    """
    if found < least:
        raise NotEnoughData(
            f"{found:,} {what}, too few for {wish}", allowed=f"{least:,} or more", next="a data set with more images"
        )


def write_page(out: Path, name: str, page: panels.Page) -> Path:
    """One self-contained HTML file in the folder ``out``; gives its path."""
    path = out / name
    out.mkdir(parents=True, exist_ok=True)
    storage.write_atomic(path, panels.text(page, frame.house()))
    return path


def plain(value: Any) -> Any:
    """A number as JSON has it: NaN is null."""
    return None if isinstance(value, float) and value != value else value
