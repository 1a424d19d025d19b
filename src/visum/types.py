"""The nouns that floors hand each other: frozen, with ``save`` and ``load``, without behaviour.

Columns are NumPy arrays, so that a table of a million images costs its bytes and no Python object per cell beyond its
strings. Nothing here is ever pickled: object columns go to Parquet as strings or lists, numbers to safetensors or ``.npy``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "multilabel"]
Split = Literal["train", "validation", "test", ""]
Fit = Literal["pad", "crop", "squash"]
Filter = Literal["bicubic", "bilinear"]
Severity = Literal["info", "warning", "serious"]
Column = NDArray[np.object_]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def column(values: Sequence[Any]) -> Column:
    """One object column of a table; tuples stay tuples instead of becoming a second axis."""
    out = np.empty(len(values), dtype=object)
    out[:] = list(values) if not values or not isinstance(values[0], tuple) else [None] * len(values)
    if len(values) and isinstance(values[0], tuple):
        for index, value in enumerate(values):
            out[index] = value
    return out


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table of images: one row per file, all columns of one length N.

    Attributes:
        root: absolute folder that ``paths`` are relative to.
        task: binary, multiclass or multilabel.
        classes: class names in their fixed order; ``labels`` index into it.
        ids: str; stable and printable: the path below ``root`` with ``/``, undecodable bytes written ``\\xNN``.
        paths: str; the path below ``root`` as the operating system spells it (surrogate escapes kept).
        labels: tuples of class indices; ``()`` means unlabelled (or, when multilabel, none of the classes).
        splits: train, validation, test, or "" where no split is given yet.
        groups: str; rows of one non-empty group never end up in two splits.
        sha256: hex digest of the file's bytes, "" until the file was read.
        widths, heights: int32 pixels as displayed (after orientation); 0 until the file was read.
        formats: JPEG, PNG …; "" until the file was read.
        notes: str; what the decoder altered, ``; ``-separated.
    """

    root: str
    task: Task
    classes: tuple[str, ...]
    ids: Column
    paths: Column
    labels: Column
    splits: Column
    groups: Column
    sha256: Column
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    formats: Column
    notes: Column

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: str | Path) -> None:
        """Write one Parquet file; task, classes and root travel in its schema metadata as JSON."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: pa.array(getattr(self, name).tolist()) for name in _STRING_COLUMNS if name != "paths"}
        columns["paths"] = pa.array([os.fsencode(p) for p in self.paths], pa.binary())
        columns["labels"] = pa.array([list(label) for label in self.labels], pa.list_(pa.int64()))
        columns["widths"] = pa.array(self.widths, pa.int32())
        columns["heights"] = pa.array(self.heights, pa.int32())
        root = os.fsencode(self.root).decode("utf-8", "backslashreplace")
        head = json.dumps({"visum": 1, "root": root, "task": self.task, "classes": list(self.classes)})
        pq.write_table(pa.table(columns).replace_schema_metadata({"visum": head}), str(path), compression="zstd")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote."""
        import pyarrow.parquet as pq

        table = pq.read_table(str(path))
        head = json.loads(table.schema.metadata[b"visum"])
        columns = {name: column(table[name].to_pylist()) for name in _STRING_COLUMNS if name != "paths"}
        return cls(
            root=head["root"],
            task=head["task"],
            classes=tuple(head["classes"]),
            paths=column([os.fsdecode(p) for p in table["paths"].to_pylist()]),
            labels=column([tuple(label) for label in table["labels"].to_pylist()]),
            widths=table["widths"].to_numpy().astype(np.int32),
            heights=table["heights"].to_numpy().astype(np.int32),
            **columns,
        )


_STRING_COLUMNS = ("ids", "paths", "splits", "groups", "sha256", "formats", "notes")


