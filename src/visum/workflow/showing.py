"""``visum train DATA --show-batch``: what the model is shown in training, as one picture, before anything is paid for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from visum import storage
from visum.data import augment as augmentation
from visum.data import load, mix, sources
from visum.data.pixels import fit_batch
from visum.models import weights as pretrained
from visum.models.embed import Augmented, View, seen
from visum.runtime import Stages, interruptible
from visum.types import Fit, Floats, Integers, Manifest, Pixels, Preprocess, Task, in_split, rows, targets
from visum.workflow import plan, ready, record
from visum.workflow.checked import checked
from visum.workflow.sheet import Row, contact_sheet

PICTURES, VIEWS = 6, 5
"""Rows of the sheet, and augmented views beside each plain picture."""
_MIXES: dict[str, Callable[..., tuple[NDArray[Any], NDArray[Any]]]] = {
    "mixup": mix.mixup,
    "cutmix": partial(mix.cutmix, channels="last"),
}


@dataclass(frozen=True)
class Batch:
    """What was drawn.

    Attributes:
        picture: PNG.
        ids, labels: of the pictures on it, from top to bottom.
        size: side of what the network sees, in pixels.
        views: names of the columns.
    """

    picture: Path
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    size: int
    views: tuple[str, ...]


@checked
def show_batch(
    data: Path,
    *,
    out: Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str | None = None,
    group_regex: str | None = None,
    delimiter: str | None = None,
    task: Task | None = None,
    backbone: str = pretrained.DEFAULT,
    weights: str | None = None,
    size: int | None = None,
    fit: Fit = "pad",
    augment: str = "light",
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.2,
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0,
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Batch:
    """Write what the model sees of some train images, plain and augmented, to OUT/batch.png, and train nothing.

    The pixels are those of training: the same decoder, store, fit and draws. Where the data has no splits, the pictures are taken
    from all that have a label, since splits are made after all pictures were compared.

    Args:
        data: folder, table or archive (docs/data.md).
        out: the run folder that a run would have; ``runs/NAME`` if omitted.
        path_column, label_column, split_column, group_column: names of a table's columns.
        group_regex: makes groups of paths; see ``train``.
        delimiter: between several labels of one cell.
        task: binary, multiclass or multilabel; told from the data if omitted.
        backbone, weights: whose size and background are used.
        size: working size in pixels; fitted to the pictures if omitted (a run with a budget may choose a smaller one).
        fit: pad, crop or squash.
        augment: none, light, medium, strong, or names like flip,rotation.
        mixup, cutmix: alpha of mixed pictures, which get rows of their own; 0 for none.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of what is chosen and drawn.

    Raises:
        DataError: the data set cannot be used.
        UsageError: impossible settings, or ``out`` holds something else.
        StorageError: ``out`` or the cache cannot be written.
    """
    ready.check_settings("train", size=size, extra_formats=extra_formats)
    augmentation.steps(augment)
    folder, stages = record.visited(data, out), Stages()
    with interruptible(next="the same command again"):
        with stages.stage("read") as stage:
            table = sources.read(
                data,
                path_column=path_column,
                label_column=label_column,
                split_column=split_column,
                group_column=group_column,
                group_regex=group_regex,
                delimiter=delimiter,
                task=task,
            ).manifest
            ready.check_enough(table)
            stage.detail = f"{len(table):,} files, {len(table.classes)} classes, {table.task}"
        spec = pretrained.spec(backbone, weights)
        if size is None:
            size = plan.sizes(backbone, weights, ready.glance(table, extra_formats).side, spec.size)[0]
        spec = replace(spec, size=size, fit=fit)
        with stages.stage("draw") as stage:
            some = chosen(table, spec, extra_formats, seed)
            batch = Batch(
                folder / "batch.png",
                tuple(some.ids),
                tuple(named(some, row) for row in range(len(some))),
                size,
                ("plain",) if augment == "none" else ("plain", *(f"view {number}" for number in range(1, VIEWS + 1))),
            )
            page = drawn(some, spec, batch, augment, {"mixup": mixup, "cutmix": cutmix}, seed)
            storage.write_atomic(batch.picture, png(page))
            stage.detail = f"{len(some)} pictures at {size} px"
        storage.evict()
    return batch


def chosen(table: Manifest, preprocess: Preprocess, extra_formats: Sequence[str], seed: int) -> Manifest:
    """Up to ``PICTURES`` readable rows, indexed: one class after the other, in an order drawn from the seed.

    Raises:
        NotEnoughData: none can be read.
    """
    found: list[int] = []
    bad = []
    for row in _candidates(table, seed):
        one, faults = load.index(rows(table, np.array([row])), preprocess, extra_formats=extra_formats)
        bad += faults
        found += [row] * len(one)
        if len(found) == PICTURES:
            break
    ready.check_readable(rows(table, np.array(found, np.int64)), bad)
    return load.index(rows(table, np.array(found)), preprocess, extra_formats=extra_formats)[0]


def _candidates(table: Manifest, seed: int) -> Iterator[int]:
    """Labelled rows of the train split, or of all where there is none, classes in turn."""
    labelled = np.array([bool(label) for label in table.labels]) | (table.task == "multilabel")
    train = in_split(table, "train") & labelled
    where = np.flatnonzero(train if train.any() else labelled)
    order = np.random.default_rng(seed).permutation(where)
    turn: dict[tuple[int, ...], int] = {}
    turns = [turn.update({label: turn.get(label, -1) + 1}) or turn[label] for label in table.labels[order]]
    yield from (int(order[at]) for at in np.argsort(turns, kind="stable"))


def drawn(
    table: Manifest, preprocess: Preprocess, batch: Batch, augment: str, mixes: Mapping[str, float], seed: int
) -> Pixels:
    """The sheet, uint8 ``[H, W, 3]``: a row for each picture, a column for each view, and rows of mixed ones below.

    Args:
        table: indexed rows.
        preprocess: their geometry.
        batch: names of rows and columns.
        augment: names of ``data.augment``.
        mixes: mixup, cutmix → alpha, 0 for none.
        seed: of what is drawn.
    """
    plain = fit_batch(list(load.pictures(table, preprocess)), preprocess)
    views: list[View] = ["plain", *(Augmented(augment, seed, epoch) for epoch in range(len(batch.views) - 1))]
    keys = table.sha256.tolist()
    tiles = [seen(plain, view, keys, preprocess) for view in views]
    lines = [
        Row(name, where.rsplit("/", 1)[-1], [view[row] for view in tiles])
        for row, (name, where) in enumerate(zip(batch.labels, batch.ids, strict=True))
    ]
    y = targets(table)
    target: NDArray[Any] = (np.eye(len(table.classes))[y] if y.ndim == 1 else y).astype(np.float32)
    for name, alpha in mixes.items():
        if alpha:
            mixed, wanted = _MIXES[name](tiles[-1], target, alpha, np.random.default_rng([seed, 0, 0]))
            words = [shares(row, table.classes) for row in wanted]
            lines.append(Row("mixed", f"{name}, alpha {alpha:g}", list(mixed), words))
    drawn_as = "no augmentation" if augment == "none" else f"{augment} augmentation"
    note = f"{preprocess.size} x {preprocess.size} pixels, {preprocess.fit}, {drawn_as}, seed {seed}"
    return contact_sheet("What the model sees", note, batch.views, lines)


def named(table: Manifest, row: int) -> str:
    """The label of a row, for people."""
    return ", ".join(table.classes[label] for label in table.labels[row]) or "none of the classes"


def shares(target: Floats, classes: Sequence[str]) -> list[str]:
    """What a mixed target asks for, largest first, a line each, two at most: ``83 % coat`` and ``17 % dress``."""
    order: Integers = np.argsort(-target, kind="stable")[:2]
    return [f"{100 * target[k]:.0f} % {classes[k]}" for k in order if target[k] >= 0.005]


def png(pixels: Pixels) -> bytes:
    """uint8 ``[H, W, 3]`` as a PNG file."""
    from PIL import Image

    blob = io.BytesIO()
    Image.fromarray(pixels).save(blob, "PNG", optimize=True)
    return blob.getvalue()
