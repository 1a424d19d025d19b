"""Real predictions for the tests of this folder: logistic regressions on scikit-learn's handwritten digits."""

from __future__ import annotations

from functools import cache

import numpy as np

from visum.types import Predictions, Task, column


@cache
def predictions(task: Task) -> Predictions:
    """What a hastily fitted model says about 797 digits it has not seen, with its mistakes.

    multiclass: the digit; binary: is it an 8 (rare); multilabel: even, above four, round (0, 6, 8, 9), prime."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    source = load_digits()
    x, digit = source.data / 16, source.target
    x = x + np.random.default_rng(5).normal(0, 0.25, x.shape)

    def logits(y: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=0.02, max_iter=200).fit(x[:1000], y[:1000])
        return model.decision_function(x[1000:])

    if task == "multiclass":
        z, y, names = logits(digit), digit, tuple(f"digit-{k}" for k in range(10))
    elif task == "binary":
        y, names = (digit == 8).astype(np.int64), ("other", "eight")
        z = np.stack([np.zeros(797), logits(y)], 1)
    else:
        y = np.stack([digit % 2 == 0, digit > 4, np.isin(digit, (0, 6, 8, 9)), np.isin(digit, (2, 3, 5, 7))], 1)
        z, names = np.stack([logits(column_) for column_ in y.T], 1), ("even", "big", "round", "prime")
    ids = column([f"digits/{row:04d}.png" for row in range(797)])
    thresholds = {"multiclass": (), "binary": (0.3,), "multilabel": (0.4, 0.5, 0.6, 0.35)}[task]
    labels = np.asarray(y[1000:], np.int64)
    return Predictions(ids, z.astype(np.float32), labels, names, task, "m", 0.8, thresholds)
