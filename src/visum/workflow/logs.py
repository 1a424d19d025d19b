"""The history of a run for the pages where people compare runs: TensorBoard and MLflow, in the run folder, without network."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from visum import storage
from visum.errors import UsageError
from visum.types import Score
from visum.workflow import events, record
from visum.workflow.events import Scalar
from visum.workflow.ladder import Rung

MLFLOW_BATCH = 100
MLFLOW_LONGEST = 500
"""Parameters that MLflow takes at a time, and letters that all its versions take of one."""


def check(names: Collection[str]) -> None:
    """Refuse names that are none of ``LOGS``, and a log whose package is not there.

    Raises:
        UsageError: saying what to install.
    """
    for name in names:
        if name not in LOGS:
            raise UsageError(f"no log is called {name[:100]!r}", allowed=", ".join(LOGS), next="--log tensorboard")
    if "mlflow" in names and importlib.util.find_spec("mlflow") is None:
        raise UsageError(
            "the log mlflow needs the package mlflow, which is not installed",
            allowed=", ".join(name for name in LOGS if name != "mlflow"),
            next="pip install 'visum[mlflow]'",
        )


def write(names: Collection[str], folder: Path, rungs: Sequence[Rung], facts: Mapping[str, Any], best: Rung) -> None:
    """Write the history of all rungs to each of the logs; what an earlier run left there is replaced.

    Args:
        names: of ``LOGS``.
        folder: RUN; each log has a folder of its name in it.
        rungs: with their history.
        facts: ``run.json``.
        best: the rung that was chosen.
    """
    for name in names:
        with record.saving(folder / name), storage.atomic_folder(folder / name) as draft:
            LOGS[name](draft, rungs, facts, best)


def points(rung: Rung, facts: Mapping[str, Any]) -> Iterator[Scalar]:
    """What changes from line to line of a rung's history, at the moments when it was measured."""
    began = datetime.fromisoformat(facts["started"]).timestamp() + max(0.0, (rung.at or 0.0) - rung.seconds)
    for line in rung.history:
        for key, value in asdict(line).items():
            if key not in ("step", "seconds") and value is not None and math.isfinite(value):
                yield Scalar(began + line.seconds, line.step, key, value)


def tensorboard(draft: Path, rungs: Sequence[Rung], facts: Mapping[str, Any], best: Rung) -> None:
    """An event file for each rung that has a history, in a folder of its name, which is a run to TensorBoard."""
    for rung in rungs:
        if rung.history:
            place = draft / rung.name
            place.mkdir(parents=True)
            found = list(points(rung, facts))
            (place / f"events.out.tfevents.{int(found[0].at)}.visum").write_bytes(events.text(found, found[0].at))


def mlflow(draft: Path, rungs: Sequence[Rung], facts: Mapping[str, Any], best: Rung) -> None:
    """A run for each rung in one experiment of a SQLite file: history, validation scores, how it was trained."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a run tells nobody of itself
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=f"sqlite:///{(draft / 'mlflow.db').resolve()}")
    place = draft.resolve().parent / "mlflow" / "artifacts"  # there are none; the draft's own name must not be told
    home = client.create_experiment("visum", artifact_location=place.as_uri())
    for rung in rungs:
        tags = {"mlflow.source.name": "visum", "chosen": str(rung is best), "visum": facts["visum"]}
        run = client.create_run(home, run_name=rung.name, tags=tags).info.run_id
        said = [("rung", rung.name), ("how", rung.detail), ("seed", facts["seed"]), ("command", facts["command"])]
        measured = [Metric(key, value, int(1000 * at), step) for at, step, key, value in points(rung, facts)]
        end = int(1000 * datetime.fromisoformat(facts["started"]).timestamp() + 1000 * (rung.at or 0.0))
        scores: Mapping[str, Score] = rung.metrics()
        measured += [Metric(f"validation.{name}", score.value, end, 0) for name, score in scores.items()]
        client.log_batch(run, params=[Param(key, str(value)[:MLFLOW_LONGEST]) for key, value in said])
        for at in range(0, len(measured), MLFLOW_BATCH):
            client.log_batch(run, metrics=measured[at : at + MLFLOW_BATCH])
        client.set_terminated(run)


LOGS: dict[str, Callable[[Path, Sequence[Rung], Mapping[str, Any], Rung], None]] = {
    "tensorboard": tensorboard,
    "mlflow": mlflow,
}
