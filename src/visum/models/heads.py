"""Heads of a network: from embeddings to logits, in NumPy. How each is trained is in ``learn.heads`` and ``learn.probe``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats

LINEAR, COSINE = "linear", "cosine"
SHORTEST = 1e-12
"""An embedding that is shorter has no direction: its cosines are 0."""


def linear(arrays: Mapping[str, NDArray[Any]], x: Floats) -> Floats:
    """``x @ weight + bias``."""
    return np.asarray(x @ arrays["weight"] + arrays["bias"], np.float32)


def cosine(arrays: Mapping[str, NDArray[Any]], x: Floats) -> Floats:
    """``e @ weight / |e|`` with e = (x - mean) / spread; the columns of ``weight`` all have the length ``scale``.

    So the logit of a class is scale · cos(e, the vector of that class) (Wang et al. 2018; Deng et al. 2019, eq. 2).
    """
    e = (x - arrays["mean"]) / arrays["spread"]
    length = np.sqrt(np.square(e).sum(axis=1, keepdims=True))
    return np.asarray(e @ arrays["weight"] / np.maximum(length, SHORTEST), np.float32)


HEADS: dict[str, Callable[[Mapping[str, NDArray[Any]], Floats], Floats]] = {LINEAR: linear, COSINE: cosine}
"""Name → ``(arrays, embeddings float32 [N, D]) -> logits float32 [N, K]``; the arrays are all that a bundle holds of it."""

SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    LINEAR: {"weight": ("D", "K"), "bias": ("K",)},
    COSINE: {"weight": ("D", "K"), "mean": ("D",), "spread": ("D",)},
}
"""Name → float32 arrays and their axes: D features, K classes."""
