"""What a bundle must hold beside its network: the arrays of its head, the tensors of its pool."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from visum.ship.bundle.faults import faults
from visum.types import Bundle, Preprocess

F = np.float32
COSINE = {
    "classifier.weight": np.ones((4, 2), F),
    "classifier.mean": np.zeros(4, F),
    "classifier.spread": np.ones(4, F),
}
LINEAR = {"head.weight": np.ones((4, 2), F), "head.bias": np.zeros(2, F)}
NETWORK = {"backbone.conv.weight": np.ones((4, 3, 1, 1), F)}
QUERY = {"backbone.visum_pool.query": np.zeros(4, F)}


def found(weights: dict[str, Any], **architecture: Any) -> str:
    kind = {"kind": "probe", "backbone": "resnet18", "stages": [], **architecture}
    return "; ".join(faults(Bundle("binary", ("a", "b"), kind, Preprocess(size=8), weights)))


def test_whole_ones() -> None:
    assert found({**NETWORK, **LINEAR}) == ""
    assert found({**NETWORK, **COSINE}, classifier="cosine") == ""
    assert found({**NETWORK, **QUERY, **LINEAR}, pool="attention") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classifier.mean": None}, "no tensor classifier.mean"),
        ({"classifier.spread": np.ones(5, F)}, r"classifier.spread is float32 [5], wanted float32 [D] for 2 classes"),
        ({"classifier.weight": np.ones((4, 3), F)}, "classifier.weight is float32 [4, 3], wanted float32 [D, 2]"),
        ({"classifier.weight": np.ones((4, 2))}, "classifier.weight is float64"),
    ],
)
def test_a_cosine_head_that_is_none(change: dict[str, Any], words: str) -> None:
    weights = {key: value for key, value in {**NETWORK, **COSINE, **change}.items() if value is not None}
    assert words in found(weights, classifier="cosine")


def test_a_pool_that_is_none() -> None:
    assert found({**NETWORK, **LINEAR}, pool="attention") == "no tensor backbone.visum_pool.query"
    assert "a pool 'max', wanted mean, attention, bilinear" in found({**NETWORK, **LINEAR}, pool="max")
    assert "a pool ['mean']" in found({**NETWORK, **LINEAR}, pool=["mean"])
