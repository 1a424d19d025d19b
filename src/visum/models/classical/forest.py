"""The random forest (Breiman 2001), flattened into a few arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.models.classical.classes import Arrays
from visum.runtime import threads
from visum.types import Floats

TREES = 100
MOST_FEATURES = 16  # tried at a node, of the usual square root: time grows with it, accuracy hardly
MOST_ROWS = 50_000
CHUNK = 1024
DOUBT = 1.0  # so many trees' worth of votes are spread over all classes, so that no logarithm is infinite


def fit(x: Floats, table: Floats, exclusive: bool, seed: int) -> dict[str, NDArray[Any]]:
    """100 fully grown trees on at most 50,000 rows. Columns that stand alone share the trees.

    Returns:
        feature int32, threshold float32, left, right int32 ``[nodes]``: to the left where ``x[feature] <= threshold``; children
        come after their parent, and a leaf is its own child. roots int32 ``[trees]``. Leaves are sparse rows over the P columns:
        start int32 ``[nodes + 1]`` into column int32 and share float32 (of the leaf's training rows).
    """
    from sklearn.ensemble import RandomForestClassifier

    y = table.argmax(1) if exclusive else table if table.shape[1] > 1 else table[:, 0]
    tried = max(1, min(MOST_FEATURES, int(np.sqrt(x.shape[1]))))
    forest = RandomForestClassifier(TREES, max_features=tried, n_jobs=threads(), random_state=seed).fit(x, y)
    parts: list[tuple[NDArray[Any], ...]] = []
    roots, nodes = [], 0
    for each in forest.estimators_:
        tree = each.tree_
        leaf = tree.children_left < 0
        at = np.arange(tree.node_count)
        of_class = tree.value / tree.value.sum(2, keepdims=True)  # [nodes, 1, P], or [nodes, P, 2] of no and yes
        share = np.where(leaf[:, None], of_class[:, 0] if exclusive else of_class[:, :, 1], 0)
        where, column = np.nonzero(share)
        parts.append(
            (
                np.where(leaf, 0, tree.feature),
                _float32_below(np.where(leaf, 0.0, tree.threshold)),
                np.where(leaf, at, tree.children_left) + nodes,
                np.where(leaf, at, tree.children_right) + nodes,
                np.bincount(where, minlength=len(leaf)),
                column,
                share[where, column].astype(np.float32),
            )
        )
        roots.append(nodes)
        nodes += tree.node_count
    feature, threshold, left, right, counts, column, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    start = np.concatenate([[0], np.cumsum(counts)])
    whole = {
        "feature": feature,
        "left": left,
        "right": right,
        "start": start,
        "column": column,
        "roots": np.array(roots),
    }
    return {
        **{name: values.astype(np.int32) for name, values in whole.items()},
        "threshold": threshold,
        "share": share,
    }


def _float32_below(values: NDArray[np.float64]) -> Floats:
    """The largest float32 that is no larger: a float32 feature falls on the same side of both."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)


def logits(arrays: Arrays, x: Floats, exclusive: bool) -> Floats:
    """Logarithm of the smoothed average of the leaves' shares; of its odds where columns stand alone."""
    trees, p = len(arrays["roots"]), len(arrays["kept"])
    share = shares(arrays, x) * trees
    if exclusive:
        return np.asarray(np.log((share + DOUBT / p) / (trees + DOUBT)), np.float32)
    return np.asarray(np.log((share + DOUBT / 2) / (np.maximum(trees - share, 0) + DOUBT / 2)), np.float32)


def shares(arrays: Arrays, x: Floats) -> Floats:
    """Average share of the training rows in the leaves that each row reaches: float32 ``[M, P]``.

    Raises:
        ValueError: arrays that are no forest (walking them might not end).
    """
    nodes = np.arange(len(arrays["feature"]))
    left, right, start, column = (arrays[name] for name in ("left", "right", "start", "column"))
    forward = ((left > nodes) & (right > nodes)) | ((left == nodes) & (right == nodes))
    sparse = len(start) == len(nodes) + 1 and start[0] == 0 and start[-1] == len(column) == len(arrays["share"])
    if not (forward.all() and sparse and (np.diff(start) >= 0).all() and (column < len(arrays["kept"])).all()):
        raise ValueError("these trees are broken")
    out = [_chunk(arrays, x[at : at + CHUNK]) for at in range(0, len(x), CHUNK)]
    return np.concatenate(out) if out else np.zeros((0, len(arrays["kept"])), np.float32)


def _chunk(arrays: Arrays, x: Floats) -> Floats:
    feature, threshold, left, right = (arrays[name] for name in ("feature", "threshold", "left", "right"))
    m, trees, p = len(x), len(arrays["roots"]), len(arrays["kept"])
    node = np.tile(arrays["roots"], m)
    row = np.repeat(np.arange(m), trees)
    going = np.arange(len(node))
    while len(going):
        at = node[going]
        below = x[row[going], feature[at]] <= threshold[at]
        after = np.where(below, left[at], right[at])
        node[going] = after
        going = going[after != at]
    begin = arrays["start"][node].astype(np.int64)
    length = arrays["start"][node + 1] - begin
    entry = np.arange(length.sum()) + np.repeat(begin - (np.cumsum(length) - length), length)
    cell = np.repeat(row, length) * p + arrays["column"][entry]
    total = np.bincount(cell, arrays["share"][entry], minlength=m * p)
    return (total.reshape(m, p) / trees).astype(np.float32)
