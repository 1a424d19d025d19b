"""The validation images of a bundle, wherever they still are: what lower precisions are calibrated with and judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from visum.data import sources
from visum.data.decode import EXTRA_FORMATS, decode
from visum.data.load import in_order, location
from visum.data.pixels import fit_batch
from visum.errors import NotEnoughData, UnreadableImage
from visum.models.compiled import BATCH
from visum.types import Bundle, Manifest, Pixels, Preprocess, in_split, rows, targets
from visum.workflow import origin

MOST = 1000
"""Images that are looked at; more would only cost time."""
CALIBRATING = 128
LEAST = 20


def validation(bundle: Path, shipped: Bundle, data: Path | None) -> Manifest:
    """Labelled validation images, at most ``MOST``, spread evenly.

    Args:
        bundle: folder of a bundle or of a run.
        shipped: the bundle.
        data: as for ``evaluate``; its validation split, or all of it where it has none. None: the run around the bundle.

    Raises:
        NotEnoughData: none here, or too few, and what to type.
        DataError: the data has other classes.
    """
    if data is not None:
        table = sources.read(data, task=shipped.task, classes=shipped.classes).manifest
        held = rows(table, in_split(table, "validation")) if in_split(table, "validation").any() else table
    else:
        found = origin.table(bundle)
        if found is None or found.classes != shipped.classes:
            raise NotEnoughData(
                f"no run lies around {bundle} to tell which images it was validated with",
                allowed="a run folder, or --data with labelled images",
                next="--data DATA",
            )
        held = rows(found, in_split(found, "validation"))
        gone = [row for row in range(len(held)) if not Path(location(held, row)).is_file()]
        if gone:
            raise NotEnoughData(
                f"{len(gone):,} of {len(held):,} validation images are not where they were, first {location(held, gone[0])}",
                allowed="the images that the run was made of, or --data with labelled images",
                next="--data DATA",
            )
    y = targets(held)
    held = rows(held, np.ones(len(held), bool) if y.ndim == 2 else y >= 0)
    if len(held) < LEAST:
        raise NotEnoughData(
            f"{len(held)} labelled validation images", allowed=f"{LEAST} or more", next="--data with more images"
        )
    return rows(held, np.unique(np.linspace(0, len(held) - 1, MOST).astype(np.int64)))


def pictures(table: Manifest, spec: Preprocess) -> Iterator[tuple[int, Pixels]]:
    """(row, upright RGB pixels) of each image that can be read, as the bundle decodes them."""

    def read(row: int) -> Pixels | UnreadableImage:
        try:
            found = decode(
                location(table, row), background=spec.background, shortest=spec.size, extra_formats=EXTRA_FORMATS
            )
        except UnreadableImage as error:
            return error
        return found.pixels

    for row, found in enumerate(in_order(read, range(len(table)))):
        if not isinstance(found, UnreadableImage):
            yield row, found


def squares(table: Manifest, spec: Preprocess) -> Iterator[Pixels]:
    """Batches uint8 ``[B, S, S, 3]`` of up to ``CALIBRATING`` images, spread evenly, for calibration."""
    some = rows(table, np.unique(np.linspace(0, len(table) - 1, CALIBRATING).astype(np.int64)))
    yield from batches((picture for _, picture in pictures(some, spec)), spec)


def batches(found: Iterable[Pixels], spec: Preprocess) -> Iterator[Pixels]:
    """Fitted pictures, ``BATCH`` at a time."""
    waiting: list[Pixels] = []
    for picture in found:
        waiting.append(picture)
        if len(waiting) == BATCH:
            yield fit_batch(waiting, spec)
            waiting = []
    if waiting:
        yield fit_batch(waiting, spec)
