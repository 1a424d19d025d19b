"""Untrained networks as bundles and as what explainers ask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.explain.subject import Subject
from visum.models import differentiable, weights, zoo
from visum.types import Bundle, Pixels

NAME, SIZE = "cnn:widths=8-16-24", 64


def bundled(name: str, size: int, k: int = 3) -> Bundle:
    """An untrained network with a random head on all its stages."""
    base = weights.untrained(name, size=size, seed=1)
    trunk = zoo.trunk(base.name, base.weights, base.stages, base.preprocess)
    import torch

    wide = trunk(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[1]
    head = np.random.default_rng(0).normal(size=(wide, k)).astype(np.float32)
    tensors = {f"backbone.{key}": value for key, value in base.weights.items()}
    tensors |= {"head.weight": head, "head.bias": np.zeros(k, np.float32)}
    kind = {"kind": "probe", "backbone": name, "stages": list(base.stages)}
    return Bundle("multiclass", ("a", "b", "c")[:k], kind, base.preprocess, tensors)


def subject_of(bundle: Bundle, layer: str = "") -> Subject:
    import torch

    network = differentiable.of_bundle(bundle)

    def answer(squares: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(network(differentiable.pixels(squares)).numpy())

    return Subject(answer, bundle.task, bundle.preprocess.background, network, layer)
