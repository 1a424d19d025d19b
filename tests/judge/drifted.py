"""Real handwritten digits, a logistic model of them, and windows of them with and without drift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from visum.judge.drift.sample import Reference, Sample, reference, sample
from visum.types import Predictions

CLASSES = tuple(map(str, range(10)))


@dataclass(frozen=True, eq=False)
class Digits:
    """What the model has not seen: ``images`` [N, 8, 8], ``labels`` [N]; ``seen``: points and logits of any images."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    model: LogisticRegression
    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    known: NDArray[np.float32]

    def points(self, images: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray((images.reshape(len(images), -1) - self.mean) @ self.axes.T, np.float32)

    def logits(self, images: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(self.model.decision_function(self.points(images)), np.float32)


@cache
def digits(columns: int = 16, strength: float = 0.01) -> Digits:
    """A third of the digits has taught the projection and the model (about 93 % right)."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images, labels = found.images[order] / 16, found.target[order].astype(np.int64)
    x = images[:600].reshape(600, -1)
    mean = x.mean(0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    axes = axes[:columns]
    model = LogisticRegression(C=strength, max_iter=500).fit((x - mean) @ axes.T, labels[:600])
    known = np.asarray((x - mean) @ axes.T, np.float32)
    return Digits(images[600:], labels[600:], model, mean, axes, known)


def said(d: Digits, images: NDArray[np.float64], labels: NDArray[np.int64]) -> Predictions:
    ids = np.array([str(at) for at in range(len(images))], object)
    return Predictions(ids, d.logits(images), labels, CLASSES, "multiclass", temperature=0.6)


def referred(d: Digits, rows: NDArray[np.int64]) -> Reference:
    return reference(d.points(d.images[rows]), said(d, d.images[rows], d.labels[rows]), d.known)


def seen(d: Digits, against: Reference, images: NDArray[np.float64], labels: NDArray[np.int64] | None = None) -> Sample:
    return sample(against, d.points(images), d.logits(images), labels)


def blurred(images: NDArray[np.float64], sigma: float = 0.8) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter(images, (0, sigma, sigma)))


def shifted(
    labels: NDArray[np.int64], rows: NDArray[np.int64], shares: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Up to n of the rows with those shares of the classes, each at most once."""
    wanted = np.round(n * shares).astype(int)
    return np.concatenate([rng.permutation(rows[labels[rows] == k])[: wanted[k]] for k in range(10)])
