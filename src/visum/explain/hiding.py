"""Maps from answers alone, by hiding parts of a picture: occlusion, LIME and kernel SHAP. Any model will do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visum.explain.occlusion import hidden
from visum.explain.subject import Subject, evidence
from visum.types import Floats, Integers, Pixels

GRID, SEGMENTS, SAMPLES = 10, 50, 400
WIDTH = 0.25
"""Of LIME's kernel, in cosine distance, as its authors' code has it."""


def occlusion(subject: Subject, square: Pixels, target: int, contrast: int, grid: int = GRID) -> Floats:
    """The fall of the evidence when a cell of a grid is hidden (Zeiler & Fergus 2014): float32 ``[S, S]``, signed."""
    grid = min(grid, len(square))
    squares = np.stack([square, *(hidden(square, cell, grid, subject.fill) for cell in range(grid * grid))])
    told = evidence(subject.answer(squares), target, contrast, subject.task)
    rows, columns = (np.minimum((np.arange(n) * grid + grid - 1) // n, grid - 1) for n in square.shape[:2])
    fall = (told[0] - told[1:]).reshape(grid, grid)
    return np.asarray(fall[np.ix_(rows, columns)], np.float32)


def segments(square: Pixels, number: int = SEGMENTS) -> Integers:
    """Superpixels by SLIC (Achanta et al. 2012): int64 ``[S, S]``, 0 … M - 1."""
    from skimage.segmentation import slic

    found = slic(square, n_segments=number, compactness=10, sigma=1, start_label=0)
    return np.asarray(np.unique(found, return_inverse=True)[1].reshape(found.shape), np.int64)


def composed(square: Pixels, parts: Integers, kept: NDArray[np.bool_]) -> Pixels:
    """Copies with only some parts kept, the others in their own mean colour: bool ``[N, M]`` → uint8 ``[N, S, S, 3]``."""
    count = np.bincount(parts.ravel())
    means = [np.bincount(parts.ravel(), square[..., c].ravel()) / count for c in range(3)]
    blank = np.stack(means, axis=1)[parts].astype(np.uint8)
    return np.where(kept[:, parts][..., None], square, blank)


def _answers(
    subject: Subject, square: Pixels, parts: Integers, kept: NDArray[np.bool_], which: tuple[int, int]
) -> Floats:
    groups = (kept[at : at + 64] for at in range(0, len(kept), 64))
    logits = np.concatenate([subject.answer(composed(square, parts, group)) for group in groups])
    return evidence(logits, *which, subject.task)


def ridge(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Weighted least squares with an intercept that is not shrunk: ``[N, M]``, ``[N]``, ``[N]`` → coefficients ``[M]``."""
    share = weight / weight.sum()
    a, b = x - share @ x, y - share @ y
    gram = (a * weight[:, None]).T @ a
    return np.asarray(np.linalg.solve(gram + strength * np.eye(x.shape[1]), (a * weight[:, None]).T @ b))


def lime(
    subject: Subject, square: Pixels, target: int, contrast: int, samples: int = SAMPLES, number: int = SEGMENTS
) -> Floats:
    """A linear model of which superpixels are seen (Ribeiro et al. 2016, algorithm 1): its coefficients, float32 ``[S, S]``."""
    parts = segments(square, number)
    draw = np.random.default_rng(subject.seed)
    kept = draw.random((samples, parts.max() + 1)) < 0.5
    kept[0] = True
    y = _answers(subject, square, parts, kept, (target, contrast))
    distance = 1 - np.sqrt(kept.mean(axis=1))  # cosine distance to the row of ones
    found = ridge(kept.astype(np.float64), y.astype(np.float64), np.exp(-(distance**2) / WIDTH**2), 1.0)
    return np.asarray(found[parts], np.float32)


def kernel_shap(
    subject: Subject, square: Pixels, target: int, contrast: int, samples: int = SAMPLES, number: int = SEGMENTS
) -> Floats:
    """Shapley values of superpixels by weighted regression (Lundberg & Lee 2017, theorem 2), each spread over its pixels.

    Sizes of coalitions are drawn by their share of the kernel's weight, each with its complement; that all values sum to
    evidence(picture) - evidence(blank) is solved for exactly.
    """
    parts = segments(square, number)
    number = int(parts.max()) + 1
    ends = _answers(subject, square, parts, np.array([[True] * number, [False] * number]), (target, contrast))
    whole = float(ends[0] - ends[1])
    if number < 3:
        return np.asarray(np.full(parts.shape, whole / parts.size), np.float32)
    draw = np.random.default_rng(subject.seed)
    sizes = np.arange(1, number)
    share = 1 / (sizes * (number - sizes))
    drawn = draw.choice(sizes, samples // 2, p=share / share.sum())
    kept = draw.random((samples // 2, number)).argsort(axis=1) < drawn[:, None]
    kept = np.concatenate([kept, ~kept])
    y = _answers(subject, square, parts, kept, (target, contrast)) - ends[1]
    x = kept.astype(np.float64)
    a, b = x[:, :-1] - x[:, -1:], y - x[:, -1] * whole
    values = np.linalg.lstsq(a.T @ a + 1e-6 * np.eye(number - 1), a.T @ b, rcond=None)[0]
    values = np.append(values, whole - values.sum())
    return np.asarray((values / np.bincount(parts.ravel()))[parts], np.float32)
