"""``visum train``: a folder of images becomes a trusted classifier."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visum import __version__, storage
from visum.config import Duration
from visum.data import load, sources
from visum.data import split as splits
from visum.data.decode import EXTRA_FORMATS
from visum.errors import DataError, NotEnoughData, UnreadableImage
from visum.judge import calibrate
from visum.judge import evaluate as judge
from visum.models import aside, predict
from visum.models import weights as pretrained
from visum.models.embed import Network, embed, missing
from visum.runtime import Stages, interruptible
from visum.ship import bundle as bundles
from visum.ship import report
from visum.types import (
    Bundle,
    Embeddings,
    Finding,
    Fit,
    Manifest,
    Predictions,
    Preprocess,
    Score,
    Task,
    in_split,
    probabilities,
    rows,
)
from visum.workflow import audit, beside, plan, ready, record
from visum.workflow import ladder as climbing
from visum.workflow.checked import checked
from visum.workflow.thumbnails import thumbnails

GOLDEN = 8
"""Images that travel inside the bundle, to prove at its destination that it still answers the same."""


@dataclass(frozen=True)
class Run:
    """Where a finished run is, and what came of it.

    Attributes:
        folder: RUN, with ``report.html``, ``metrics.json`` … in it.
        bundle: the folder to ship.
        report: the page to look at.
        chosen: name of the rung that became the bundle.
        scores: by metric, of the sealed test split, or of validation where there is no test split.
        sealed: whether ``scores`` are of the test split.
        ladder: rung → its headline score on validation.
        findings: of the audit, most serious first.
        seconds: all in all.
    """

    folder: Path
    bundle: Path
    report: Path
    chosen: str
    scores: dict[str, Score]
    sealed: bool
    ladder: dict[str, Score]
    findings: tuple[Finding, ...]
    seconds: float


@checked
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
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
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
        weights: a safetensors file, or ``hub`` to download timm's own.
        size: working size in pixels; fitted to pictures and budget if omitted.
        fit: pad (nothing is cut away), crop or squash.
        views: of the train images: plain, mirror.
        ladder: classifiers to try, e.g. hog+rbf_svm, embedding+probe.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        strict: stop at the first unreadable file instead of going on without it.
        overwrite: replace a run with other settings in ``out``.
        seed: of splits and of everything else that draws.

    Raises:
        DataError: the data set cannot be used, or (``strict``) a file cannot be read.
        UsageError: impossible settings, or ``out`` holds something else.
        StorageError: ``out`` or the cache cannot be written.
        Interrupted: SIGINT or SIGTERM; finished work is kept.
    """
    settings = {key: value for key, value in locals().items() if not key.startswith("_")}
    climbing.check(ladder)
    ready.check_settings(
        "train", size=size, engine=engine, extra_formats=extra_formats, views=views, fractions=fractions
    )
    folder = out or Path("runs") / (Path(data).resolve().name.partition(".")[0] or "run")
    command = (
        shlex.join(["visum", *sys.argv[1:]]) if Path(sys.argv[0]).name == "visum" else f"visum.train({str(data)!r})"
    )
    stages = Stages()
    with (
        interruptible(next="the same command again; it goes on where it stopped"),
        record.opened(folder, settings, command) as facts,
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
            stage.detail = f"{len(table):,} files, {len(table.classes)} classes, {table.task}"

        with stages.stage("plan") as stage:
            spec = pretrained.spec(backbone, weights)
            glance = ready.glance(table, extra_formats)
            largest = size or ready.fitting_size(glance.side, spec.size)
            spec, stage.detail = replace(spec, size=largest, fit=fit), f"{largest} px"
            if budget is not None and size is None:
                kept = plan.kept(facts, budget)
                if kept is None:
                    per_image, first = plan.measure(backbone, weights, spec, engine)
                    spent = stages.seconds()
                    kept = plan.choose(len(table), spent, budget, glance, per_image, largest, first=first)
                facts["plan"] = {"budget": budget, **asdict(kept)}
                spec, stage.detail = replace(spec, size=kept.size), kept.why

        # Two things are done beside: the first run on a machine builds the network, for which one core is enough, while
        # pictures are decoded; and the audit looks at them while the network does, which leaves Python idle.
        with ThreadPoolExecutor(1) as pool, aside.ended(), beside.ended() as going_on:
            preparing = pool.submit(plan.prepare, backbone, weights, spec, engine)
            with stages.stage("decode", len(table)) as stage:
                table, bad = load.index(table, spec, extra_formats=extra_formats, step=stage.step)
                stage.detail = f"{len(table):,} images" + (f", {len(bad)} unreadable" if bad else "")
            _check_readable(table, bad, strict)
            with stages.stage("network") as stage:
                network = preparing.result()
                stage.detail = network.backbone.name
            looking = pool.submit(audit.looks, table, spec, going_on)
            base, fresh = network.backbone, missing(table, network)
            with stages.stage("embed", len(table)) as stage:
                vectors = embed(table, network, step=stage.step)["plain"].vectors
                stage.detail = f"{vectors.shape[1]:,} features of {spec.size} px images"
            embedding = stages.rows[-1]["seconds"]
            with stages.stage("look"):
                seen = looking.result()
        facts["engine"] = _engine(network, fresh, embedding)

        with stages.stage("audit") as stage:
            audited = audit.pictures(table, seen, vectors, bad)
            copies = len(table) - len(np.unique(audited.clusters))
            stage.detail = f"{copies} copies" if copies else "no copies"
        with stages.stage("split") as stage:
            before, table = table, splits.split(table, audited.clusters, fractions=fractions, seed=seed)
            stage.detail = splits.describe(table, before)

        more = tuple(view for view in views if view != "plain")
        train_rows = rows(table, in_split(table, "train"))
        extra: dict[str, Embeddings] = {}
        if more:
            with stages.stage("embed views", len(train_rows) * len(more)) as stage:
                extra = embed(train_rows, network, views=more, step=stage.step)
                stage.detail = ", ".join(more)
        ground = climbing.Ground(table, spec, network, vectors, tuple(e.vectors for e in extra.values()), more, seed)

        rungs = []
        for name in ladder:
            dear = plan.rest(len(table)) + plan.rung(len(table))
            needed = name in climbing.CHEAP or name == climbing.foothold(ladder)
            if not needed and not plan.fits(budget, stages.seconds(), dear):
                continue
            with stages.stage(f"ladder: {name}") as stage:
                rungs.append(climbing.climb(name, ground))
                stage.detail = _headline(rungs[-1])
        best = climbing.best(rungs)

        with stages.stage("calibrate") as stage:
            held = best.validation
            held = replace(held, thresholds=calibrate.thresholds(probabilities(held), held.labels, held.task))
            made = _bundle(best, base, spec, held, table)
            stage.detail = f"temperature {made.temperature:.3g}"
        with stages.stage("doubt labels") as stage:
            open_rows = ~in_split(table, "test")
            doubtful = audit.suspects(
                rows(table, open_rows),
                vectors[open_rows],
                _renumbered(audited.clusters, open_rows),
                network.digest,
                seed,
            )
            doubtful += audit.shortcuts(table, seen, judge.score(held, judge.headline(held.task)))
            findings = tuple(audit.by_severity(found.findings, [*audited.findings, *doubtful]))
            stage.detail = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"

        with stages.stage("test") as stage:
            blocks = {"validation": judge.evaluate(held, seed=seed)}
            model = predict.Model(made, engine)
            test: Predictions | None = None
            if in_split(table, "test").any():
                record.open_test(facts, table)
                test = predict.of_table(rows(table, in_split(table, "test")), model)
                blocks["test"] = judge.evaluate(test, seed=seed)
                often = facts["test_openings"]
                stage.detail = f"{len(test):,} images, opened {'once' if often == 1 else f'{often} times'}"

        with stages.stage("write") as stage:
            data_block = record.data_facts(table, [{"id": e.path, "reason": e.reason} for e in bad], data)
            facts.update(data=data_block, backbone=base.name, preprocess=asdict(spec), seconds=stages.seconds())
            made = replace(made, notes=_notes(facts, blocks, findings, best, backbone))
            bundles.write(made, folder / "bundle", _golden(table, model))
            metrics = _metrics(made, best, rungs, blocks)
            _write(folder, table, findings, metrics, rungs)
            with record.saving(folder / "predictions"), storage.atomic_folder(folder / "predictions") as draft:
                held.save(draft, "validation")
                if test is not None:
                    test.save(draft, "test")
        facts["seconds"] = stages.seconds()
        facts["status"] = "finished"
        storage.write_json(folder / "run.json", facts)
        page = report.write(folder, thumbnail=thumbnails(table, spec))
        storage.evict()
    final = blocks.get("test", blocks["validation"])["metrics"]
    return Run(
        folder,
        folder / "bundle",
        page,
        best.name,
        {name: Score(name, **score) for name, score in final.items()},
        test is not None,
        {rung.name: rung.metrics()[judge.headline(table.task)] for rung in rungs},
        findings,
        stages.seconds(),
    )


def _check_readable(table: Manifest, bad: Sequence[UnreadableImage], strict: bool) -> None:
    if bad and strict:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(
            f"{bad[0].path}: {bad[0].reason}{more}", allowed="no unreadable file with --strict", next="without it"
        )
    if not len(table):
        raise NotEnoughData(f"none of {len(bad)} files could be read; the first: {bad[0]}", next="visum doctor FILE")
    ready.check_enough(table)


def _engine(network: Network, fresh: int, seconds: float) -> dict[str, Any]:
    """Which engine made the embeddings and how fast; the store, where all were made before."""
    if not fresh:
        return {"name": "store", "precision": "float16", "images_per_second": None}
    speed = round(fresh / max(seconds, 1e-3), 1)
    return {"name": network.engine.name, "precision": network.engine.precision, "images_per_second": speed}


def _headline(rung: climbing.Rung) -> str:
    name = judge.headline(rung.validation.task)
    score = rung.metrics()[name]
    return f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f}) validation {name.replace('_', ' ')}"