def manifest(
    root: str | Path,
    task: Task,
    classes: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    *,
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Manifest:
    """A manifest of files that have not been read yet; ids are made from ``paths``."""
    n = len(paths)
    empty = [""] * n
    return Manifest(
        root=str(root),
        task=task,
        classes=tuple(classes),
        ids=column([printable(p) for p in paths]),
        paths=column(list(paths)),
        labels=column(list(labels)),
        splits=column(list(splits) if splits is not None else empty),
        groups=column(list(groups) if groups is not None else empty),
        sha256=column(empty),
        widths=np.zeros(n, np.int32),
        heights=np.zeros(n, np.int32),
        formats=column(empty),
        notes=column(empty),
    )


def printable(path: str) -> str:
    """A path as text that can be stored as UTF-8: ``/`` between parts, undecodable bytes as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def rows(table: Manifest, where: NDArray[Any]) -> Manifest:
    """The rows at ``where`` (a boolean mask ``[N]`` or integer positions), in that order."""
    changed = {
        f.name: getattr(table, f.name)[where] for f in fields(table) if f.name not in ("root", "task", "classes")
    }
    return replace(table, **changed)


def in_split(table: Manifest, split: Split) -> NDArray[np.bool_]:
    """Boolean mask ``[N]`` of one split."""
    return np.asarray(table.splits == split, dtype=bool)


def targets(table: Manifest) -> Integers:
    """Labels as numbers: int64 ``[N]`` (-1: unlabelled) for one label each, int64 0/1 ``[N, K]`` when multilabel."""
    if table.task == "multilabel":
        out = np.zeros((len(table), len(table.classes)), np.int64)
        for row, label in enumerate(table.labels):
            out[row, list(label)] = 1
        return out
    return np.fromiter((label[0] if label else -1 for label in table.labels), np.int64, len(table))


@dataclass(frozen=True)
class Preprocess:
    """From an upright, decoded picture to the numbers a network sees. The one spec, in every bundle and export.

    The longer side is brought to ``size`` and the rest padded (``pad``), or the shorter side is brought to ``size`` and
    the middle kept (``crop``), or both sides are brought to ``size`` (``squash``). Then channels are put in ``channels``
    order and become ``(x - mean) / std`` with x in 0 … 255.

    Attributes:
        size: side of the square input in pixels.
        fit: pad, crop or squash.
        filter: bicubic or bilinear, always antialiased when shrinking (support scales with the ratio).
        background: RGB 0 … 255 under transparent pixels and in the padding.
        channels: RGB or BGR.
        mean, std: per channel of ``channels``, on the 0 … 255 scale.
    """

    size: int = 224
    fit: Fit = "pad"
    filter: Filter = "bicubic"
    background: tuple[int, int, int] = (127, 127, 127)
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read JSON."""
        return cls.from_json(json.loads(Path(path).read_text()))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the mapping that ``dataclasses.asdict`` gives."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a dataclass or a JSON-like value, independent of the order of keys."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a frozen network (or a classical descriptor) knows about N images.

    Attributes:
        ids: str ``[N]``.
        vectors: float16 or float32 ``[N, D]``, possibly memory-mapped.
        backbone: digest of the weights, or the name of the descriptor.
        preprocess: digest of the ``Preprocess``.
        stages: (name, start, stop) column ranges of the pooled stages that were concatenated.
    """

    ids: Column
    vectors: NDArray[np.floating[Any]]
    backbone: str
    preprocess: str
    stages: tuple[tuple[str, int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, folder: str | Path) -> None:
        """Write ``vectors.npy`` and ``embeddings.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", self.vectors, allow_pickle=False)
        head = {
            "ids": self.ids.tolist(),
            "backbone": self.backbone,
            "preprocess": self.preprocess,
            "stages": self.stages,
        }
        (folder / "embeddings.json").write_text(json.dumps(head))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Map what ``save`` wrote; nothing is read until it is used."""
        folder = Path(folder)
        head = json.loads((folder / "embeddings.json").read_text())
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        stages = tuple((name, start, stop) for name, start, stop in head["stages"])
        return cls(column(head["ids"]), vectors, head["backbone"], head["preprocess"], stages)


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
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        head = {"classes": list(self.classes), "task": self.task, "model": self.model, "temperature": self.temperature}
        meta = {"visum": json.dumps({**head, "thresholds": self.thresholds})}
        tensors: dict[str, NDArray[Any]] = {"logits": self.logits, "labels": self.labels}
        tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        save_file(tensors, str(folder / f"{name}.safetensors"), metadata=meta)
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
        """Read what ``save`` wrote."""
        import pyarrow.parquet as pq
        from safetensors import safe_open

        folder = Path(folder)
        with safe_open(str(folder / f"{name}.safetensors"), "numpy") as tensors:
            head = json.loads(tensors.metadata()["visum"])
            logits, labels = tensors.get_tensor("logits"), tensors.get_tensor("labels")
        ids = column(pq.read_table(str(folder / f"{name}.parquet"), columns=["id"])["id"].to_pylist())
        thresholds = tuple(head["thresholds"])
        return cls(
            ids, logits, labels, tuple(head["classes"]), head["task"], head["model"], head["temperature"], thresholds
        )


def probabilities(predictions: Predictions) -> Floats:
    """Calibrated probabilities, float32 ``[N, K]``: softmax rows sum to 1; sigmoid columns stand alone."""
    z = predictions.logits.astype(np.float64) / predictions.temperature
    if predictions.task == "multilabel":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), np.float32)
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


@dataclass(frozen=True, eq=False)
class Bundle:
    """One trained classifier, ready to be moved. ``ship.bundle`` writes and reads its folder.

    Attributes:
        task, classes: as in the manifest it was trained on.
        architecture: JSON: ``{"kind": "probe", "backbone": name, "stages": [...]}`` or
            ``{"kind": "classical", "descriptor": name, "classifier": name}``.
        preprocess: the one preprocessing spec.
        weights: tensors by name; ``backbone.*`` and ``head.*``, or what the classical classifier needs.
        temperature: > 0.
        thresholds: see ``Predictions``.
        notes: JSON-like facts for the model card: scores, data digest, versions.
        folder: where it was read from; None before it was written.
    """

    task: Task
    classes: tuple[str, ...]
    architecture: Mapping[str, Any]
    preprocess: Preprocess
    weights: Mapping[str, NDArray[Any]]
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
