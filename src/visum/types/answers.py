"""What a model said, how good that is, and what a person should know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from visum.types.basic import Column, Floats, Integers, Severity, Task, column, reading


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about N images.

    Attributes:
        ids: str ``[N]``.
        logits: float32 ``[N, K]``; uncalibrated. Softmax (one label each) or sigmoid (multilabel) of
            ``logits / temperature`` gives probabilities.
        labels: int64 ``[N]`` (-1: unlabelled), or 0/1 ``[N, K]`` when multilabel.
        classes: K names.
        task: binary (K = 2), multiclass or multilabel.
        model: digest of the model.
        temperature: > 0, fitted on validation data; 1 where none was.
        thresholds: one per class when multilabel; one (of class 1) when binary; none otherwise.
    """

    ids: Column
    logits: Floats
    labels: Integers
    classes: tuple[str, ...]
    task: Task
    model: str = ""
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, folder: str | Path, name: str) -> None:
        """Write ``name.safetensors`` (logits, labels) and ``name.parquet`` (ids and probabilities, for people)."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from safetensors.numpy import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        head = {"classes": list(self.classes), "task": self.task, "model": self.model, "temperature": self.temperature}
        meta = {"visum": json.dumps({**head, "thresholds": self.thresholds})}
        tensors: dict[str, NDArray[Any]] = {"logits": self.logits, "labels": self.labels}
        tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        # not save_file, whose files nobody else may read
        (folder / f"{name}.safetensors").write_bytes(save(tensors, metadata=meta))
        p = probabilities(self)
        columns = {"id": pa.array(self.ids.tolist())}
        if self.task != "multilabel":
            truth = [self.classes[y] if y >= 0 else None for y in self.labels]
            columns["label"] = pa.array(truth, pa.string())
            columns["prediction"] = pa.array([self.classes[k] for k in decisions(self)])
        for k, class_name in enumerate(self.classes):
            columns[f"p_{class_name}"] = pa.array(p[:, k])
        pq.write_table(pa.table(columns), str(folder / f"{name}.parquet"), compression="zstd")

    @classmethod
    def load(cls, folder: str | Path, name: str) -> Self:
        """Read what ``save`` wrote. Raises like ``Manifest.load``."""
        import pyarrow.parquet as pq
        from safetensors import safe_open

        folder = Path(folder)
        with reading(folder / f"{name}.safetensors"):
            with safe_open(str(folder / f"{name}.safetensors"), "numpy") as tensors:
                head = json.loads(tensors.metadata()["visum"])
                logits, labels = tensors.get_tensor("logits"), tensors.get_tensor("labels")
            ids = column(pq.read_table(str(folder / f"{name}.parquet"), columns=["id"])["id"].to_pylist())
            if logits.shape != (len(ids), len(head["classes"])) or labels.shape[:1] != (len(ids),):
                raise ValueError("as many ids as logits and labels are needed")
            thresholds = tuple(head["thresholds"])
            return cls(
                ids,
                logits,
                labels,
                tuple(head["classes"]),
                head["task"],
                head["model"],
                head["temperature"],
                thresholds,
            )


def probabilities(predictions: Predictions) -> Floats:
    """Calibrated probabilities, float32 ``[N, K]``: softmax rows sum to 1; sigmoid columns stand alone."""
    z = predictions.logits.astype(np.float64) / predictions.temperature
    if predictions.task == "multilabel":
        small = np.exp(-np.abs(z))  # never overflows, and keeps the digits of small probabilities
        return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small), np.float32)
    z -= z.max(axis=1, keepdims=True)
    e = np.exp(z)
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def decisions(predictions: Predictions) -> Integers:
    """What is answered: class index int64 ``[N]``, or 0/1 ``[N, K]`` when multilabel; thresholds are applied."""
    p = probabilities(predictions)
    if predictions.task == "multilabel":
        return (p >= np.asarray(predictions.thresholds or 0.5, np.float32)).astype(np.int64)
    if predictions.task == "binary" and predictions.thresholds:
        return (p[:, 1] >= predictions.thresholds[0]).astype(np.int64)
    return np.asarray(p.argmax(axis=1), np.int64)


@dataclass(frozen=True)
class Score:
    """One number with its support.

    Attributes:
        name: e.g. accuracy.
        value, low, high: the estimate and its 95 % interval.
        n: how many images (or positives, where the metric counts those) it rests on.
        method: of the interval: wilson, bootstrap …; "" where no interval can be given (low = high = NaN).
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Finding:
    """Something a person should know, and what to do about it.

    Attributes:
        kind: machine name, e.g. near_duplicate_across_splits.
        severity: info, warning or serious.
        message: says what was found and what to do.
        ids: images concerned, worst first; pairs and clusters stand next to each other.
        numbers: figures behind the message.
    """

    kind: str
    severity: Severity
    message: str
    ids: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