def _renumbered(clusters: Any, where: Any) -> Any:
    """Cluster numbers of the rows ``where``, as rows of the smaller table."""
    _, first, numbers = np.unique(clusters[where], return_index=True, return_inverse=True)
    return first[numbers]


def _bundle(
    rung: climbing.Rung, base: pretrained.Backbone, spec: Preprocess, held: Predictions, table: Manifest
) -> Bundle:
    tensors = dict(rung.weights)
    if rung.architecture is not None and rung.architecture["kind"] == "probe":
        tensors.update({f"backbone.{name}": value for name, value in base.weights.items()})
    return Bundle(table.task, table.classes, rung.architecture or {}, spec, tensors, held.temperature, held.thresholds)


def _golden(table: Manifest, model: predict.Model) -> list[bundles.Golden]:
    """Up to ``GOLDEN`` validation images with what the bundle answers, one class after the other."""
    order = np.flatnonzero(in_split(table, "validation"))
    labels = [table.labels[row] for row in order]
    seen: dict[Any, int] = {}
    turn = [seen.update({label: seen.get(label, -1) + 1}) or seen[label] for label in labels]
    picked = [int(order[at]) for at in np.argsort(turn, kind="stable")[:GOLDEN]]
    data = [Path(load.location(table, row)).read_bytes() for row in picked]
    answers = [z for z in predict.stream(data, model, extra_formats=EXTRA_FORMATS) if isinstance(z, np.ndarray)]
    b = model.bundle
    p = probabilities(
        Predictions(table.ids[picked], np.stack(answers), np.zeros(0, np.int64), b.classes, b.task, "", b.temperature)
    )
    return [
        (table.ids[row].rsplit("/", 1)[-1], blob, answer) for row, blob, answer in zip(picked, data, p, strict=True)
    ]


