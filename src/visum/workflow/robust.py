"""``visum corrupt``: how a bundle bears noise, blur, weather and bad files, through the compiled engine, within the time given.

``corruption_block`` is what it finds as JSON, for whoever has a model and a table in hand (the trust page).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.config import Duration
from visum.data import corrupt, load, sources
from visum.data.drawn import Squares, squares
from visum.data.load import in_order
from visum.errors import BundleError, NotEnoughData, UsageError
from visum.judge import corruption
from visum.models.compiled import BATCH
from visum.models.predict import Model
from visum.runtime import Stages, Step, no_step
from visum.ship import bundle as bundles
from visum.ship.report import corruption as pages
from visum.types import Floats, Manifest, Predictions, Preprocess, decisions, rows, targets
from visum.workflow import judged, origin, ready
from visum.workflow.checked import checked
from visum.workflow.clock import Clock

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
    clock: Clock | None = None,
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
        clock: says after each portion whether there is time for another; None: no limit.
        baseline: another model and its name, asked the same, that the mean corruption error is relative to.
        seed: of which images are taken, of what is drawn, and of the bootstrap.
        step: told of pictures that were answered.

    Returns:
        The block; ``of`` are the labelled images that there were, of which ``n`` were taken, and ``seconds`` is what it took.

    Raises:
        UsageError: an unknown kind or severity.
        NotEnoughData: fewer labelled images than anything can be told from.
        Skipped: as ``clock`` says.
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
    portion = clock.portion if clock is not None else ROUND
    for at in range(0, min(len(order), most), portion):
        some = rows(table, order[at : min(at + portion, most)])
        for one, parts in zip(asked, told, strict=True):
            parts.append(errors_of(one, some, conditions, seed=seed, step=step))
        if clock is not None and not clock.another():
            break
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
    kinds = np.unique(y[shuffled], axis=0, return_inverse=True)[1].ravel()
    place = np.empty(len(shuffled))
    for k in np.unique(kinds):
        own = np.flatnonzero(kinds == k)
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return np.asarray(shuffled[np.argsort(place, kind="stable")], np.int64)


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


@dataclass(frozen=True, eq=False)
class Corrupted:
    """What ``corrupt`` found.

    Attributes:
        facts: the block of ``corruption_block`` with ``bundle`` and ``split``.
        page: corruption.html.
        trained_on: how many of the images the bundle was trained on, as far as the run beside it tells.
        seconds: all in all.
    """

    facts: Mapping[str, Any]
    page: Path
    trained_on: int
    seconds: float


@checked
def corrupt_images(
    bundle: Path,
    data: Path,
    *,
    baseline: Path | None = None,
    kinds: tuple[str, ...] = (*corrupt.CORRUPTIONS, *corrupt.HELD_OUT),
    severities: tuple[int, ...] = SEVERITIES,
    images: int = MOST,
    budget: Duration | None = None,
    out: Path = Path("corruption"),
    split: Literal["train", "validation", "test"] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Corrupted:
    """Tell what noise, blur, weather and bad files cost a bundle, kind by kind.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled pictures, as for ``evaluate``.
        baseline: another bundle of the same classes, which the mean corruption error is relative to.
        kinds: of corruptions; omitted: the 15 of ImageNet-C and the 4 that were held out.
        severities: some of 1,2,3,4,5.
        images: how many to ask about at most.
        budget: e.g. 60s; after it no further images are taken in hand.
        out: folder for corruption.json and corruption.html.
        split: train, validation or test; omitted: test where the data has one, else all.
        path_column, label_column: as for ``train``.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of which images are taken and of everything that is drawn.

    Raises:
        UsageError: a kind or a severity that does not exist.
        BundleError: a baseline of other classes, or one that sees pictures in another way.
        NotEnoughData: too few labelled images.
    """
    ready.check_settings("corrupt", engine=engine, extra_formats=extra_formats)
    _check(kinds, severities)
    ready.check_machine()
    storage.check_writable(out)
    stages = Stages()
    with stages.stage("read"):
        shipped = bundles.read(bundle)
        other = bundles.read(baseline) if baseline is not None else None
        if other is not None and (other.classes, other.task, other.preprocess) != (
            shipped.classes,
            shipped.task,
            shipped.preprocess,
        ):
            raise BundleError(
                f"the baseline {baseline} has other classes, another task or another size than {bundle}",
                allowed="a bundle of the same classes in the same order, made at the same --size",
            )
        table = sources.read(
            data, path_column=path_column, label_column=label_column, task=shipped.task, classes=shipped.classes
        ).manifest
        table, chosen = judged.split_of(table, split)
    with stages.stage("decode", len(table)) as stage:
        table, bad = load.index(table, shipped.preprocess, extra_formats=extra_formats, step=stage.step)
    ready.check_readable(table, bad)
    count = min(images, len(table)) * (1 + len(kinds) * len(severities)) * (2 if other else 1)
    with stages.stage("corrupt", count) as stage:
        block = corruption_block(
            Model(shipped, engine),
            table,
            kinds=kinds,
            severities=tuple(sorted(set(severities))),
            most=images,
            clock=None if budget is None else Clock(time.monotonic(), max(0.0, budget - stages.seconds()), ROUND, 0),
            baseline=(str(baseline), Model(other, engine)) if other is not None else None,
            seed=seed,
            step=stage.step,
        )
        stage.detail = f"{block['n']:,} of {block['of']:,} images, {len(kinds)} kinds"
    facts = {**block, "bundle": origin.name(bundle), "split": chosen}
    storage.write_json(out / "corruption.json", facts)
    page = out / "corruption.html"
    storage.write_atomic(page, pages.text(facts))
    return Corrupted(facts, page, judged.trained_on(bundle, table), stages.seconds())
