"""What all classical classifiers share: scaling, and classes that the training rows do not show.

A method is two functions of centred, scaled rows and a 0/1 table in which every column has both kinds of rows; ``whole`` makes of
them a classifier for any labels, so that no method has to know about empty classes, unlabelled rows or labels that all rows have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import BundleError, DataError, ModelError, NotEnoughData
from visum.types import Floats, Integers

Arrays = Mapping[str, NDArray[Any]]
Fit = Callable[[Floats, Floats, bool, int], dict[str, NDArray[Any]]]
"""``(x [N, D], table 0/1 [N, P], exclusive, seed) -> arrays``; exclusive: one column a row is 1, else columns stand alone."""
Logits = Callable[[Arrays, Floats, bool], Floats]
"""``(arrays, x [M, D], exclusive) -> [M, P]``."""

FAR = 30.0  # logit distance of what was never seen: a probability of 1e-13
OWN = ("mean", "scale", "kept", "rest", "exclusive")


@dataclass(frozen=True)
class Classifier:
    """A way to learn from vectors.

    Attributes:
        fit: ``(x float32 [N, D], y, classes, seed) -> arrays``; y is int64 ``[N]`` (-1: left out) or 0/1 int64 ``[N, K]`` when
            multilabel, ``classes`` is K. The arrays are all the state there is, and fit into safetensors. Raises ``DataError``
            (wrong shapes or numbers that are not finite) and ``NotEnoughData`` (no labelled row).
        logits: ``(arrays, x float32 [M, D]) -> float32 [M, K]``, in NumPy alone, finite, uncalibrated. Softmax gives
            probabilities, sigmoid when multilabel. A class without training rows lies 30 below the lowest of the others.
            Raises ``ModelError`` (x has another width or is not finite) and ``BundleError`` (arrays that do not fit together).
    """

    fit: Callable[[Floats, Integers, int, int], dict[str, NDArray[Any]]]
    logits: Callable[[Arrays, Floats], Floats]


def whole(fit: Fit, logits: Logits, most: Callable[[], int] = lambda: sys.maxsize) -> Classifier:
    """A classifier for any labels from a method that needs both kinds of rows in each column.

    Args:
        fit, logits: of the method.
        most: rows that it learns from; of more, a sample is taken before anything of their size is copied.
    """

    def fit_any(x: Floats, y: Integers, classes: int, seed: int) -> dict[str, NDArray[Any]]:
        _check(x, y, classes)
        exclusive = y.ndim == 1
        known = y >= 0 if exclusive else (y >= 0).all(1)
        if not known.all():
            x, y = x[known], y[known]
        if not len(x):
            raise NotEnoughData("no labelled image to learn from", allowed="one or more labelled training images")
        table = (y[:, None] == np.arange(classes)) if exclusive else y == 1
        shown = table.any(0)
        kept = np.flatnonzero(shown & ~table.all(0))
        mean, scale = _scaling(x)
        own: dict[str, NDArray[Any]] = {
            "mean": mean,
            "scale": scale,
            "kept": kept,
            "rest": np.where(shown, FAR, -FAR).astype(np.float32),
            "exclusive": np.array([exclusive], np.int64),
        }
        if len(kept):
            columns = table[:, kept].astype(np.float32)
            if len(some := sample(columns, most(), seed)) < len(x):
                x, columns = x[some], columns[some]
            own.update(fit((x - mean) / scale, columns, exclusive, seed))
        return own

    def logits_any(arrays: Arrays, x: Floats) -> Floats:
        try:
            mean, scale, kept, rest = (arrays[name] for name in OWN[:4])
            exclusive = bool(arrays["exclusive"][0])
            if x.ndim != 2 or x.shape[1:] != mean.shape:
                raise ModelError(f"vectors of shape {x.shape}", allowed=f"[M, {mean.shape[-1]}], as in training")
            if not np.isfinite(x).all():
                raise ModelError("vectors hold numbers that are NaN or infinite", allowed="finite numbers")
            out = np.repeat(rest[None].astype(np.float32), len(x), 0)
            if len(kept):
                z = logits(arrays, ((x - mean) / scale).astype(np.float32), exclusive)
                if exclusive:
                    out += z.min(1, keepdims=True)
                out[:, kept] = z
            return out
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise BundleError(
                f"the arrays of this classifier do not fit together ({type(error).__name__}: {error})",
                allowed="the arrays that its own training wrote",
                next="train again, or take the bundle from its source again",
            ) from error

    return Classifier(fit_any, logits_any)


def sample(table: Floats, limit: int, seed: int) -> Integers:
    """At most about ``limit`` rows of a 0/1 table ``[N, P]``, sorted: every combination of labels in proportion, and
    at least one row of both kinds for each column."""
    if len(table) <= limit:
        return np.arange(len(table))
    order = np.random.default_rng(seed).permutation(len(table))
    stratum = np.unique(table[order], axis=0, return_inverse=True)[1].ravel()
    by_stratum = np.argsort(stratum, kind="stable")
    counts = np.bincount(stratum)
    rank = np.empty(len(table))
    rank[by_stratum] = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    key = rank / counts[stratum]
    shuffled = table[order]
    key[shuffled.argmax(0)] = key[shuffled.argmin(0)] = -1
    return np.sort(order[np.argsort(key, kind="stable")[:limit]])


_BLOCK = 4096  # rows that are float64 at a time


def _scaling(x: Floats) -> tuple[Floats, Floats]:
    """Mean float32 ``[D]`` and one scale float32 ``[1]`` that makes the mean squared length of a row 1.

    One scale and not one a column: the entries of a descriptor share their unit, and rare ones are mostly noise.
    """
    mean = x.mean(0, dtype=np.float64)
    blocks = (x[at : at + _BLOCK].astype(np.float64).ravel() for at in range(0, len(x), _BLOCK))
    square = sum(float(block @ block) for block in blocks) / max(1, len(x))
    length = float(np.sqrt(max(square - float((mean**2).sum()), 0.0)))
    tiny = 1e-6 * float(np.sqrt((mean**2).sum()))
    return mean.astype(np.float32), np.array([length if length > tiny else 1.0], np.float32)


def _check(x: Floats, y: Integers, classes: int) -> None:
    if x.ndim != 2 or len(x) != len(y) or (y.ndim == 2 and y.shape[1] != classes) or y.ndim > 2:
        raise DataError(f"vectors of shape {x.shape} for labels of shape {y.shape} and {classes} classes")
    if not np.isfinite(x).all():
        raise DataError(f"vectors of {int((~np.isfinite(x)).any(1).sum())} images are NaN or infinite")
    if len(y) and (y.max() >= (classes if y.ndim == 1 else 2) or y.min() < -1):
        raise DataError(f"labels from {y.min()} to {y.max()}", allowed=f"-1 to {(classes if y.ndim == 1 else 2) - 1}")
