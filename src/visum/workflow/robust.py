"""How a bundle bears corruptions: its answers to corrupted pictures, through the compiled engine, within the time that there is.

``corruption_block`` is the block of the trust page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.data import corrupt
from visum.data.drawn import Squares, squares
from visum.data.load import in_order
from visum.errors import NotEnoughData, UsageError
from visum.judge import corruption
from visum.models.compiled import BATCH
from visum.models.predict import Model
from visum.runtime import Step, no_step
from visum.types import Floats, Manifest, Predictions, Preprocess, decisions, rows, targets

SEVERITIES = (1, 3, 5)
"""The mildest, the middle and the worst: what the trust page asks for."""
MOST = 1_000
"""Images of one condition: with these the interval of a share is at most six points wide."""
ROUND = 32
"""Images that are taken in hand at once, under all conditions; the clock is looked at between."""

Errors = NDArray[np.float64]
Condition = tuple[str, int]
"""(Kind, severity); ("", 0) for the pictures as they are."""
CLEAN: Condition = ("", 0)


def corruption_block(
    model: Model,
    table: Manifest,
    *,
    kinds: Sequence[str] = tuple(corrupt.CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    most: int = MOST,
    seconds: float | None = None,
    baseline: tuple[str, Model] | None = None,
    seed: int = 0,
    step: Step = no_step,
) -> dict[str, Any]:
    """Accuracy under corruptions, ready for JSON: the block of ``judge.corruption.block`` with ``of`` and ``seconds`` beside it.

    Args:
        model: of the bundle.
        table: indexed rows with labels (``data.load.index`` with the bundle's preprocessing), the test images say.
        kinds: of ``corrupt.CORRUPTIONS`` and ``corrupt.HELD_OUT``; the latter are told and count in no mean.
        severities: some of 1 … 5.
        most: images that are asked for.
        seconds: for all of it; no further images are taken in hand where they would take longer. None: no limit.
        baseline: another model and its name, asked the same, that the mean corruption error is relative to.
        seed: of which images are taken, of what is drawn, and of the bootstrap.
        step: told of pictures that were answered.

    Returns:
        The block; ``of`` are the labelled images that there were, of which ``n`` were taken, and ``seconds`` is what it took.

    Raises:
        UsageError: an unknown kind or severity.
        NotEnoughData: fewer labelled images than anything can be told from.
    """
    begin = time.perf_counter()
    _check(kinds, severities)
    conditions = [CLEAN, *((kind, severity) for kind in kinds for severity in severities)]
    order = in_turn(table, seed)
    if len(order) < corruption.LEAST:
        raise NotEnoughData(
            f"{len(order)} labelled images are too few to tell what corruptions cost",
            allowed=f"at least {corruption.LEAST}",
            next="more labelled images",
        )
    asked = [model, *([baseline[1]] if baseline else [])]
    told: list[list[tuple[dict[str, Errors], Errors]]] = [[] for _ in asked]
    last = 0.0
    for at in range(0, min(len(order), most), ROUND):
        began = time.perf_counter()
        if at and seconds is not None and began + last > begin + seconds:
            break
        some = rows(table, order[at : min(at + ROUND, most)])
        for one, parts in zip(asked, told, strict=True):
            parts.append(errors_of(one, some, conditions, seed=seed, step=step))
        last = time.perf_counter() - began
    (errors, clean), *theirs = (_joined(parts) for parts in told)
    return {
        **corruption.block(
            errors,
            clean,
            severities,
            corrupt.FAMILIES,
            held_out=tuple(corrupt.HELD_OUT),
            base=(baseline[0], *theirs[0]) if baseline else None,
            seed=seed,
        ),
        "of": len(order),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def in_turn(table: Manifest, seed: int) -> NDArray[np.int64]:
    """The labelled rows in an order whose every beginning has the classes in nearly the shares that they have in the whole.

    It depends on the seed and on the files alone.
    """
    y = targets(table)
    labelled = np.flatnonzero(y >= 0) if y.ndim == 1 else np.arange(len(table))
    by_file = labelled[np.argsort(table.sha256[labelled].astype(str), kind="stable")]
    shuffled = np.random.default_rng(seed).permutation(by_file)
    if y.ndim == 1:
        place = np.empty(len(shuffled))
        for k in np.unique(y[shuffled]):
            own = np.flatnonzero(y[shuffled] == k)
            place[own] = (np.arange(len(own)) + 0.5) / len(own)
        shuffled = shuffled[np.argsort(place, kind="stable")]
    return np.asarray(shuffled, np.int64)


def _joined(parts: Sequence[tuple[dict[str, Errors], Errors]]) -> tuple[dict[str, Errors], Errors]:
    kinds = parts[0][0]
    return {k: np.concatenate([e[k] for e, _ in parts], 1) for k in kinds}, np.concatenate([c for _, c in parts])


def errors_of(
    model: Model, table: Manifest, conditions: Sequence[Condition], *, seed: int, step: Step = no_step
) -> tuple[dict[str, Errors], Errors]:
    """What each row adds to the share of wrong answers: kind → ``[severities, n]``, and of the clean pictures ``[n]``."""
    wrong = {
        condition: _wrong(model, table, logits)
        for condition, logits in answered(model, table, conditions, seed=seed, step=step).items()
    }
    kinds = dict.fromkeys(kind for kind, _ in conditions if kind)
    return {kind: np.stack([wrong[c] for c in conditions if c[0] == kind]) for kind in kinds}, wrong[CLEAN]


def answered(
    model: Model, table: Manifest, conditions: Sequence[Condition], *, seed: int, step: Step = no_step
) -> Mapping[Condition, Floats]:
    """Logits float32 ``[n, K]`` of all rows under each condition; pictures are corrupted and answered on one core each."""
    reads: dict[Preprocess, Squares] = {spec: squares(table, spec) for spec in model.specs}
    keys = table.sha256

    def work() -> Iterator[tuple[Condition, NDArray[np.int64]]]:
        for condition in conditions:
            for at in range(0, len(table), BATCH):
                yield condition, np.arange(at, min(at + BATCH, len(table)))

    def answer(item: tuple[Condition, NDArray[np.int64]]) -> Floats:
        (kind, severity), where = item
        batches = {spec: read(where) for spec, read in reads.items()}
        if kind:
            names = keys[where].tolist()
            batches = {
                spec: corrupt.corrupted(batch, kind, severity, seed=seed, keys=names) for spec, batch in batches.items()
            }
        return model.answer(batches)

    parts: dict[Condition, list[Floats]] = {condition: [] for condition in conditions}
    for (condition, where), logits in zip(work(), in_order(answer, work()), strict=True):
        parts[condition].append(logits)
        step(len(where))
    return {condition: np.concatenate(some) for condition, some in parts.items()}


def _wrong(model: Model, table: Manifest, logits: Floats) -> Errors:
    bundle, y = model.bundle, targets(table)
    said = decisions(
        Predictions(table.ids, logits, y, bundle.classes, bundle.task, "", bundle.temperature, bundle.thresholds)
    )
    return np.asarray((said != y).mean(1) if y.ndim == 2 else said != y, np.float64)


def _check(kinds: Sequence[str], severities: Sequence[int]) -> None:
    for kind in kinds:
        corrupt.known(kind)
    if not kinds or not severities or not set(severities) <= set(corrupt.SEVERITIES):
        raise UsageError(
            f"severities {list(severities)} of {len(kinds)} kinds", allowed="one kind or more; some of 1, 2, 3, 4, 5"
        )
