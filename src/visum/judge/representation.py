"""Representation: kinds of pictures that a classifier is asked about more often than it was taught about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visum.judge.intervals import wilson
from visum.judge.paired import holm
from visum.types import Column

ALPHA = 0.05
RARE = 0.67
"""Share of a kind among the training images over its share among the judged ones, below which it is worth a word."""
MOST = 60
"""Values of a column beyond which nothing is said of it."""


def representation(train: Mapping[str, Column], judged: Mapping[str, Column]) -> dict[str, Any]:
    """How often each kind of picture occurs among training and among judged images, plain Python values.

    Keys: ``train`` and ``n`` (images of each), ``rows`` (``by``, ``name``, ``train``, ``n``, ``train_share``, ``share`` with
    Wilson's ``low`` and ``high``, ``p`` of Fisher's exact test that it is as frequent in training, one-sided and after Holm
    over all rows, ``rare``) and ``rare``: how many kinds are rarer in training beyond chance and by a third or more.

    Args:
        train, judged: by → str of each image; "" where it is not known. Only what both have is compared.
    """
    from scipy.stats import hypergeom

    rows: list[dict[str, Any]] = []
    for by in train:
        if by not in judged:
            continue
        ours, theirs = (part[by][part[by] != ""] for part in (judged, train))
        names = sorted({*ours.tolist(), *theirs.tolist()})
        if not len(ours) or not len(theirs) or not 2 <= len(names) <= MOST:
            continue
        for name in names:
            here, there = int((ours == name).sum()), int((theirs == name).sum())
            p = float(hypergeom.cdf(there, len(ours) + len(theirs), here + there, len(theirs)))
            low, high = wilson(here, len(ours))
            share, taught = here / len(ours), there / len(theirs)
            rows.append(
                {"by": by, "name": name, "train": there, "n": here, "train_share": taught, "share": share}
                | {"low": float(low), "high": float(high), "p": p}
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
        row["rare"] = bool(p <= ALPHA and row["train_share"] < RARE * row["share"])
    sizes = [max((len(part[by]) for by in part), default=0) for part in (train, judged)]
    return {"train": sizes[0], "n": sizes[1], "rare": sum(row["rare"] for row in rows), "rows": rows}
