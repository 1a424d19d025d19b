"""``visum train DATA --find-lr``: the learning-rate range test (Smith 2017) on what a run would train, before it is trained."""

from __future__ import annotations

import csv
import inspect
import io
import itertools
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from visum import storage
from visum.data import load, sources
from visum.data import split as splits
from visum.errors import TrainingError
from visum.models import aside, heads, pools, prefix
from visum.models import weights as pretrained
from visum.models.embed import View, embed, no_vectors
from visum.runtime import Stage, Stages, interruptible
from visum.types import Embeddings, Fit, Manifest, Task, in_split, rows
from visum.workflow import audit, finetune, ladder, plan, ready, record
from visum.workflow import tuning as tunings
from visum.workflow.checked import checked
from visum.workflow.course import Course
from visum.workflow.ladder import Ground
from visum.workflow.rate_plot import rate_plot
from visum.workflow.showing import png
from visum.workflow.train import train
from visum.workflow.tuning import Tuning

if TYPE_CHECKING:
    from visum.learn.find_lr import RangeTest
    from visum.workflow.lesson import Lesson

STEPS = 100
LOW, HIGH = 1e-6, 1.0
PLAIN = ("sgd", "momentum", "nesterov")
"""Optimisers whose steps grow with the gradient: they take ten times the rates of those that scale it."""
_EVERY = 10**6  # an epoch by which everything is unfrozen

Below1 = Annotated[float, Field(ge=0, lt=1)]
UpTo10 = Annotated[float, Field(ge=0, le=10)]


@dataclass(frozen=True)
class Found:
    """What a range test found.

    Attributes:
        suggestion: a peak learning rate; None where the loss never fell.
        lowest: the rate at which the smoothed loss was lowest.
        cut: the stage after which the network was trained, or none for all of it.
        optimiser: which.
        steps: how many rates were tried before the loss broke or the test was over.
        picture, table: PNG and CSV.
    """

    suggestion: float | None
    lowest: float
    cut: str
    optimiser: str
    steps: int
    picture: Path
    table: Path


@checked
def find_learning_rate(
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
    fractions: tuple[float, float, float] = splits.FRACTIONS,
    backbone: str = pretrained.DEFAULT,
    weights: str | None = None,
    size: int | None = None,
    fit: Fit = "pad",
    views: tuple[str, ...] = ("plain",),
    cut: str = "auto",
    batch: Annotated[int, Field(ge=1, le=65536)] | None = None,
    augment: str = "light",
    loss: str | None = None,
    label_smoothing: Below1 = 0.1,
    optimiser: str = "adamw",
    weight_decay: UpTo10 = 0.02,
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0,
    l1: UpTo10 = 0.0,
    mixup: UpTo10 = 0.2,
    cutmix: UpTo10 = 0.0,
    dropout: Below1 = 0.2,
    drop_path: Below1 = 0.0,
    pool: str = pools.MEAN,
    head: str = heads.LINEAR,
    margin: Annotated[float, Field(ge=0, le=1.5)] = tunings.MARGIN,
    scale: Annotated[float, Field(ge=1, le=1000)] = tunings.SCALE,
    clip: Annotated[float, Field(ge=0, le=1e6)] = 1.0,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    strict: bool = False,
    seed: int = 0,
) -> Found:
    """Try growing learning rates on what would be trained, draw the loss to OUT/find_lr.png, and suggest a rate.

    Everything before training is what a run does, and stays in the cache for it. A hundred steps are taken, at rates that grow
    by a constant factor from 1e-6 to 1 (10 for plain gradient descent); what they did to the network is undone.

    Args:
        data: folder, table or archive (docs/data.md).
        out: the run folder that a run would have; ``runs/NAME`` if omitted.
        path_column, label_column, split_column, group_column: names of a table's columns.
        group_regex: makes groups of paths; see ``train``.
        delimiter: between several labels of one cell.
        task: binary, multiclass or multilabel; told from the data if omitted.
        fractions: of train, validation and test, where the data has no splits of its own.
        backbone, weights: of the network.
        size: working size in pixels; fitted to the pictures if omitted (a run with a budget may choose a smaller one).
        fit: pad, crop or squash.
        views: of the train images that the probe sees, with which training starts.
        cut: where training begins: after this stage, none for the whole network; auto: after the first that may be chosen.
        batch: pictures in one step.
        augment, mixup, cutmix: what training sees.
        loss, label_smoothing, l1: what it is asked for.
        optimiser, weight_decay, layer_decay, clip: how it moves.
        dropout, drop_path: shares of features in front of the last layer, and of residual branches, that are left out.
        pool: what the last map becomes a vector by.
        head, margin, scale: the last layer.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        strict: stop at the first unreadable file.
        seed: of splits and of everything else that draws.

    Raises:
        DataError: the data set cannot be used.
        UsageError: impossible settings, or ``out`` holds something else.
        TrainingError: the loss is no number from the first step on.
        StorageError: ``out`` or the cache cannot be written.
    """
    given = {key: value for key, value in locals().items() if not key.startswith("_")}
    ready.check_settings(
        "train", size=size, engine=engine, extra_formats=extra_formats, views=views, fractions=fractions
    )
    usual = inspect.signature(train).parameters  # what a rate is not looked for with is as ever
    tuning = Tuning(**{each.name: given.get(each.name, usual[each.name].default) for each in fields(Tuning)})
    folder, stages = record.visited(data, out), Stages()
    with interruptible(next="the same command again; what was computed is kept"):
        ground = _ground(stages, tuning, given)
        start = None
        if not ground.untrained:
            with stages.stage(f"ladder: {ladder.PROBE}"):
                start = ladder.climb(ladder.PROBE, ground)
        here = tuning.cut
        if here == tunings.AUTO:
            here = prefix.WHOLE if ground.untrained else prefix.cuts(ground.network.backbone)[0]
        n, held = int(ground.labelled("train").sum()), int(ground.labelled("validation").sum())
        with stages.stage("prepare", 0 if here == prefix.WHOLE else n + held) as stage:
            lesson, _ = finetune.prepared(ground, start, tuning, Course(here, 1, 1, 0.0), stage)
            stage.detail = "the whole network" if here == prefix.WHOLE else f"after {here}"
        with stages.stage("range test", STEPS) as stage:
            seen = tested(lesson, stage)
            if len(seen.rates) < 2:
                raise TrainingError(
                    "the loss is no number from the first step on", next="another --loss, or --size and --augment"
                )
            stage.detail = f"{len(seen.rates)} rates up to {seen.rates[-1]:.2g}"
        storage.evict()
    found = Found(
        seen.suggestion,
        float(seen.rates[np.argmin(seen.losses)]),
        here,
        optimiser,
        len(seen.rates),
        folder / "find_lr.png",
        folder / "find_lr.csv",
    )
    what = "the whole network" if here == prefix.WHOLE else f"the network after {here}"
    drawn = "no augmentation" if augment == "none" else f"{augment} augmentation"
    note = f"{optimiser} on {what}, {lesson.batch} pictures a step, {drawn}"
    page = rate_plot(seen.rates, seen.raw, seen.losses, seen.suggestion, "Learning rate range test", note)
    storage.write_atomic(found.picture, png(page))
    storage.write_atomic(found.table, table(seen))
    return found


