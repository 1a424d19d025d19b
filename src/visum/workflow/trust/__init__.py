"""The trust page: how far a bundle can be believed, step by step within a budget, as ``trust.json`` and ``trust.html``.

``STEPS`` says what is looked at and in which order. A step returns numbers with their support; ``ship.trust`` turns these into a
verdict, a sentence and a picture. A step that lacks data, time or gradients is left out with its reason, which stands on
the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visum import __version__, runtime, storage
from visum.errors import DataError, ModelError, NotEnoughData, UsageError
from visum.judge.calibrate import labelled
from visum.judge.sound import sound
from visum.models.predict import Model
from visum.runtime import Stages
from visum.ship import trust as pages
from visum.ship.bundle import digest
from visum.types import Column, Manifest, Predictions, rows
from visum.workflow import origin
from visum.workflow.clock import Skipped
from visum.workflow.trust.answers import abstention_step, calibration_step
from visum.workflow.trust.attacks import attacks_step
from visum.workflow.trust.context import WEIGHTS, Context
from visum.workflow.trust.corruptions import corruptions_step
from visum.workflow.trust.drift import drift_step
from visum.workflow.trust.pictures import background_step, shortcut_step, slices_step
from visum.workflow.trust.promises import conformal_step, unknown_step

BUDGET = 180.0
PATIENT = ("unknown", "drift")
"""Steps that take seconds rather than a moment, and that a spent budget leaves out."""
LEAST = 30
"""Labelled images below which there is no page: of 30, half right, the interval reaches from 33 to 67 %."""
Step = Callable[[Context], dict[str, Any]]
STEPS: dict[str, Step] = {
    "calibration": calibration_step,
    "abstention": abstention_step,
    "conformal": conformal_step,
    "unknown": unknown_step,
    "slices": slices_step,
    "shortcut": shortcut_step,
    "drift": drift_step,
    "background": background_step,
    "corruptions": corruptions_step,
    "attacks": attacks_step,
}
"""Name → function of the context, in the order of the page. Those of ``WEIGHTS`` share the time that is left."""


def run(
    model: Model,
    table: Manifest,
    predictions: Predictions,
    bundle: Path,
    *,
    columns: Mapping[str, Column],
    deadline: float,
    stages: Stages,
    seed: int = 0,
    engine: str = "auto",
    steps: Mapping[str, Step] = STEPS,
) -> dict[str, Any]:
    """Everything of the page as JSON-like values.

    Args:
        model: the bundle at work.
        table: the judged images, indexed; rows as in ``predictions``.
        predictions: of them.
        bundle: folder of the bundle, around which a run may lie.
        columns: further columns of the data's table: name → str ``[N]``.
        deadline: ``time.monotonic()`` by which to be done.
        stages: clock and progress.
        seed: of everything that draws.
        engine: auto, openvino, onnxruntime or torch.
        steps: name → function.

    Raises:
        NotEnoughData: fewer than ``LEAST`` labelled images.
        DataError: logits that are NaN.
    """
    known = sound(predictions)
    if len(known) < LEAST:
        raise NotEnoughData(
            f"{len(known)} labelled images for a trust page",
            allowed=f"{LEAST} or more; a few hundred say much more",
            next=f"{LEAST - len(known)} more labelled images",
        )
    where = np.flatnonzero(labelled(predictions.labels))
    made = origin.table(bundle)
    context = Context(
        model,
        rows(table, where),
        known,
        {name: values[where] for name, values in columns.items()},
        origin.folder(bundle),
        made,
        deadline,
        seed,
        engine,
        [name for name in steps if name in WEIGHTS],
    )
    blocks: dict[str, Any] = {}
    for name, step in steps.items():
        with stages.stage(f"trust: {name}") as stage:
            begin = time.monotonic()
            try:
                if name in PATIENT and time.monotonic() > deadline:
                    raise Skipped("no time was left for it", next="a longer --budget")
                block = step(context)
            except (DataError, ModelError, UsageError, Skipped) as error:  # any other error is one of the whole command
                lacks = (
                    "data" if isinstance(error, NotEnoughData) else "time" if isinstance(error, Skipped) else "means"
                )
                block = {"skipped": error.got, "lacks": lacks, "next": error.next}
            if name in context.waiting:
                context.waiting.remove(name)
            block["seconds"] = round(time.monotonic() - begin, 2)
            block |= pages.said(name, block)
            stage.detail = block["verdict"]
        blocks[name] = block
    trained = origin.trained(made)
    return {
        "visum": __version__,
        "bundle": {
            "name": origin.name(bundle),
            "digest": digest(model.bundle),
            "classes": list(model.bundle.classes),
        },
        "task": model.bundle.task,
        "n": len(known),
        "accuracy": _accuracy(context),
        "trained_on": int(sum(each in trained for each in context.table.sha256.tolist())),
        "seed": seed,
        "machine": runtime.machine(),
        "steps": blocks,
        "seconds": round(stages.seconds(), 2),
    }


def _accuracy(context: Context) -> dict[str, float]:
    from visum.judge.evaluate import score

    found = score(context.predictions, "accuracy")
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def write(made: Mapping[str, Any], out: Path) -> Path:
    """``trust.json`` and ``trust.html`` in a folder, and a link to it on the ``report.html`` that lies there; the page."""
    plain = storage.finite(made)
    storage.write_json(out / "trust.json", plain)
    beside = (out / "report.html").is_file()
    storage.write_atomic(out / "trust.html", pages.text(plain, report=beside))
    if beside:
        pages.link(out / "report.html")
    return out / "trust.html"
