"""A small classifier of real photos as a bundle: the mean colour of a picture (the one decoder's) into a linear head."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visum.data.decode import decode
from visum.types import Bundle, Preprocess

CLASSES = ("astronaut", "chelsea", "<img src=x onerror=alert(1)>|`\n# 🧥")


def encoded(pixels: NDArray[np.uint8], form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def predict(bundle: Bundle, images: Sequence[bytes]) -> NDArray[np.float32]:
    """Probabilities float32 ``[N, K]``."""
    x = np.stack([decode(data).pixels.mean((0, 1)) for data in images]).astype(np.float32)
    x = (x - bundle.weights["backbone.mean"]) / bundle.weights["backbone.std"]
    z = (x @ bundle.weights["head.weight"] + bundle.weights["head.bias"]) / bundle.temperature
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float32)


def model(photos: dict[str, NDArray[np.uint8]], **changes: Any) -> Bundle:
    """Nearest mean colour of three photos, written as a linear head: x·m - |m|²/2 (so that the right photo wins)."""
    means = np.stack([photo.mean((0, 1)) for photo in photos.values()]).astype(np.float32)
    centre, spread = means.mean(0), means.std(0) + 1
    scaled = ((means - centre) / spread).astype(np.float32)
    values: dict[str, Any] = {
        "task": "multiclass",
        "classes": CLASSES,
        "architecture": {"kind": "probe", "backbone": "mean_colour", "stages": ["all"]},
        "preprocess": Preprocess(size=64, fit="crop", mean=tuple(map(float, centre)), std=tuple(map(float, spread))),
        "weights": {
            "backbone.mean": centre,
            "backbone.std": spread.astype(np.float32),
            "backbone.seen": np.array(3, np.int64),
            "backbone.halves": np.linspace(-1, 1, 7, dtype=np.float16).reshape(7, 1),
            "backbone.mask": np.array([[True, False]]),
            "head.weight": np.ascontiguousarray(scaled.T),
            "head.bias": (-0.5 * (scaled**2).sum(1)).astype(np.float32),
        },
        "temperature": 0.75,
        "thresholds": (),
        "notes": {"visum": "0.1.0", "data": {"n": 3, "counts": {"train": [1, 1, 1]}}, "findings": ["one | two"]},
    }
    return Bundle(**{**values, **changes})


def golden(bundle: Bundle, photos: dict[str, NDArray[np.uint8]]) -> list[tuple[str, bytes, NDArray[np.float32]]]:
    """Two JPEGs and a PNG under strangers' names, with what ``predict`` says of them."""
    names = ("astronaut.jpg", "../../chelsea\n<b>.jpg", "coffee \udcff.png")
    images = [encoded(p, "PNG" if n.endswith("png") else "JPEG") for n, p in zip(names, photos.values(), strict=True)]
    return list(zip(names, images, predict(bundle, images), strict=True))
