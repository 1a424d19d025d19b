"""visum: labelled images in, a classifier that people can trust, ship and watch out.

Every public name is in ``__all__`` and is imported on first use, so that ``import visum`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "visum.types",
    "Embeddings": "visum.types",
    "Finding": "visum.types",
    "Manifest": "visum.types",
    "Predictions": "visum.types",
    "Preprocess": "visum.types",
    "Score": "visum.types",
    "VisumError": "visum.errors",
    "audit": "visum.workflow",
    "doctor": "visum.workflow",
    "evaluate": "visum.workflow",
    "load": "visum.workflow",
    "models": "visum.workflow",
    "predict": "visum.workflow",
    "probabilities": "visum.types",
    "train": "visum.workflow",
    "verify": "visum.workflow",
}

__all__ = [
    "Bundle",
    "Embeddings",
    "Finding",
    "Manifest",
    "Predictions",
    "Preprocess",
    "Score",
    "VisumError",
    "__version__",
    "audit",
    "doctor",
    "evaluate",
    "load",
    "models",
    "predict",
    "probabilities",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from visum.errors import VisumError
    from visum.types import Bundle, Embeddings, Finding, Manifest, Predictions, Preprocess, Score, probabilities
    from visum.workflow import audit, doctor, evaluate, load, models, predict, train, verify


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visum' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
