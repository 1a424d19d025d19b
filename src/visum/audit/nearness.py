"""Whether validation lies nearer to the train images than test does, so that choices made on validation will disappoint.

Given splits are often made from different shoots, days or sources: if validation shares those of train and test does not, every
score on validation flatters, and what wins there need not win elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Column, Finding, Floats, Integers, Manifest, Severity, in_split

MOST_TRAIN, MOST_HELD = 20_000, 1_000
"""Rows that are compared at most, drawn evenly: 2 · 1,000 rows with 20,000 of 1,904 columns take about a second."""
LEAST_PAIRS = 400  # of a validation and a test image of one class, e.g. 20 each
LEAST_EFFECT, LEAST_DEVIATIONS = 0.6, 4.0
"""An even chance is 0.5; random splits reach four standard deviations once in 30,000 times."""
SERIOUS_EFFECT = 0.7
PAIRS = 25
_BLOCK = 1024


def nearest(
    vectors: NDArray[np.floating[Any]], held: NDArray[np.integer[Any]], train: NDArray[np.integer[Any]]
) -> tuple[Floats, Integers]:
    """Largest cosine of each ``held`` row with a ``train`` row, about the mean of train.

    Args:
        vectors: embeddings float16 or float32 ``[N, D]``, may be memory-mapped.
        held, train: row numbers, train not empty.

    Returns:
        float32 ``[len(held)]``, -1 … 1; int64 ``[len(held)]``, the train rows.
    """
    mean = np.zeros(vectors.shape[1], np.float32)
    for start in range(0, len(train), _BLOCK):
        mean += np.asarray(vectors[train[start : start + _BLOCK]], np.float32).sum(axis=0) / len(train)

    def unit(rows: NDArray[np.integer[Any]]) -> Floats:
        centred = np.asarray(vectors[rows], np.float32) - mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), np.float32)

    asked, best, at = unit(held), np.full(len(held), -np.inf, np.float32), np.zeros(len(held), np.int64)
    for start in range(0, len(train), _BLOCK):
        cosine = asked @ unit(train[start : start + _BLOCK]).T
        here = cosine.argmax(axis=1)
        there = cosine[np.arange(len(held)), here]
        at = np.where(there > best, start + here, at)
        best = np.maximum(best, there)
    return best, np.asarray(train[at], np.int64)


def larger(first: Floats, second: Floats, first_strata: Column, second_strata: Column) -> tuple[float, float, int]:
    """How often a number of ``first`` is larger than one of ``second`` of the same stratum, and how sure that is.

    Mann and Whitney's U (1947), summed over strata (as van Elteren 1960 does, with equal weight for each pair): nothing is
    assumed of the numbers, and strata of different shares and levels do not mislead.

    Args:
        first, second: float ``[A]``, ``[B]``.
        first_strata, second_strata: names ``[A]``, ``[B]``.

    Returns:
        The share of pairs 0 … 1 in which ``first`` is larger, equals counting half (0.5 where there is no pair); its distance
        from 0.5 in standard deviations under exchangeability; the number of pairs.
    """
    wins, pairs, variance = 0.0, 0, 0.0
    for stratum in set(first_strata) & set(second_strata):
        a, b = first[first_strata == stratum], second[second_strata == stratum]
        n, m, b = len(a), len(b), np.sort(b)
        wins += float(np.searchsorted(b, a, "left").sum() + np.searchsorted(b, a, "right").sum()) / 2
        pairs += n * m
        variance += n * m * (n + m + 1) / 12
    if not pairs:
        return 0.5, 0.0, 0
    return wins / pairs, (wins - pairs / 2) / variance**0.5, pairs


def findings(table: Manifest, vectors: NDArray[np.floating[Any]]) -> list[Finding]:
    """At most one finding, of splits that the data came with; its ids are pairs of a validation image and a train image near it.

    Args:
        table: N rows; where train, validation or test is missing there is nothing to compare.
        vectors: their embeddings float16 or float32 ``[N, D]``.

    Images are compared within one class, so that a test split with more of the difficult classes raises no alarm.
    """
    draw = np.random.default_rng(0)
    parts = {name: np.flatnonzero(in_split(table, name)) for name in ("train", "validation", "test")}
    most = {"train": MOST_TRAIN, "validation": MOST_HELD, "test": MOST_HELD}
    rows = {name: np.sort(draw.permutation(part)[: most[name]]) for name, part in parts.items()}
    if not all(map(len, rows.values())):
        return []
    validation, test = rows["validation"], rows["test"]
    cosine, partner = nearest(vectors, validation, rows["train"])
    test_cosine, _ = nearest(vectors, test, rows["train"])
    single = table.task != "multilabel"
    strata = np.array([str(label) if single else "" for label in table.labels], object)
    share, deviations, pairs = larger(cosine, test_cosine, strata[validation], strata[test])
    if pairs < LEAST_PAIRS or share < LEAST_EFFECT or deviations < LEAST_DEVIATIONS:
        return []
    message = (
        f"Validation images lie nearer to the train images than test images do: within a class, the validation image has the "
        f"closer train image {100 * share:.0f} % of the time (50 % where splits are alike). Validation seems to share shoots, "
        "places or objects with train, and test does not: scores on validation will flatter, and what wins there may lose on "
        "test. Split anew by what they share (class folders with --group-regex, or a table with --group-column and no "
        "splits); until then, believe the test score."
    )
    order = np.argsort(-cosine, kind="stable")[:PAIRS]
    medians = {"validation_cosine": float(np.median(cosine)), "test_cosine": float(np.median(test_cosine))}
    numbers = {"share": share, "deviations": deviations, **medians}
    shown = np.stack([validation[order], partner[order]], axis=1).ravel()
    severity: Severity = "serious" if share >= SERIOUS_EFFECT else "warning"
    return [Finding("validation_nearer_to_train", severity, message, tuple(table.ids[shown]), numbers)]
