"""Occlusion (Zeiler & Fergus 2014, section 4.2): hide one cell of a grid after the other, and see how the answer suffers.

It asks nothing of a model but answers, so that it works for networks, classical models and ensembles alike. The map is coarse:
what it shows are cells, and a thing that is in several of them may show in none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visum.types import Floats, Pixels, Task


def hidden(square: Pixels, cell: int, grid: int, fill: Sequence[int]) -> Pixels:
    """A copy of a picture with one cell filled.

    Args:
        square: uint8 ``[H, W, 3]``.
        cell: 0 … grid² - 1, row by row.
        grid: rows and columns, at least 1; cells differ by a pixel where it does not divide the sides.
        fill: RGB, 0 to 255.
    """
    height, width = square.shape[:2]
    row, column = divmod(cell, grid)
    out = square.copy()
    top, bottom = row * height // grid, (row + 1) * height // grid
    left, right = column * width // grid, (column + 1) * width // grid
    out[top:bottom, left:right] = np.asarray(fill, np.uint8)
    return out


def heat(plain: Floats, occluded: Floats, target: int, task: Task) -> Floats:
    """How much each cell speaks for a class: the fall of its log-odds when the cell is hidden.

    Log-odds and not probabilities, which do not move where the model is very sure.

    Args:
        plain: logits float32 ``[K]`` of the whole picture.
        occluded: logits float32 ``[G * G, K]`` with each cell hidden.
        target: the class, 0 … K - 1.
        task: multilabel: a logit is log-odds already; else they are against all other classes.

    Returns:
        float32 ``[G, G]``, rows top to bottom: 1 at the cell that speaks most for the class, 0 where hiding changes nothing or
        helps; all 0 if no cell speaks for it.
    """
    grid = round(len(occluded) ** 0.5)
    fall = log_odds(plain[None], target, task) - log_odds(occluded, target, task)
    positive = np.maximum(fall, 0).reshape(grid, grid)
    most = float(positive.max())
    return np.asarray(positive / most if most > 1e-6 else np.zeros_like(positive), np.float32)


def log_odds(logits: Floats, target: int, task: Task) -> Floats:
    """log(p / (1 - p)) of one class: float32 ``[N, K]`` → float64 ``[N]``."""
    z = logits.astype(np.float64)
    if task == "multilabel":
        return np.asarray(z[:, target])
    others = np.delete(z, target, axis=1)
    top = others.max(axis=1, keepdims=True)
    return np.asarray(z[:, target] - (top[:, 0] + np.log(np.exp(others - top).sum(axis=1))))
