"""Small classifiers that can be exported without building a network: the mean colour of each cell of a grid is the embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.data.pixels import fit_batch
from visum.models import ensemble as joining
from visum.models import predict
from visum.models.weights import Backbone
from visum.ship.export import EXPORTERS, folder, reference
from visum.ship.export.folder import Export
from visum.ship.export.graph import Graph
from visum.types import Bundle, Floats, Pixels, Predictions, Preprocess, column, probabilities

CELLS = 4
D = 3 * CELLS * CELLS


def network(backbone: Backbone, preprocess: Preprocess) -> Any:
    """Normalised pixels, a 3 x 3 convolution of the backbone's weights, the mean of each cell: uint8 → float32 ``[B, D]``."""
    g, side = Graph(), preprocess.size
    x = g.cast(g.add("Transpose", "pixels", perm=[0, 3, 1, 2]), np.float32)
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    x = g.add("Div", g.add("Sub", x, mean), std)
    x = g.add("Relu", g.add("Conv", x, backbone.weights["conv"], pads=[1, 1, 1, 1]))
    x = g.add("AveragePool", x, kernel_shape=[side // CELLS] * 2, strides=[side // CELLS] * 2)
    g.rename(g.add("Flatten", x), "embedding")
    ends: Any = {"pixels": (np.uint8, ["images", side, side, 3])}, {"embedding": (np.float32, ["images", D])}
    return g.model(*ends, {})


def embeddings(bundle: Bundle, squares: NDArray[np.uint8]) -> Floats:
    """The same in SciPy."""
    from scipy.ndimage import correlate

    spec = bundle.preprocess
    x = (squares.astype(np.float64) - spec.mean) / spec.std
    kernel = bundle.weights["backbone.conv"].astype(np.float64).transpose(2, 3, 1, 0)
    maps = np.stack([correlate(x, kernel[None, ..., k], mode="constant")[..., 1] for k in range(3)], axis=1)
    maps = np.maximum(maps, 0)
    cell = spec.size // CELLS
    means = maps.reshape(len(squares), 3, CELLS, cell, CELLS, cell).mean((3, 5))
    return np.asarray(means.reshape(len(squares), D), np.float32)


def model(seed: int = 0, **changes: Any) -> Bundle:
    """A probe with random weights on random convolutions; three classes, 32 px."""
    rng = np.random.default_rng(seed)
    tensors = {
        "backbone.conv": rng.normal(size=(3, 3, 3, 3)).astype(np.float32),
        "head.weight": rng.normal(size=(D, 3)).astype(np.float32),
        "head.bias": rng.normal(size=3).astype(np.float32),
    }
    bundle = Bundle(
        "multiclass",
        ("a", "b", "c"),
        {"kind": "probe", "backbone": "cells", "stages": []},
        Preprocess(size=32, background=(10, 200, 90), mean=(120.0, 110.0, 100.0), std=(60.0, 70.0, 80.0)),
        tensors,
        1.5,
    )
    return replace(bundle, **changes)


def cosine(seed: int = 0, **changes: Any) -> Bundle:
    """The same with a cosine head."""
    rng, base = np.random.default_rng(seed), model(seed)
    tensors = {
        "backbone.conv": base.weights["backbone.conv"],
        "classifier.weight": rng.normal(size=(D, 3)).astype(np.float32),
        "classifier.mean": rng.normal(size=D).astype(np.float32),
        "classifier.spread": (0.5 + rng.random(D)).astype(np.float32),
    }
    return replace(base, architecture={**base.architecture, "classifier": "cosine"}, weights=tensors, **changes)


def logits(bundle: Bundle, pictures: Sequence[Pixels]) -> Floats:
    """From SciPy's embeddings through the NumPy heads."""
    if members := joining.members_of(bundle):
        return joining.combined(bundle, members, [logits(member, pictures) for member in members])
    seen = embeddings(bundle, fit_batch(pictures, bundle.preprocess))
    return predict.Model(bundle).head(seen)


def wanted(bundle: Bundle, pictures: Sequence[Pixels]) -> Floats:
    z = logits(bundle, pictures)
    return probabilities(
        Predictions(
            column([""] * len(z)), z, np.zeros(0, np.int64), bundle.classes, bundle.task, "", bundle.temperature
        )
    )


def export(bundle: Bundle, photos: Mapping[str, Pixels], target: str = "onnx", **changes: Any) -> Export:
    """An export of one of these classifiers, with photos as golden images."""
    pictures = [reference.halving(photo, bundle.preprocess) for photo in photos.values()]
    golden = [
        (f"{name}.png", reference.png(picture), row)
        for name, picture, row in zip(photos, pictures, wanted(bundle, pictures), strict=True)
    ]
    made = Export(
        target=target,
        precision="float32",
        task=bundle.task,
        classes=bundle.classes,
        thresholds=bundle.thresholds,
        preprocess=asdict(bundle.preprocess),
        background=bundle.preprocess.background,
        bundle="0" * 64,
        tolerance=1e-4,
        changed=0,
        files=EXPORTERS[target](bundle, {"classes": list(bundle.classes)}, network),
        golden=tuple(golden),
    )
    return replace(made, **changes)


def written(folder_: Path, *arguments: Any, **changes: Any) -> Path:
    """The same as a folder."""
    folder.write(export(*arguments, **changes), folder_)
    return folder_


def sealed_again(place: Path) -> None:
    """``SHA256SUMS`` made to fit whatever lies in the folder: what somebody does who edits on purpose."""
    names = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    (place / "SHA256SUMS").write_text("".join(f"{storage.digest_file(place / name)}  {name}\n" for name in names))
