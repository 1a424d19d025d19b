"""What TensorBoard and MLflow are told of a run."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visum.errors import UsageError
from visum.types import Predictions
from visum.workflow import logs
from visum.workflow.history import Line
from visum.workflow.ladder import Rung
from workflow.test_events import event_class, records

HELD = Predictions(np.array(["a", "b"]), np.eye(2, dtype=np.float32), np.array([0, 1]), ("x", "y"), "multiclass")
LINES = (
    Line(1, 2.0, learning_rate=0.1, train_loss=float("nan")),
    Line(2, 4.0, learning_rate=0.05, validation_score=0.9),
)
TUNED = Rung("finetune", "how", 5.0, {}, {}, HELD, LINES, at=20.0)
RUNGS = [replace(TUNED, name="majority", history=()), TUNED]
FACTS = {"started": "2026-01-01T00:00:00+00:00", "visum": "9", "seed": 3, "command": "visum train x"}
BEGAN = 1767225600.0


def test_tensorboard_gets_a_folder_for_each_rung_with_a_history(tmp_path: Path) -> None:
    for _ in range(2):  # the second replaces the first
        logs.write(["tensorboard"], tmp_path, RUNGS, FACTS, TUNED)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent == tmp_path / "tensorboard" / "finetune"
    assert "tfevents" in path.name
    kind = event_class()
    _, *events = (kind.FromString(data) for data in records(path.read_bytes()))
    found = [(event.step, event.summary.value[0].tag, event.wall_time - BEGAN) for event in events]
    assert found == [(1, "learning_rate", 17.0), (2, "learning_rate", 19.0), (2, "validation_score", 19.0)]


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    logs.write([], tmp_path, RUNGS, FACTS, TUNED)
    assert not list(tmp_path.iterdir())


class Client:
    """MLflow's client as its documentation has it; remembers what it is told."""

    told: list[Any]

    def __init__(self, tracking_uri: str) -> None:
        Client.told = [tracking_uri]

    def create_experiment(self, name: str, artifact_location: str) -> str:
        self.told.append(artifact_location)
        return "7"

    def create_run(self, experiment_id: str, run_name: str, tags: dict[str, str]) -> Any:
        self.told.append((experiment_id, run_name, tags["chosen"]))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_name))

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.told += [(run_id, *each) for each in (*metrics, *params)]

    def set_terminated(self, run_id: str) -> None:
        self.told.append(run_id)


def test_mlflow_gets_a_run_for_each_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("mlflow")
    entities: Any = types.ModuleType("mlflow.entities")
    module.MlflowClient, entities.Metric, entities.Param = Client, lambda *a: a, lambda *a: a
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    logs.write(["mlflow"], tmp_path, RUNGS, FACTS, TUNED)
    database, place, *told = Client.told
    assert database.startswith(f"sqlite:///{tmp_path}/")
    assert place == (tmp_path / "mlflow" / "artifacts").as_uri()
    assert ("7", "majority", "False") in told
    assert ("7", "finetune", "True") in told
    assert ("finetune", "learning_rate", 0.05, 1000 * (int(BEGAN) + 19), 2) in told
    assert ("finetune", "validation.accuracy", 1.0, 1000 * (int(BEGAN) + 20), 0) in told
    assert ("finetune", "how", "how") in told
    assert told[-1] == "finetune"
    import os

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_log_that_cannot_be_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visum import train

    logs.check([])
    with pytest.raises(UsageError, match=r"no log is called 'tensorbord'.*tensorboard, mlflow"):
        train(tmp_path, out=tmp_path / "run", log=("tensorbord",))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"not installed.*pip install 'visum\[mlflow\]'"):
        logs.check(["mlflow"])
