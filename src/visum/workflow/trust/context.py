"""What every step of the trust page is handed: the bundle at work, the judged images, the run around it, and the clock."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visum.data.load import in_order, picture, pixel_space
from visum.data.pixels import fit
from visum.errors import DataError, NotEnoughData, StorageError
from visum.judge.metrics import right
from visum.models.compiled import BATCH
from visum.models.predict import Model
from visum.types import (
    Bundle,
    Column,
    Floats,
    Integers,
    Manifest,
    Pixels,
    Predictions,
    column,
    decisions,
    in_split,
    probabilities,
    rows,
)
from visum.workflow import audit
from visum.workflow.clock import Clock, Skipped
from visum.workflow.robust import in_turn

WEIGHTS: Mapping[str, float] = {"background": 1, "corruptions": 4, "attacks": 5}
"""How the steps that cost most share the time that is left; each takes what the earlier ones did not need, too."""
RESERVE = 4.0
"""Seconds kept for the steps that cost little and for the page."""
SIDE = 144
"""Pixels of example pictures."""
SPARE = 0.92
"""Share of its time that a step plans with, since machines are not as steady as plans."""


@dataclass(frozen=True, eq=False)
class Context:
    """Everything that steps read.

    Attributes:
        model: the bundle at work.
        table: the judged images: indexed, readable, labelled; rows as in ``predictions``.
        predictions: of them.
        columns: more columns of the data's own table: name → str ``[N]``.
        run: folder of the run around the bundle; None where there is none.
        made: its table.
        deadline: ``time.monotonic()`` by which the page shall be done.
        seed: of everything that draws.
        engine: auto, openvino, onnxruntime or torch.
        waiting: heavy steps that have not begun yet; ``seconds`` takes the one that asks away.
    """

    model: Model
    table: Manifest
    predictions: Predictions
    columns: Mapping[str, Column]
    run: Path | None
    made: Manifest | None
    deadline: float
    seed: int = 0
    engine: str = "auto"
    waiting: list[str] = field(default_factory=list)

    @property
    def bundle(self) -> Bundle:
        """What is asked."""
        return self.model.bundle

    @cached_property
    def p(self) -> Floats:
        """Calibrated probabilities, float32 ``[N, K]``."""
        return probabilities(self.predictions)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each image is answered right in full, bool ``[N]``."""
        return right(self.predictions.labels, decisions(self.predictions))

    @cached_property
    def validation(self) -> Predictions | None:
        """What the run around the bundle said of its validation images; None where that is not there."""
        if self.run is None:
            return None
        try:
            held = Predictions.load(self.run / "predictions", "validation")
        except (DataError, StorageError):
            return None
        alike = held.classes == self.bundle.classes and held.task == self.bundle.task
        return held if alike else None

    @cached_property
    def looks(self) -> Floats:
        """``audit.look`` of the judged images, through the store."""
        return audit.looks(self.table, self.bundle.preprocess)

    @cached_property
    def taught(self) -> tuple[Manifest, Floats] | None:
        """The training images of the run around the bundle and ``audit.look`` of them; None where the store has dropped it and
        the files are gone."""
        if self.made is None or self.made.classes != self.bundle.classes:
            return None
        table = rows(self.made, in_split(self.made, "train"))
        try:
            return (table, audit.looks(table, self.bundle.preprocess)) if len(table) else None
        except (DataError, StorageError):
            return None

    @cached_property
    def one_label(self) -> bool:
        """Whether an image has one label, so that accuracy is what people mean by it."""
        return self.bundle.task != "multilabel"

    def squares(self, where: Integers) -> Pixels:
        """Fitted squares uint8 ``[M, S, S, 3]`` of some rows, in that order."""
        spec = self.bundle.preprocess
        space, out = pixel_space(spec), np.empty((len(where), spec.size, spec.size, 3), np.uint8)
        for at, row in enumerate(where):
            fit(picture(self.table, int(row), space, spec), spec, out[at])
        return out

    def answers(self, squares: Callable[[Integers], Pixels], where: Integers) -> Floats:
        """Logits float32 ``[M, K]`` by the compiled engine, each core making and running its own batches.

        Args:
            squares: rows → fitted squares, in that order; called by several threads.
            where: rows.
        """
        parts = [where[at : at + BATCH] for at in range(0, len(where), BATCH)]

        def run(part: Integers) -> Floats:
            return self.model.logits(squares(part))

        return np.concatenate(list(in_order(run, parts)))

    def said(self, logits: Floats, where: Integers) -> Predictions:
        """Logits as predictions of these rows, with the bundle's temperature and thresholds."""
        own = self.predictions
        return Predictions(
            own.ids[where], logits, own.labels[where], own.classes, own.task, own.model, own.temperature, own.thresholds
        )

    @cached_property
    def rate(self) -> float:
        """Images a second that the compiled engine answers here, from two batches a core after a first one."""
        where = np.arange(min(len(self.table), 4 * BATCH), dtype=np.int64)
        self.answers(self.squares, where[:BATCH])  # compiles
        begin = time.perf_counter()
        self.answers(self.squares, where)
        return len(where) / (time.perf_counter() - begin)

    @property
    def one_way(self) -> bool:
        """Whether all members of an ensemble see a picture in one way; a plain bundle always does."""
        return len(self.model.specs) == 1

    def seconds(self, name: str) -> float:
        """What the step of that name may take: its share of what is left, by the weights of the heavy steps still ahead.

        Raises:
            Skipped: no time is left.
        """
        ahead = sum(WEIGHTS[each] for each in self.waiting) or WEIGHTS[name]
        left = self.deadline - time.monotonic() - RESERVE
        share = left * WEIGHTS[name] / ahead
        if name in self.waiting:
            self.waiting.remove(name)
        if share <= 1:
            raise Skipped("no time was left for it", next="a longer --budget")
        return SPARE * share

    def clock(self, name: str, portion: int, least: int) -> Clock:
        """The clock of a step that works in portions, running from now; raises as ``seconds``."""
        return Clock(time.monotonic(), self.seconds(name), portion, least)

    def sample(self, most: float, least: int, what: str) -> Integers:
        """Row numbers of at most ``most`` images, as many of each class as there are to go round, the same for the same seed.

        Args:
            most: how many fit.
            least: fewer are not worth the work.
            what: is to be done with them, for the reason: "shown in two halves".

        Raises:
            Skipped: fewer fit into the time, or are there.
        """
        order = self.turns(least, what)
        count = min(len(order), int(most))
        if count < least:
            raise Skipped(
                f"there was no time for the {least} images without which it says nothing", next="a longer --budget"
            )
        return np.sort(order[:count])

    def turns(self, least: int, what: str) -> Integers:
        """All row numbers in an order of which every beginning has the classes in the shares of all.

        Args:
            least: fewer are not worth the work.
            what: is to be done with them, for the message.

        Raises:
            NotEnoughData: there are fewer.
        """
        n = len(self.table)
        if n < least:
            raise NotEnoughData(f"{n} labelled images {what}", allowed=f"{least} or more", next=f"{least - n} more")
        return in_turn(self.table, self.seed)


def example(square: Pixels, caption: str) -> dict[str, str]:
    """A picture for the page: ``image``, a JPEG of at most ``SIDE`` px as a ``data:`` URI, and ``caption``."""
    import cv2
    import simplejpeg

    side = len(square)
    if side > SIDE:
        square = np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    elif side * 2 <= SIDE:
        square = square.repeat(SIDE // side, axis=0).repeat(SIDE // side, axis=1)
    data = base64.b64encode(simplejpeg.encode_jpeg(np.ascontiguousarray(square), 82)).decode("ascii")
    return {"image": f"data:image/jpeg;base64,{data}", "caption": caption}


def named(predictions: Predictions) -> Column:
    """The class of each image by name, str ``[N]``; images with several labels have none."""
    if predictions.labels.ndim == 2:
        return column([""] * len(predictions))
    return column([predictions.classes[k] for k in predictions.labels])