def tested(lesson: Lesson, stage: Stage) -> RangeTest:
    """The range test of a lesson; its model is afterwards what it was before."""
    from visum.learn.find_lr import find_lr
    from visum.learn.objectives import Batch

    steps = itertools.count()

    def loss(model: Any, batch: Any) -> Any:
        lesson.opening(model, _EVERY)
        x, target = batch
        draw = np.random.default_rng([lesson.seed, 0, next(steps)])
        return lesson.objective(model, Batch(x, target, draw))[0]

    return find_lr(
        lesson.model,
        itertools.chain.from_iterable(lesson.batches(epoch) for epoch in itertools.count()),
        loss,
        lambda _: lesson.optimiser,
        low=LOW,
        high=10 * HIGH if lesson.tuning.optimiser in PLAIN else HIGH,
        steps=STEPS,
        clip=lesson.tuning.clip or None,
        step=stage.step,
    )


def table(seen: RangeTest) -> str:
    """CSV: rate, loss, smoothed."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("rate", "loss", "smoothed"))
    for rate, raw, smoothed in zip(seen.rates, seen.raw, seen.losses, strict=True):
        writer.writerow((f"{rate:.6g}", f"{raw:.6f}", f"{smoothed:.6f}"))
    return out.getvalue()


def _ground(stages: Stages, tuning: Tuning, given: dict[str, Any]) -> Ground:
    """The way of ``train`` up to its first rung, step by step: the same rows, splits and embeddings, hence the same store."""
    backbone, weights, extra_formats = given["backbone"], given["weights"], given["extra_formats"]
    scratch = weights == pretrained.UNTRAINED
    with stages.stage("read") as stage:
        columns = ("path_column", "label_column", "split_column", "group_column", "group_regex", "delimiter", "task")
        images: Manifest = sources.read(given["data"], **{name: given[name] for name in columns}).manifest
        ready.check_enough(images)
        tunings.check(tuning, images.task, backbone)
        stage.detail = f"{len(images):,} files, {len(images.classes)} classes, {images.task}"
    spec = pretrained.spec(backbone, weights)
    size = given["size"] or plan.sizes(backbone, weights, ready.glance(images, extra_formats).side, spec.size)[0]
    spec = replace(spec, size=size, fit=given["fit"])
    with aside.ended():
        with stages.stage("decode", len(images)) as stage:
            images, bad = load.index(images, spec, extra_formats=extra_formats, step=stage.step)
        ready.check_readable(images, bad, strict=given["strict"])
        ready.check_enough(images)
        with stages.stage("network") as stage:
            network = plan.prepare(backbone, weights, spec, given["engine"], given["seed"])
            stage.detail = network.backbone.name
        vectors = no_vectors(images)
        if not scratch:
            with stages.stage("embed", len(images)) as stage:
                vectors = embed(images, network, step=stage.step)["plain"].vectors
        with stages.stage("look", len(images)) as stage:
            seen = audit.looks(images, spec, stage.step)
    with stages.stage("split") as stage:
        clusters = audit.pictures(images, seen, vectors, bad).clusters
        before, images = images, splits.split(images, clusters, fractions=given["fractions"], seed=given["seed"])
        stage.detail = splits.describe(images, before)
    more = tuple(view for view in given["views"] if view != "plain")
    extra: dict[View, Embeddings] = {}
    if more and not scratch:
        with stages.stage("embed views") as stage:
            extra = embed(rows(images, in_split(images, "train")), network, views=more, step=stage.step)
    return Ground(images, spec, network, vectors, tuple(e.vectors for e in extra.values()), more, given["seed"])
