"""What is asked of a data set before work begins: that there is enough of it, and how large its pictures really are."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visum import runtime, storage
from visum.data import decode as decoder
from visum.data.decode import EXTRA_FORMATS
from visum.data.load import location
from visum.data.split import FRACTIONS
from visum.errors import DataError, NotEnoughData, RecipeError, UnreadableImage, UsageError
from visum.models import compiled
from visum.models.embed import VIEWS
from visum.types import Manifest, in_split, printable, targets

SAMPLE = 24
LEAST_SIZE, ENLARGE, STEP = 96, 3, 32
"""Small pictures are enlarged at most threefold. Five-fold cross-validated probe on 1,700 images each: MNIST (28 px) 93.5 %
at 64 px, 95.7 at 96, 95.0 at 128; CIFAR-10 (32 px) 66.2 at 64, 72.2 at 96, 73.7 at 128, 74.4 at 160; digits of 8 px 96.6 at
64, 97.2 at 96. 128 px cost twice what 96 cost."""
SMALLEST, LARGEST = 16, 1024
LEAST_IMAGES = 10


@dataclass(frozen=True)
class Glance:
    """A few pictures, spread evenly over the table, decoded.

    Attributes:
        side: median of their longer sides in pixels; 0 where none could be read.
        seconds: to decode one on one core.
    """

    side: float
    seconds: float


def glance(table: Manifest, extra_formats: Collection[str] = ()) -> Glance:
    """Decode up to ``SAMPLE`` pictures; those that cannot be read are passed over."""
    sides, begin = [], time.perf_counter()
    for row in np.unique(np.linspace(0, len(table) - 1, SAMPLE).astype(int)):
        try:
            found = decoder.decode(location(table, int(row)), shortest=224, extra_formats=extra_formats)
        except UnreadableImage:
            continue
        sides.append(max(found.width, found.height))
    seconds = (time.perf_counter() - begin) / max(1, len(sides))
    return Glance(float(np.median(sides)) if sides else 0.0, seconds)


def fitting_size(side: float, native: int) -> int:
    """The working size for pictures whose longer side is ``side`` pixels: the network's own, less where they are small."""
    wanted = STEP * round(ENLARGE * side / STEP)
    return native if side == 0 or wanted >= native else max(LEAST_SIZE, wanted)


def check_settings(
    command: str,
    *,
    size: int | None = None,
    engine: str = "auto",
    extra_formats: Collection[str] = (),
    views: Collection[str] = ("plain",),
    fractions: tuple[float, ...] = FRACTIONS,
) -> None:
    """Refuse what types alone do not, all at once and before any work.

    Raises:
        RecipeError: a size outside 16 … 1024, or an engine, format, view or share of a split that does not exist.
    """
    faults = []
    if size is not None and not SMALLEST <= size <= LARGEST:
        faults.append(f"size is {size}. Allowed: {SMALLEST} to {LARGEST} pixels.")
    if engine not in (engines := ("auto", *compiled.installed())):
        faults.append(f"engine is {engine!r}. Allowed: {', '.join(engines)}.")
    if isinstance(extra_formats, str) or not set(extra_formats) <= set(EXTRA_FORMATS):
        faults.append(f"extra_formats are {extra_formats!r}. Allowed: of {', '.join(EXTRA_FORMATS)}.")
    if isinstance(views, str) or not set(views) <= set(VIEWS) or len(set(views)) < len(views):
        faults.append(f"views are {views!r}. Allowed: of {', '.join(VIEWS)}, each once.")
    shares = len(fractions) == 3 and all(np.isfinite(f) and f >= 0 for f in fractions)
    if not shares or not fractions[0] or not fractions[1] or abs(sum(fractions) - 1) > 1e-6:
        words = "three numbers that sum to 1: train > 0, validation > 0, test >= 0"
        faults.append(f"fractions are {tuple(fractions)}. Allowed: {words}, e.g. 0.7,0.15,0.15.")
    if faults:
        raise RecipeError(faults, next=f"visum {command} --help lists every setting")


def check_machine() -> None:
    """Fail now if the store, which every command but ``predict`` needs, cannot be.

    Raises:
        StorageError: the cache folder may not be written to.
        UsageError: ``VISUM_CACHE_GB`` or ``VISUM_THREADS`` is no number.
    """
    storage.cache_limit()
    runtime.threads()
    storage.check_writable(storage.cache_folder())


def check_out(out: Path, data: Path) -> None:
    """Fail now if results could not be written into the folder ``out`` (created if missing).

    Raises:
        StorageError: it is a file, or may not be written to.
        UsageError: a folder inside the data, where it would be taken for a class; a name that is no text, which Parquet
            libraries cannot open.
    """
    inside, around = Path(os.path.realpath(out)), Path(os.path.realpath(data))
    if around.is_dir() and inside.is_relative_to(around):
        beside = Path(os.path.relpath(around.parent)) / f"{around.name}-run"
        raise UsageError(
            f"--out {out} lies inside the data {data}, where its pictures would be taken for a class",
            allowed="a folder outside the data",
            next=f"--out {beside}",
        )
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"--out {printable(str(out))} is not UTF-8", allowed="a folder whose name is text", next="another --out"
        ) from error
    storage.check_writable(out)


def check_readable(table: Manifest, bad: Sequence[UnreadableImage], *, strict: bool = False) -> None:
    """Refuse a table of which nothing could be read, or (``strict``) not everything.

    Args:
        table: the rows that could be read.
        bad: why the others could not.

    Raises:
        DataError: ``strict`` and something is bad.
        NotEnoughData: nothing else is there.
    """
    if bad and strict:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(
            f"{bad[0].path}: {bad[0].reason}{more}", allowed="no unreadable file with --strict", next="without it"
        )
    if not len(table):
        raise NotEnoughData(f"none of {len(bad)} files could be read; the first: {bad[0]}", next="visum doctor FILE")


def check_enough(table: Manifest) -> None:
    """Refuse what nothing can be learnt from.

    Raises:
        NotEnoughData: fewer than two classes with images, fewer images than classes or than ten, or no class with two.
    """
    y = targets(table)
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y[y >= 0], minlength=len(table.classes))
    present = [name for name, count in zip(table.classes, counts, strict=True) if count]
    several = table.task == "multilabel"
    labelled = len(table) if several else int((y >= 0).sum())
    least = max(LEAST_IMAGES, len(table.classes))
    if len(present) < (1 if several else 2):
        found = f"only one class with images ({present[0]!r})" if present else "no labelled image"
        raise NotEnoughData(
            f"{found} in {table.root}",
            allowed="two classes or more, each a folder (or a label) with images",
            next="a folder with one sub-folder per class; add one of pictures that are something else",
        )
    if labelled < least:
        raise NotEnoughData(
            f"{labelled} labelled images for {len(table.classes)} classes",
            allowed=f"{least} or more, better 20 of each class",
            next="more images, or fewer classes",
        )
    if not several and counts.max() < 2 and not in_split(table, "validation").any():
        raise NotEnoughData(
            f"one image for each of {len(present)} classes, so that none is left to validate with",
            allowed="three images or more of a class, better 20 of each, or a given validation split",
            next="more images, or fewer classes",
        )
