"""visum: labelled images in, a classifier that people can trust, ship and watch out.

Every public name is in ``__all__`` and is imported on first use, so that ``import visum`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Answer": "visum.workflow.predict",
    "Bundle": "visum.types",
    "Classifier": "visum.workflow.predict",
    "Client": "visum.serve.client",
    "Embeddings": "visum.types",
    "Ensemble": "visum.workflow.ensemble",
    "Explanation": "visum.types",
    "Finding": "visum.types",
    "Manifest": "visum.types",
    "Predictions": "visum.types",
    "Preprocess": "visum.types",
    "Run": "visum.workflow.outcome",
    "Score": "visum.types",
    "VisumError": "visum.errors",
    "attack": "visum.workflow.attack",
    "certify": "visum.workflow.certify",
    "compare": "visum.workflow.compare",
    "corrupt_images": "visum.workflow.robust",
    "describe_model": "visum.workflow.portrait",
    "distill": "visum.workflow.distill",
    "doctor": "visum.workflow.doctor",
    "ensemble": "visum.workflow.ensemble",
    "evaluate": "visum.workflow.evaluate",
    "explain_examples": "visum.workflow.examples",
    "explain_features": "visum.workflow.features",
    "explain_images": "visum.workflow.explain",
    "explain_layers": "visum.workflow.layers",
    "explain_map": "visum.workflow.atlas",
    "explain_mistakes": "visum.workflow.explain",
    "explain_prototypes": "visum.workflow.examples",
    "export": "visum.workflow.export",
    "find_learning_rate": "visum.workflow.find_rate",
    "find_problems": "visum.workflow.audit",
    "list_models": "visum.workflow.catalogue",
    "load": "visum.workflow.predict",
    "monitor": "visum.workflow.monitor",
    "predict": "visum.workflow.predict",
    "probabilities": "visum.types",
    "show_batch": "visum.workflow.showing",
    "tradeoff": "visum.workflow.tradeoff",
    "train": "visum.workflow.train",
    "verify": "visum.workflow.verify",
}

__all__ = [
    "Answer",
    "Bundle",
    "Classifier",
    "Client",
    "Embeddings",
    "Ensemble",
    "Explanation",
    "Finding",
    "Manifest",
    "Predictions",
    "Preprocess",
    "Run",
    "Score",
    "VisumError",
    "__version__",
    "attack",
    "certify",
    "compare",
    "corrupt_images",
    "describe_model",
    "distill",
    "doctor",
    "ensemble",
    "evaluate",
    "explain_examples",
    "explain_features",
    "explain_images",
    "explain_layers",
    "explain_map",
    "explain_mistakes",
    "explain_prototypes",
    "export",
    "find_learning_rate",
    "find_problems",
    "list_models",
    "load",
    "monitor",
    "predict",
    "probabilities",
    "show_batch",
    "tradeoff",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from visum.errors import VisumError
    from visum.serve.client import Client
    from visum.types import (
        Bundle,
        Embeddings,
        Explanation,
        Finding,
        Manifest,
        Predictions,
        Preprocess,
        Score,
        probabilities,
    )
    from visum.workflow.atlas import explain_map
    from visum.workflow.attack import attack
    from visum.workflow.audit import find_problems
    from visum.workflow.catalogue import list_models
    from visum.workflow.certify import certify
    from visum.workflow.compare import compare
    from visum.workflow.distill import distill
    from visum.workflow.doctor import doctor
    from visum.workflow.ensemble import Ensemble, ensemble
    from visum.workflow.evaluate import evaluate
    from visum.workflow.examples import explain_examples, explain_prototypes
    from visum.workflow.explain import explain_images, explain_mistakes
    from visum.workflow.export import export
    from visum.workflow.features import explain_features
    from visum.workflow.find_rate import find_learning_rate
    from visum.workflow.layers import explain_layers
    from visum.workflow.monitor import monitor
    from visum.workflow.outcome import Run
    from visum.workflow.portrait import describe_model
    from visum.workflow.predict import Answer, Classifier, load, predict
    from visum.workflow.robust import corrupt_images
    from visum.workflow.showing import show_batch
    from visum.workflow.tradeoff import tradeoff
    from visum.workflow.train import train
    from visum.workflow.verify import verify


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visum' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