def _notes(
    facts: dict[str, Any], blocks: dict[str, Any], findings: Sequence[Finding], rung: climbing.Rung, backbone: str
) -> dict[str, Any]:
    """What the model card tells."""
    data = facts["data"]
    known = pretrained.PACKAGED.get(backbone)
    source = {"licence": known.licence, "source": known.source} if known else {}
    probe = rung.architecture is not None and rung.architecture["kind"] == "probe"
    return {
        "visum": __version__,
        "created": facts["started"],
        "command": facts["command"],
        "training": {"Chosen on validation": rung.name, "How": rung.detail},
        "data": {"name": Path(data["path"]).name, **{key: data[key] for key in ("n", "digest", "splits", "counts")}},
        "scores": {split: block["metrics"] for split, block in blocks.items()},
        "findings": [finding.message for finding in findings],
        "versions": facts["versions"],
        **({"backbone": {"name": facts["backbone"], **source}} if probe else {}),
    }


def _metrics(
    made: Bundle, best: climbing.Rung, rungs: Sequence[climbing.Rung], blocks: dict[str, Any]
) -> dict[str, Any]:
    """``metrics.json``."""
    return {
        "task": made.task,
        "classes": list(made.classes),
        "chosen": best.name,
        "temperature": made.temperature,
        "thresholds": list(made.thresholds),
        "splits": blocks,
        "ladder": [
            {
                "name": rung.name,
                "seconds": round(rung.seconds, 3),
                "n": len(rung.validation),
                "metrics": {name: _plain(score) for name, score in rung.metrics().items()},
                "chosen": rung is best,
                "detail": rung.detail,
            }
            for rung in rungs
        ],
    }


def _plain(score: Score) -> dict[str, Any]:
    return {key: value for key, value in asdict(score).items() if key != "name"}


def _write(
    folder: Path, table: Manifest, findings: Sequence[Finding], metrics: dict[str, Any], rungs: Sequence[climbing.Rung]
) -> None:
    with record.saving(folder / "manifest.parquet") as draft:
        table.save(draft)
    storage.write_json(folder / "findings.json", [asdict(finding) for finding in findings])
    storage.write_json(folder / "metrics.json", metrics)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["rung", "l2", "validation_log_loss"])
    writer.writerows([rung.name, strength, f"{loss:.6f}"] for rung in rungs for strength, loss in rung.history)
    storage.write_atomic(folder / "history.csv", text.getvalue())
