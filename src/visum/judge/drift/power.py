"""Does the test split raise an alarm, and how large a drift would as many pictures show? A block for the trust page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift import concept, exchange, labels, separate, shift, unknown, words
from visum.judge.drift.sample import Reference, Sample, pick, sample
from visum.types import Floats, Predictions

WANTED = 0.8
"""Share of such drifts that is seen."""
SIZES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
"""Sizes that are tried, from the largest down, as shares."""
TRIES, DRAWS = 12, 99
FEW_LABELS = 50
LOOKED_AT = 300
Array = NDArray[np.float64]


def self_check_block(reference: Reference, points: Floats, said: Predictions, *, alpha: float = 0.05) -> dict[str, Any]:
    """The test split as if it were new, and what as many new pictures could show; JSON-ready.

    Keys: ``n`` and ``reference`` (pictures of each), ``alarms`` (kinds), ``kinds``: of each {"status", "p", "n", "says"};
    ``accuracy``: {"estimate", "low", "high", "measured"} or None; ``power``: for each kind the smallest of ``SIZES`` that is seen
    in at least 80 % of simulated drifts, None where none is, with ``n`` pictures or labels:

        covariate   every picture of every class moves by this share of the mean distance between two classes, in one direction
        label       this share of the pictures is replaced by pictures of one class
        concept     this share of the labelled pictures, right before, is called otherwise (``FEW_LABELS`` labels)
        unknown     this share of the pictures is stranger than all that is known

    An alarm here need not be a fault of the test: where test pictures were taken by other people or at other times than the
    validation pictures, they do differ. Then accuracy on validation does not speak for test, nor for what comes.

    Args:
        reference: of the bundle.
        points: projected embeddings of the test pictures, ``[N, C]``.
        said: their predictions, with labels.
    """
    new = sample(reference, points, said.logits, said.labels)
    found = separate.judge(reference, new, alpha=alpha)
    told = new.labels >= 0
    guess = next((each for each in found.estimates if each.method == "atc"), None)
    return {
        "n": len(new),
        "reference": len(reference.sample),
        "alarms": [kind for kind, v in found.verdicts.items() if v.status == "alarm"],
        "kinds": {
            kind: {
                "status": v.status,
                "p": None if np.isnan(v.p) else v.p,
                "n": v.n,
                "says": words.sentence(v, found, reference.classes, reference.prior),
            }
            for kind, v in found.verdicts.items()
        },
        "accuracy": None
        if guess is None or not told.any()
        else {
            "estimate": guess.value,
            "low": guess.low,
            "high": guess.high,
            "measured": float((new.answers[told] == new.labels[told]).mean()),
        },
        "power": seen_sizes(reference, new, alpha=alpha),
    }


def seen_sizes(reference: Reference, new: Sample, *, alpha: float = 0.05, seed: int = 0) -> dict[str, Any]:
    """The block ``power``. Old and new pictures are dealt anew within their answers: there is no drift but that put in."""
    rng = np.random.default_rng(seed)
    old = pick(reference.sample, exchange.rows_at_most(len(reference.sample), LOOKED_AT, rng))
    new = pick(new, exchange.rows_at_most(len(new), LOOKED_AT, rng))
    if len(new) < separate.NEEDED["covariate"]:
        return {}
    fresh = np.arange(len(old) + len(new)) >= len(old)
    both = {name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in Sample.__dataclass_fields__}
    strata, points = both["answers"], both["points"]
    step = _between(points, strata)
    kinds: dict[str, tuple[int, Callable[[float], float]]] = {}

    def dealt(by: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(exchange.splits(by, fresh, 1, rng)[1])

    def moved(size: float) -> float:
        now, direction = dealt(strata), rng.standard_normal(points.shape[1])
        there = points + np.outer(now, size * step * direction / np.linalg.norm(direction)).astype(np.float32)
        return exchange.p_value(shift.mmd(there, strata, exchange.splits(strata, now, DRAWS, rng)))

    def strangers(size: float) -> float:
        now, scores = dealt(strata), both["strange"].copy()
        some = _some(np.flatnonzero(now), size, rng)
        scores[some] = scores.max() * (1 + rng.random(len(some)))
        return exchange.p_value(unknown.tail(scores, strata, exchange.splits(strata, now, DRAWS, rng)))

    def mixed(size: float) -> float:
        alike = np.zeros(len(strata), np.int64)
        now, p = dealt(alike), both["p"].copy()
        like = np.flatnonzero(strata == rng.choice(strata))
        some = _some(np.flatnonzero(now), size, rng)
        p[some] = p[rng.choice(like, len(some))]
        return exchange.p_value(labels.statistic(p, exchange.splits(alike, now, DRAWS, rng)))

    kinds["covariate"], kinds["unknown"] = (len(new), moved), (len(new), strangers)
    if reference.task != "multilabel":
        kinds["label"] = (len(new), mixed)
    told = np.flatnonzero(both["labels"] >= 0)
    if int(fresh[told].sum()) >= separate.NEEDED["concept"]:
        few = np.sort(rng.permutation(told[fresh[told]])[:FEW_LABELS])
        rows = np.concatenate([np.flatnonzero(~fresh), few])
        truth, beyond, sure = both["labels"][rows], both["excess"][rows], both["sure"][rows]

        def renamed(size: float) -> float:
            now = exchange.splits(truth, fresh[rows], 1, rng)[1]
            values = beyond.copy()
            right = np.flatnonzero(now & (values <= 0))
            some = right[rng.permutation(len(right))[: max(1, round(size * now.sum()))]]
            values[some] = sure[some]
            return exchange.p_value(concept.statistic(values, truth, exchange.splits(truth, now, DRAWS, rng)))

        kinds["concept"] = (len(few), renamed)
    return {kind: {"n": n, "size": _smallest(run, alpha)} for kind, (n, run) in kinds.items()}


def _smallest(run: Callable[[float], float], alpha: float) -> float | None:
    """The smallest size that is seen often enough, walking down until one is not."""
    seen = None
    for size in reversed(SIZES):
        if sum(run(size) <= alpha for _ in range(TRIES)) < WANTED * TRIES:
            break
        seen = size
    return seen


def _some(rows: NDArray[np.int64], size: float, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(rows)[: max(1, round(size * len(rows)))]


def _between(points: Floats, strata: NDArray[np.int64]) -> float:
    """Mean distance between the centres of two answers."""
    centres = np.stack([points[strata == k].mean(axis=0) for k in np.unique(strata)])
    if len(centres) < 2:
        return float(np.linalg.norm(points.std(axis=0)))
    apart = np.sqrt(shift.squared_distances(centres, centres))
    return float(apart.sum() / (len(centres) * (len(centres) - 1)))
