"""The nouns that floors hand each other: frozen, with ``save`` and ``load``, without behaviour.

Columns are NumPy arrays, so that a table of a million images costs its bytes and no Python object per cell beyond its
strings. Nothing here is ever pickled: object columns go to Parquet as strings or lists, numbers to safetensors or ``.npy``.
"""

from visum.types.answers import Finding, Predictions, Score, decisions, probabilities
from visum.types.basic import (
    SPLITS,
    Column,
    Filter,
    Fit,
    Floats,
    Integers,
    Pixels,
    Severity,
    Split,
    Task,
    column,
    digest_of,
    printable,
)
from visum.types.explanation import Explanation, Verdict, overlay
from visum.types.model import BESIDE, Bundle, Embeddings, Preprocess, network_weights, said
from visum.types.table import Manifest, in_split, manifest, rows, targets

__all__ = [
    "BESIDE",
    "SPLITS",
    "Bundle",
    "Column",
    "Embeddings",
    "Explanation",
    "Filter",
    "Finding",
    "Fit",
    "Floats",
    "Integers",
    "Manifest",
    "Pixels",
    "Predictions",
    "Preprocess",
    "Score",
    "Severity",
    "Split",
    "Task",
    "Verdict",
    "column",
    "decisions",
    "digest_of",
    "in_split",
    "manifest",
    "network_weights",
    "overlay",
    "printable",
    "probabilities",
    "rows",
    "said",
    "targets",
]
