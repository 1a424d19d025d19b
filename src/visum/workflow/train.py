"""``visum train``: a folder of images becomes a trusted classifier."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from visum import storage
from visum.config import Duration
from visum.data import load, sources
from visum.data import split as splits
from visum.judge import calibrate
from visum.judge import evaluate as judge
from visum.models import aside, heads, pools, predict
from visum.models import weights as pretrained
from visum.models.embed import Network, View, embed, missing, no_vectors
from visum.runtime import Stages, interruptible
from visum.ship import bundle as bundles
from visum.ship import report
from visum.types import Embeddings, Fit, Task, in_split, probabilities, rows
from visum.workflow import attempts, audit, beside, crew, logs, origin, outcome, plan, promise, ready, record, reference
from visum.workflow import ladder as climbing
from visum.workflow import teacher as teachers
from visum.workflow import tuning as tunings
from visum.workflow.checked import checked
from visum.workflow.outcome import Run
from visum.workflow.thumbnails import thumbnails

Below1 = Annotated[float, Field(ge=0, lt=1)]
UpTo10 = Annotated[float, Field(ge=0, le=10)]


@checked
@crew.together
def train(
    data: Path,
    *,
    out: Path | None = None,
    budget: Duration | None = None,
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
    ladder: tuple[str, ...] = climbing.LADDER,
    cut: str = "auto",
    epochs: Annotated[int, Field(ge=1, le=tunings.MOST_SETTABLE)] | None = None,
    batch: Annotated[int, Field(ge=1, le=65536)] | None = None,
    augment: str = "light",
    loss: str | None = None,
    label_smoothing: Below1 = 0.1,
    optimiser: str = "adamw",
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | None = None,
    weight_decay: UpTo10 = 0.02,
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0,
    l1: UpTo10 = 0.0,
    schedule: str = "one_cycle",
    warm_up: Below1 = 0.0,
    mixup: UpTo10 = 0.2,
    cutmix: UpTo10 = 0.0,
    dropout: Below1 = 0.2,
    drop_path: Below1 = 0.0,
    start_size: Annotated[int, Field(ge=16, le=4096)] | None = None,
    snapshots: Annotated[int, Field(ge=1, le=50)] = 1,
    pool: str = pools.MEAN,
    head: str = heads.LINEAR,
    margin: Annotated[float, Field(ge=0, le=1.5)] = tunings.MARGIN,
    scale: Annotated[float, Field(ge=1, le=1000)] = tunings.SCALE,
    ema: Below1 = 0.0,
    clip: Annotated[float, Field(ge=0, le=1e6)] = 1.0,
    unfreeze: str = "everything",
    patience: Annotated[int, Field(ge=0, le=tunings.MOST_SETTABLE)] = 0,
    device: str = tunings.AUTO,
    precision: str = tunings.AUTO,
    harden: str | None = None,
    epsilon: Annotated[float, Field(gt=0, le=1)] = tunings.EPSILON,
    harden_steps: Annotated[int, Field(ge=1, le=1000)] | None = None,
    harden_weight: Annotated[float, Field(gt=0, le=1000)] | None = None,
    teacher: Path | None = None,
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 0.5,
    teacher_temperature: Annotated[float, Field(gt=0, le=100)] = 4.0,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    log: tuple[str, ...] = (),
    strict: bool = False,
    overwrite: bool = False,
    seed: int = 0,
) -> Run:
    """Train, judge and bundle a classifier of the images in a folder, a table or an archive.

    Args:
        data: folder of class folders (or of split folders of these), CSV, Parquet, metadata.csv, zip or tar.
        out: the run folder; ``runs/NAME`` if omitted. The same command again goes on where it stopped.
        budget: e.g. 60s, 10m; the working size is chosen to fit. None: no limit, the best size.
        path_column, label_column, split_column, group_column: names of a table's columns.
        group_regex: makes groups of paths that no split tears apart; its first bracket, or the whole match.
        delimiter: between several labels of one cell.
        task: binary, multiclass or multilabel; told from the data if omitted.
        fractions: of train, validation and test, where the data has no splits of its own.
        backbone: packaged weights by name, or any timm or torchvision architecture with ``weights``.
        weights: a safetensors file, ``hub`` to download timm's own, or ``none`` to train the network from scratch.
        size: working size in pixels; fitted to pictures and budget if omitted.
        fit: pad (nothing is cut away), crop or squash.
        views: of the train images: plain, mirror.
        ladder: classifiers to try, e.g. hog+rbf_svm, embedding+probe, finetune. With a budget and no ladder of your own,
            finetune is tried where it fits.
        cut: where fine-tuning begins: after this stage of the network, none for the whole of it, auto for what fits.
        epochs: of training; as many as fit the budget if omitted.
        batch: pictures in one step; 32, from scratch 128, if omitted.
        augment: views that training sees: none, light, medium, strong, or names like flip,rotation.
        loss: of training: cross_entropy, focal, class_balanced; binary_cross_entropy, asymmetric when multilabel.
        optimiser: adamw, adam, sgd, momentum, nesterov, lion, muon, adam_then_sgd.
        label_smoothing: share of the target that is spread over all classes.
        learning_rate: of the optimiser; if omitted its usual one, or less where a trial says that it does harm.
        weight_decay: of the optimiser.
        layer_decay: factor of the rate from each block to the one before it; 1: all learn alike.
        l1: strength of a sum of absolute weights in the loss.
        schedule: one_cycle, cosine, linear, step, plateau, constant.
        warm_up: share of training in which the rate rises to its first value.
        mixup: alpha of mixed pictures; 0 for none.
        cutmix: alpha of pictures with a box of another one; 0 for none.
        dropout: share of features that is left out in front of the last layer.
        drop_path: how often the branch of the last residual block is left out; earlier ones less often (stochastic depth).
        start_size: side in pixels of the first epoch's pictures, which then grow to the working size; of whole networks.
        snapshots: rounds of the schedule; with more than one the network of each is kept, for visum ensemble.
        pool: of the network's last map, where it is trained: mean, attention, or bilinear (products of channels).
        head: linear, or cosine, which compares directions alone: for classes that differ little (ArcFace).
        margin: angle in radians by which the cosine head must win while it is trained.
        scale: largest logit of the cosine head.
        ema: largest decay of a moving average of weights, which is then what is judged; 0 for none.
        clip: largest norm of a gradient; 0 for none.
        unfreeze: everything at once, head_first, or gradual.
        patience: epochs without a better validation loss after which it ends; 0: never.
        device: of training: cpu, cuda, or auto for a graphics card if there is one.
        precision: of training: float32, bfloat16, or auto for bfloat16 where the hardware has it.
        harden: train the whole network to bear attacks (pgd, fast, free, trades) or corruptions (augmix).
        epsilon: largest change of a value in these attacks, as a share of the way from black to white.
        harden_steps: of each attack while training: 7 of pgd, 10 of trades if omitted.
        harden_weight: of like answers in the loss: 6 of trades, 12 of augmix if omitted.
        teacher: a bundle or run of the same classes, from whose answers the network learns besides the labels.
        teacher_share: share of the loss that asks for its answers; the rest asks for the labels.
        teacher_temperature: at which answers are compared: the more, the more the smaller probabilities count.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        log: where the history is written besides history.csv: tensorboard, mlflow.
        strict: stop at the first unreadable file instead of going on without it.
        overwrite: replace a run with other settings in ``out``.
        seed: of splits and of everything else that draws.

    Raises:
        DataError: the data set cannot be used, or (``strict``) a file cannot be read.
        UsageError: impossible settings, or ``out`` holds something else.
        BundleError: the teacher is no bundle, or one of other classes or another task.
        StorageError: ``out`` or the cache cannot be written.
        Interrupted: SIGINT or SIGTERM; finished work is kept.
    """
    settings = {key: value for key, value in locals().items() if not key.startswith("_")}
    scratch = weights == pretrained.UNTRAINED
    if scratch and ladder == climbing.LADDER:
        ladder = climbing.FROM_SCRATCH
    last = climbing.SCRATCH if scratch else climbing.FINETUNE
    if teacher is not None:
        ladder = teachers.with_rung(ladder, last)
    climbing.check(ladder, untrained=scratch)
    tuning = tunings.Tuning(**{field.name: settings[field.name] for field in fields(tunings.Tuning)})
    tunes = last in ladder or (budget is not None and ladder == climbing.LADDER)
    tunings.check_ladder(tuning, tunes, last)
    ready.check_settings(
        "train", size=size, engine=engine, extra_formats=extra_formats, views=views, fractions=fractions
    )
    master = teachers.read(teacher, teacher_share, teacher_temperature) if teacher is not None else None
    logs.check(log)
    folder = record.home(data, out)
    command = (
        shlex.join(["visum", *sys.argv[1:]])
        if Path(sys.argv[0]).name in ("visum", "__main__.py")
        else f"visum.train({str(data)!r})"
    )
    stages = Stages()
    with (
        interruptible(next="the same command again; it goes on where it stopped"),
        record.opened(folder, settings, command, beyond={"teacher_digest": master.digest} if master else {}) as facts,
    ):
        facts["stages"], facts["budget"] = stages.rows, budget

        with stages.stage("read") as stage:
            found = sources.read(
                data,
                path_column=path_column,
                label_column=label_column,
                split_column=split_column,
                group_column=group_column,
                group_regex=group_regex,
                delimiter=delimiter,
                task=task,
            )
            table = found.manifest
            ready.check_enough(table)
            if tunes and _chosen(settings, tunings.Tuning):  # the defaults are known to be there: torch can wait
                tunings.check(tuning, table.task, backbone)
            if master is not None:
                teachers.check(master, table)
            stage.detail = f"{len(table):,} files, {len(table.classes)} classes, {table.task}"

        with stages.stage("plan") as stage:
            spec = pretrained.spec(backbone, weights)
            glance = ready.glance(table, extra_formats)
            native = spec.size
            largest, *smaller = (size,) if size else plan.sizes(backbone, weights, glance.side, native)
            spec, stage.detail = replace(spec, size=largest, fit=fit), f"{largest} px"
            if budget is not None and size is None and not scratch:
                kept = plan.kept(facts, budget)
                if kept is None:
                    per_image, first = plan.measure(backbone, weights, spec, engine)
                    spent = stages.seconds()
                    kept = plan.choose(len(table), spent, budget, glance, per_image, largest, smaller, first=first)
                    beyond = plan.larger(backbone, weights, glance.side, native) if tunes else None
                    if beyond is not None and kept.size == native:
                        learnt = int(in_split(table, "train").sum()) or round(fractions[0] * len(table))
                        kept = plan.enlarged(kept, beyond, len(table), learnt, spent, budget, glance, per_image)
                facts["plan"] = {"budget": budget, **asdict(kept)}
                spec, stage.detail = replace(spec, size=kept.size), kept.why

        # Two things are done beside: the first run on a machine builds the network, for which one core is enough, while
        # pictures are decoded; and the audit looks at them while the network does, which leaves Python idle.
        with ThreadPoolExecutor(1) as beneath, aside.ended(), beside.ended() as going_on:
            preparing = beneath.submit(plan.prepare, backbone, weights, spec, engine, seed)
            with stages.stage("decode", len(table)) as stage:
                table, bad = load.index(table, spec, extra_formats=extra_formats, step=stage.step)
                stage.detail = f"{len(table):,} images" + (f", {len(bad)} unreadable" if bad else "")
            ready.check_readable(table, bad, strict=strict)
            ready.check_enough(table)
            with stages.stage("network") as stage:
                network = preparing.result()
                stage.detail = network.backbone.name
            looking = beneath.submit(audit.looks, table, spec, going_on)
            base, vectors = network.backbone, no_vectors(table)
            if not scratch:
                fresh = missing(table, network)
                with stages.stage("embed", len(table)) as stage:
                    vectors = embed(table, network, step=stage.step)["plain"].vectors
                    stage.detail = f"{vectors.shape[1]:,} features of {spec.size} px images"
                facts["engine"] = _engine(network, fresh, stages.rows[-1]["seconds"])
            with stages.stage("look"):
                seen = looking.result()

        with stages.stage("audit") as stage:
            audited = audit.pictures(table, seen, vectors, bad)
            copies = len(table) - len(np.unique(audited.clusters))
            stage.detail = f"{copies} copies" if copies else "no copies"
        with stages.stage("split") as stage:
            before, table = table, splits.split(table, audited.clusters, fractions=fractions, seed=seed)
            stage.detail = splits.describe(table, before)

        more = tuple(view for view in views if view != "plain")
        train_rows = rows(table, in_split(table, "train"))
        extra: Mapping[View, Embeddings] = {}
        if more:
            with stages.stage("embed views", len(train_rows) * len(more)) as stage:
                extra = embed(train_rows, network, views=more, step=stage.step)
                stage.detail = ", ".join(more)
        ground = climbing.Ground(table, spec, network, vectors, tuple(e.vectors for e in extra.values()), more, seed)

        rungs = []
        for name in [name for name in ladder if name != last]:
            dear = plan.rest(len(table)) + plan.rung(len(table))
            needed = name in climbing.CHEAP or name == climbing.foothold(ladder)
            if not needed and not plan.fits(budget, stages.seconds(), dear):
                continue
            with stages.stage(f"ladder: {name}") as stage:
                rungs.append(replace(climbing.climb(name, ground), at=stages.seconds()))
                stage.detail = climbing.headline(rungs[-1])
        if master is not None:
            count = int((ground.labelled("train") | ground.labelled("validation")).sum())
            with stages.stage("teacher", count) as stage:
                left = attempts.left(budget, stages, plan.rest(len(table)))
                ground = replace(ground, teaching=teachers.ask(master, ground, engine, left, stage.step))
                stage.detail = "too slow for this budget"
                if ground.teaching is not None:
                    rungs.append(ground.teaching.rung)
                    stage.detail = climbing.headline(rungs[-1])
            facts["teacher"] = teachers.known(master, table, last, ground.teaching)
        if tunes:
            rest = plan.rest(len(table), scratch)
            rungs += attempts.climbed(facts, ground, tuning, rungs, last, folder, stages, budget, rest)
        best = climbing.best(tunings.hardened(tuning, rungs, last))

        with stages.stage("calibrate") as stage:
            held = best.validation
            held = replace(held, thresholds=calibrate.thresholds(probabilities(held), held.labels, held.task))
            made = outcome.bundle(best, base, spec, held, table)
            stage.detail = f"temperature {made.temperature:.3g}"
        with stages.stage("doubt labels") as stage:
            open_rows, doubtful = ~in_split(table, "test"), []
            if not scratch:  # it is embeddings that doubt them
                doubtful = audit.suspects(
                    rows(table, open_rows),
                    vectors[open_rows],
                    _renumbered(audited.clusters, open_rows),
                    network.digest,
                    seed,
                )
            doubtful += audit.shortcuts(table, seen, judge.score(held, judge.headline(held.task)))
            doubtful += teachers.doubts(master, table, ground.teaching) if master is not None else []
            findings = tuple(audit.by_severity(found.findings, [*audited.findings, *doubtful]))
            stage.detail = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"

        with stages.stage("test") as stage:
            answers, model = {"validation": held}, predict.Model(made, engine)
            if in_split(table, "test").any():
                record.open_test(facts, table)
                answers["test"] = predict.of_table(rows(table, in_split(table, "test")), model)
                often = facts["test_openings"]
                stage.detail = f"{len(answers['test']):,} images, opened {'once' if often == 1 else f'{often} times'}"
            blocks = {split: judge.evaluate(each, seed=seed) for split, each in answers.items()}

        with stages.stage("write"):
            data_block = record.data_facts(table, [{"id": e.path, "reason": e.reason} for e in bad], data)
            facts.update(data=data_block, backbone=base.name, preprocess=asdict(spec), seconds=stages.seconds())
            made = replace(made, notes=outcome.notes(facts, blocks, findings, best, backbone))
            made = reference.equipped(promise.equip(made, answers, table, model), table, model)
            bundles.write(made, folder / "bundle", outcome.golden(table, model))
            for number, each in enumerate((each for rung in rungs for each in rung.snapshots), 1):
                one = outcome.bundle(each, base, spec, each.validation, table)
                one = replace(one, notes=outcome.notes(facts, {}, findings, each, backbone))
                golden = outcome.golden(table, predict.Model(one, engine))
                bundles.write(one, folder / origin.SNAPSHOTS / str(number), golden)
            outcome.write(folder, table, findings, outcome.metrics(made, best, rungs, blocks), rungs, answers)
            logs.write(log, folder, rungs, facts, best)
        facts["seconds"] = stages.seconds()
        facts["status"] = "finished"
        storage.write_json(folder / "run.json", facts)
        page = report.write(folder, thumbnail=thumbnails(table, spec))
        storage.evict()
    return outcome.told(folder, page, best, rungs, blocks, findings, stages.seconds())


def _chosen(settings: Mapping[str, Any], kind: type[tunings.Tuning]) -> bool:
    """Whether a setting that is a field of ``kind`` is not what it is by default."""
    usual = inspect.signature(train).parameters
    return any(settings[field.name] != usual[field.name].default for field in fields(kind))


def _engine(network: Network, fresh: int, seconds: float) -> dict[str, Any]:
    """Which engine made the embeddings and how fast; the store, where all were made before."""
    if not fresh:
        return {"name": "store", "precision": "float16", "images_per_second": None}
    speed = round(fresh / max(seconds, 1e-3), 1)
    return {"name": network.engine.name, "precision": network.engine.precision, "images_per_second": speed}


def _renumbered(clusters: Any, where: Any) -> Any:
    """Cluster numbers of the rows ``where``, as rows of the smaller table."""
    _, first, numbers = np.unique(clusters[where], return_index=True, return_inverse=True)
    return first[numbers]
