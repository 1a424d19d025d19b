"""Some labelled pictures of a data set and a bundle that answers them: what costly questions, such as attacks, are asked of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visum.data import load, sources
from visum.data.pixels import fit
from visum.errors import DataError, ModelError, NotEnoughData, UsageError
from visum.models import predict as running
from visum.models.ensemble import members_of
from visum.runtime import Stages
from visum.ship import bundle as bundles
from visum.types import Bundle, Floats, Integers, Manifest, Pixels, Split, rows, targets
from visum.workflow import judged, ready

LEAST = 20
"""Pictures below which a share says next to nothing: its 95 % interval is then up to 40 points wide."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures as the network sees them.

    Attributes:
        bundle: that is asked.
        model: the same at work.
        table: of the pictures, ``[N]`` rows.
        squares: uint8 ``[N, S, S, 3]``.
        labels: int64 ``[N]``.
        split: that they are of; "" for all.
        of: labelled pictures that there are, of which these were drawn.
        trained_on: how many of them the bundle was trained on, as far as the run beside it tells.
    """

    bundle: Bundle
    model: running.Model
    table: Manifest
    squares: Pixels
    labels: Integers
    split: Split
    of: int
    trained_on: int


def sample(
    bundle: Path,
    data: Path,
    images: int,
    *,
    split: Split | None,
    path_column: str,
    label_column: str,
    engine: str,
    extra_formats: tuple[str, ...],
    seed: int,
    stages: Stages,
) -> Sample:
    """Draw pictures, decode and fit them.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled pictures, as for ``evaluate``.
        images: how many to draw at most.
        split: None: test where the data has one, else all.
        path_column, label_column, engine, extra_formats: as for ``evaluate``.
        seed: of the draw.
        stages: the clock.

    Raises:
        UsageError: fewer images than ``LEAST`` are asked for, or several labels a picture.
        ModelError: an ensemble whose members see pictures in several ways.
        NotEnoughData: fewer than ``LEAST`` images, or one class.
    """
    if images < LEAST:
        raise UsageError(
            f"--images {images}",
            allowed=f"{LEAST} or more: of fewer, a share says next to nothing",
            next="--images 100",
        )
    with stages.stage("read"):
        shipped = bundles.read(bundle)
        _check(shipped)
        table = sources.read(
            data, path_column=path_column, label_column=label_column, task=shipped.task, classes=shipped.classes
        ).manifest
        table, chosen = judged.split_of(table, split)
        table = rows(table, targets(table) >= 0)
        there = len(table)
        if there < LEAST:
            raise NotEnoughData(
                f"{there} labelled images in {f'the split {chosen!r} of ' if chosen else ''}{data}",
                allowed=f"{LEAST} or more, better 100",
                next="more images, or another --split",
            )
        drawn = np.sort(np.random.default_rng(seed).permutation(there)[:images])
        table = rows(table, drawn)
    with stages.stage("decode", len(table)) as stage:
        table, bad = load.index(table, shipped.preprocess, extra_formats=extra_formats, step=stage.step)
        ready.check_readable(table, bad)
        if len(table) < LEAST:
            raise NotEnoughData(f"{len(table)} of {len(drawn)} images can be read", allowed=f"{LEAST} or more")
        labels = targets(table)
        if len(np.unique(labels)) < 2:
            raise NotEnoughData(
                f"all {len(labels)} images are of the class {shipped.classes[labels[0]]!r}",
                allowed="two or more classes: else a network that always answers the same would be robust",
                next="images of other classes",
            )
        squares = np.stack([fit(pixels, shipped.preprocess) for pixels in load.pictures(table, shipped.preprocess)])
    seen = judged.trained_on(bundle, table)
    return Sample(shipped, running.Model(shipped, engine), table, squares, labels, chosen, there, seen)


def _check(shipped: Bundle) -> None:
    if shipped.task == "multilabel":
        raise DataError(
            "the bundle gives several labels to a picture; what is asked here is whether one answer stays right",
            allowed="a bundle with one label a picture",
        )
    if len({member.preprocess for member in members_of(shipped)}) > 1:
        raise ModelError(
            "the members of this ensemble see pictures in several ways, so that there is no one square to change",
            allowed="a bundle, or an ensemble of one --size",
            next="its members one by one",
        )


def lead(shipped: Bundle) -> Floats:
    """What is added to logits so that the largest one is the bundle's answer, float32 ``[K]``: of a binary bundle its threshold.

    Its answer is 1 where p >= t, that is where z1 - z0 >= T log(t / (1 - t)).
    """
    out = np.zeros(len(shipped.classes), np.float32)
    if shipped.task == "binary" and shipped.thresholds:
        t = min(max(shipped.thresholds[0], 1e-6), 1 - 1e-6)
        out[1] = -shipped.temperature * math.log(t / (1 - t))
    return out


def answering(model: running.Model) -> Callable[[Pixels], Floats]:
    """Squares uint8 ``[N, S, S, 3]``, any N → logits float32 ``[N, K]`` whose largest is the answer, by the compiled engine."""
    shift = lead(model.bundle)
    return lambda squares: model.many(squares) + shift
