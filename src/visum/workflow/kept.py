"""Fitted rungs and out-of-fold answers in the store: what was learnt from the same rows the same way is not learnt again.

A key covers everything that an answer depends on: the rows with their labels and splits, the features, the seed, and
``FORMAT``, which is raised whenever the fitting changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import runtime, safefile, storage
from visum.errors import CorruptFile, UnsafeFile
from visum.types import Manifest, digest_of

FORMAT = 2
Arrays = dict[str, NDArray[Any]]


def key(table: Manifest, *parts: Any) -> str:
    """Hex SHA-256 over the rows (digest, labels, split) and ``parts`` (JSON-like)."""
    rows = [
        [sha, list(label), split] for sha, label, split in zip(table.sha256, table.labels, table.splits, strict=True)
    ]
    versions = runtime.versions("visum", "scikit-learn", "numpy", "scipy")
    return digest_of([FORMAT, versions, table.task, list(table.classes), rows, list(parts)])


def through(
    where: str, name: str, make: Callable[[], tuple[Arrays, Mapping[str, Any]]]
) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and JSON-like facts from the store, or made and stored now.

    Args:
        where: name of the space.
        name: of ``key``.
        make: what makes them.
    """
    from safetensors.numpy import save

    space = storage.space(where, "uint8")
    if name in space:
        try:
            tensors = safefile.tensors_of(bytearray(space.read(name).tobytes()), where)
            facts = json.loads(tensors.pop("facts").tobytes())
            return tensors, facts
        except (CorruptFile, UnsafeFile):
            pass  # the damaged segment is dropped; it is made anew
    tensors, facts = make()
    blob = np.frombuffer(json.dumps(storage.finite(dict(facts))).encode(), np.uint8)
    # contiguous: safetensors writes memory as it lies
    packed = save({**{k: np.asarray(v, order="C") for k, v in tensors.items()}, "facts": blob})
    with space.writer() as writer:
        writer.add(name, np.frombuffer(packed, np.uint8))
    return tensors, dict(facts)
