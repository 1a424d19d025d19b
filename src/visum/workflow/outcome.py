"""What a finished run leaves behind: the bundle with its golden images, its notes, the tables and numbers in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum import __version__, storage
from visum.data import load
from visum.data.decode import EXTRA_FORMATS
from visum.judge import evaluate as judge
from visum.models import predict
from visum.models import weights as pretrained
from visum.ship import bundle as bundles
from visum.types import Bundle, Finding, Manifest, Predictions, Preprocess, Score, in_split, probabilities
from visum.workflow import history, record, teacher
from visum.workflow.ladder import Rung

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


def told(
    folder: Path,
    page: Path,
    best: Rung,
    rungs: Sequence[Rung],
    blocks: Mapping[str, Any],
    findings: tuple[Finding, ...],
    seconds: float,
) -> Run:
    """The answer of ``train``, from the blocks of ``metrics.json`` for each split that was judged."""
    final = blocks.get("test", blocks["validation"])["metrics"]
    return Run(
        folder,
        folder / "bundle",
        page,
        best.name,
        {name: Score(name, **score) for name, score in final.items()},
        "test" in blocks,
        {rung.name: rung.metrics()[judge.headline(rung.validation.task)] for rung in rungs},
        findings,
        seconds,
    )


def bundle(rung: Rung, base: pretrained.Backbone, spec: Preprocess, held: Predictions, table: Manifest) -> Bundle:
    """The chosen rung as what can be shipped, notes left out; temperature and thresholds are those of ``held``."""
    tensors = dict(rung.weights)
    if rung.architecture is not None and rung.architecture["kind"] == "probe":
        tensors = {**{f"backbone.{name}": value for name, value in base.weights.items()}, **tensors}
    return Bundle(table.task, table.classes, rung.architecture or {}, spec, tensors, held.temperature, held.thresholds)


def golden(table: Manifest, model: predict.Model) -> list[bundles.Golden]:
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


def notes(
    facts: dict[str, Any], blocks: dict[str, Any], findings: Sequence[Finding], rung: Rung, backbone: str
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
        "training": {"Chosen on validation": rung.name, "How": rung.detail, **teacher.noted(facts, rung)},
        "data": {"name": Path(data["path"]).name, **{key: data[key] for key in ("n", "digest", "splits", "counts")}},
        "scores": {split: block["metrics"] for split, block in blocks.items()},
        "findings": [finding.message for finding in findings],
        "versions": facts["versions"],
        **({"backbone": {"name": facts["backbone"], **source}} if probe else {}),
    }


def metrics(made: Bundle, best: Rung, rungs: Sequence[Rung], blocks: dict[str, Any]) -> dict[str, Any]:
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
                "at": None if rung.at is None else round(rung.at, 3),
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


def write(
    folder: Path,
    table: Manifest,
    findings: Sequence[Finding],
    metrics: Mapping[str, Any],
    rungs: Sequence[Rung],
    answers: Mapping[str, Predictions],
) -> None:
    """Everything of the run folder but its record, its bundle and its page.

    Args:
        answers: of the chosen rung, by split.
    """
    with record.saving(folder / "manifest.parquet") as draft:
        table.save(draft)
    storage.write_json(folder / "findings.json", [asdict(finding) for finding in findings])
    storage.write_json(folder / "metrics.json", metrics)
    storage.write_atomic(folder / "history.csv", history.text((rung.name, rung.history) for rung in rungs))
    with record.saving(folder / "predictions"), storage.atomic_folder(folder / "predictions") as draft:
        for split, each in answers.items():
            each.save(draft, split)
