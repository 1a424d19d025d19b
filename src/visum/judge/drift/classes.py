"""Which classes have drifted, and pictures that show it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from visum.judge.drift import exchange
from visum.judge.drift.sample import Reference, Sample, pick
from visum.judge.drift.shift import gaussian, quadratic
from visum.judge.paired import holm

LEAST = 10
"""Old and new pictures of an answer, below which it is not judged."""
MOST = 500
EXAMPLES = 6


@dataclass(frozen=True)
class ClassDrift:
    """Pictures that are called by one class.

    Attributes:
        name: of the class.
        n, share: new pictures that are called so, and their share.
        before: the same share among the reference.
        p: that they look as the reference's did, adjusted for the number of classes (Holm); NaN where there are fewer than
            ``LEAST`` old or new ones.
        examples: positions of the new ones that are least like the reference, worst first.
    """

    name: str
    n: int
    share: float
    before: float
    p: float
    examples: tuple[int, ...]


def by_class(
    reference: Reference, new: Sample, *, draws: int = exchange.DRAWS, seed: int = 0
) -> tuple[ClassDrift, ...]:
    """Every class that is answered, in the order of the classes; empty when multilabel or without embeddings.

    Old and new pictures of one answer are compared by their maximum mean discrepancy; examples are those new ones at which its
    witness function (mean nearness to new pictures less mean nearness to old ones) is largest.
    """
    if reference.task == "multilabel" or not new.points.shape[1]:
        return ()
    rng, old, found = np.random.default_rng(seed), reference.sample, []
    for k, name in enumerate(reference.classes):
        here = np.flatnonzero(new.answers == k)
        there = np.flatnonzero(old.answers == k)
        p, examples = math.nan, here[np.argsort(-new.strange[here], kind="stable")]
        if min(len(here), len(there)) >= LEAST:
            here = here[exchange.rows_at_most(len(here), MOST, rng)]
            there = there[exchange.rows_at_most(len(there), MOST, rng)]
            points = np.concatenate([pick(old, there).points, pick(new, here).points])
            fresh, alike = np.arange(len(points)) >= len(there), np.zeros(len(points), np.int64)
            weights = exchange.contrasts(exchange.splits(alike, fresh, draws, rng), alike)
            kernel = gaussian(points)
            p = exchange.p_value(quadratic(weights, kernel))
            witness = (weights[:1] @ kernel)[0][fresh]
            examples = here[np.argsort(-witness, kind="stable")]
        found.append(
            ClassDrift(
                name,
                int((new.answers == k).sum()),
                float((new.answers == k).mean()),
                len(np.flatnonzero(old.answers == k)) / len(old),
                p,
                tuple(int(row) for row in examples[:EXAMPLES]),
            )
        )
    known = [at for at, each in enumerate(found) if not math.isnan(each.p)]
    adjusted = dict(zip(known, holm([found[at].p for at in known]), strict=True))
    return tuple(replace(each, p=adjusted.get(at, math.nan)) for at, each in enumerate(found))
