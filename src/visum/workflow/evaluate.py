"""``visum evaluate``: how good is a bundle on labelled pictures."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from visum import __version__, storage
from visum.config import Duration
from visum.data import load, sources
from visum.errors import NotEnoughData, StorageError, UsageError
from visum.judge import evaluate as judge
from visum.judge.risk import risk_block
from visum.models import predict as running
from visum.models.opinions import opinions
from visum.runtime import Stages
from visum.ship import bundle as bundles
from visum.types import Predictions, Split, digest_of
from visum.workflow import judged, origin, ready
from visum.workflow.checked import checked
from visum.workflow.record import openings, saving


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` found.

    Attributes:
        split: the split that was judged; "" for all rows.
        metrics: the block of ``metrics.json`` for one split (docs/design.md).
        predictions: of the readable rows.
        unreadable: (id, reason).
        trained_on: how many of the judged images the bundle was trained on, as far as the run beside it tells; scores on
            these flatter.
        seconds: all in all.
        trust: what ``trust.json`` holds; None where it was not asked for.
        page: ``trust.html``; None likewise.
        risk: how often it would be wrong if it answered only what it is surest of (``judge.risk.risk_block``), by the
            probability of the answer and, where the bundle has several opinions, by what these disagree about; None below 50
            images.
    """

    split: Split
    metrics: dict[str, Any]
    predictions: Predictions
    unreadable: tuple[tuple[str, str], ...]
    trained_on: int
    seconds: float
    trust: dict[str, Any] | None = None
    page: Path | None = None
    risk: dict[str, Any] | None = None


@checked
def evaluate(
    bundle: Path,
    data: Path,
    *,
    out: Path | None = None,
    split: Literal["train", "validation", "test"] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    delimiter: str | None = None,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    trust: bool = False,
    budget: Duration | None = None,
    seed: int = 0,
) -> Evaluation:
    """Judge a bundle on labelled data; its classes keep their order, whatever the data's folders are.

    Args:
        bundle: folder of a bundle or of a run.
        data: as for ``train``.
        out: folder for ``metrics.json`` and ``predictions/``; None writes nothing but a trust page.
        split: train, validation or test; omitted: test where the data has one, else all rows.
        path_column, label_column, split_column, delimiter: as for ``train``.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        trust: look further than scores (docs/trust.md): ``trust.json`` and ``trust.html`` in ``out``; else beside the report of
            the run around the bundle, or in the folder trust.
        budget: of the trust page, all in all, e.g. 3m; omitted: three minutes.
        seed: of everything that draws.

    Raises:
        DataError: classes that the bundle does not know, or no labelled image.
    """
    ready.check_settings("evaluate", engine=engine, extra_formats=extra_formats)
    if budget is not None and not trust:
        raise UsageError("--budget without --trust", allowed="--budget with --trust", next="--trust --budget 3m")
    ready.check_machine()
    stages = Stages()
    if out is not None:
        ready.check_out(out, Path(data))
    pages = out if out is not None else origin.folder(bundle) or Path("trust")
    if trust:
        storage.check_writable(pages)
    with stages.stage("read"):
        shipped = bundles.read(bundle)
        table = sources.read(
            data,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            delimiter=delimiter,
            task=shipped.task,
            classes=shipped.classes,
        ).manifest
        table, chosen = judged.split_of(table, split)
        if not len(table):
            raise NotEnoughData(f"no images in the split {chosen!r} of {data}", next="another --split, or none")
    with stages.stage("decode", len(table)) as stage:
        table, bad = load.index(table, shipped.preprocess, extra_formats=extra_formats, step=stage.step)
    ready.check_readable(table, bad)
    with stages.stage("predict", len(table)) as stage:
        model = running.Model(shipped, engine)
        predictions = running.of_table(table, model, digest=bundles.digest(shipped), step=stage.step)
    with stages.stage("judge"):
        metrics = judge.evaluate(predictions, seed=seed)
        risk = None
        with contextlib.suppress(NotEnoughData):  # few images can be scored, and say nothing about the order of doubts
            risk = risk_block(predictions, opinions(table, model), seed=seed)
        _count_opening(Path(bundle), digest_of(sorted(table.sha256.tolist())))
    if out is not None:
        head = {"task": shipped.task, "classes": list(shipped.classes), "temperature": shipped.temperature}
        storage.write_json(out / "metrics.json", {**head, "splits": {chosen or "all": metrics}, "visum": __version__})
        with saving(out / "predictions"):
            predictions.save(out / "predictions", chosen or "all")
    looked, page = None, None
    if trust:
        from visum.workflow import trust as trusting

        looked = trusting.run(
            model,
            table,
            predictions,
            Path(bundle),
            columns=sources.further(data, table, path_column=path_column, taken=(label_column, split_column)),
            deadline=time.monotonic() - stages.seconds() + (budget or trusting.BUDGET),
            stages=stages,
            seed=seed,
            engine=engine,
        )
        page = trusting.write(looked, pages)
    storage.evict()
    unreadable = tuple((error.path, error.reason) for error in bad)
    trained_on = judged.trained_on(Path(bundle), table)
    return Evaluation(chosen, metrics, predictions, unreadable, trained_on, stages.seconds(), looked, page, risk)


def _count_opening(bundle: Path, digest: str) -> None:
    """The run that made the bundle counts each look at its own sealed test images."""
    for run in (bundle, bundle.parent):
        path = run / "run.json"
        try:
            facts = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and facts.get("test_digest") == digest:
            facts["test_openings"] = openings(facts) + 1
            with contextlib.suppress(StorageError):  # a run that may only be read can still be judged
                storage.write_json(path, facts)
        return
