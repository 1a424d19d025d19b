"""What goes into a model, what a frozen network knows, and what is shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from visum.types.answers import Predictions
from visum.types.basic import Column, Filter, Fit, Floats, Task, column, reading


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
        """Map what ``save`` wrote; nothing is read until it is used. Raises like ``Manifest.load``."""
        folder = Path(folder)
        with reading(folder):
            head = json.loads((folder / "embeddings.json").read_text())
            vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            stages = tuple((name, start, stop) for name, start, stop in head["stages"])
            if vectors.shape[:1] != (len(head["ids"]),):
                raise ValueError("as many ids as vectors are needed")
            return cls(column(head["ids"]), vectors, head["backbone"], head["preprocess"], stages)


BESIDE = ("conformal.", "drift.", "unknown.")
"""Beginnings of the names of tensors that stand beside a bundle's network: what is known of the data it was judged on."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """One trained classifier, ready to be moved. ``ship.bundle`` writes and reads its folder.

    Attributes:
        task, classes: as in the manifest it was trained on.
        architecture: JSON: ``{"kind": "probe", "backbone": name, "stages": [...]}`` or
            ``{"kind": "classical", "descriptor": name, "classifier": name}``, or an ensemble's (``models.ensemble``).
        preprocess: the one preprocessing spec.
        weights: tensors by name; ``backbone.*`` and ``head.*``, or what the classical classifier needs; of an ensemble
            ``members.0.*`` …. Beside them, under ``BESIDE``, what is no part of the network.
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


def network_weights(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """The tensors that answers depend on: all but those ``BESIDE``."""
    return {name: value for name, value in bundle.weights.items() if not name.startswith(BESIDE)}


def said(bundle: Bundle, logits: Floats) -> Predictions:
    """Logits float32 ``[N, K]`` of a bundle as its predictions, of pictures without names and labels."""
    n = len(logits)
    return Predictions(
        column([""] * n),
        logits,
        np.zeros(n, np.int64),
        bundle.classes,
        bundle.task,
        "",
        bundle.temperature,
        bundle.thresholds,
    )
