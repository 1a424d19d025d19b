"""What a finished bundle promises: prediction sets, when to abstain, what is unknown; made of its validation pictures.

Nothing here changes an answer, and the test split decides nothing: what it says of a promise stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError, UsageError
from visum.judge import abstain, conformal, unknown
from visum.judge.promise import ABSTAIN, CONFORMAL, UNKNOWN
from visum.models import predict as running
from visum.types import BESIDE, Bundle, Manifest, Predictions, in_split, probabilities, rows, targets

MOST_HELD = 2000
"""Validation pictures whose embeddings find the threshold of what is unknown, at most."""
OURS = tuple(start for start in BESIDE if start in ("conformal.", "unknown."))
Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]


def equip(bundle: Bundle, answers: Mapping[str, Predictions], table: Manifest, model: running.Model) -> Bundle:
    """The bundle with its promises in notes and tensors (``judge.promise``); the rest is as it was.

    Args:
        bundle: finished.
        answers: of it, by split; ``validation`` makes the promises, ``test`` is held against them.
        table: indexed rows with splits; validation rows in the order of ``answers``, unlabelled ones left out there.
        model: that runs the bundle; embeddings come through the store.
    """
    held = answers.get("validation")
    test = answers.get("test")
    arrays: Arrays = {}
    notes: Facts = {}
    makers: dict[str, Callable[[], tuple[Facts, Arrays]]] = {
        CONFORMAL: lambda: _sets(_there(held), test),
        ABSTAIN: lambda: _abstaining(_there(held)),
        UNKNOWN: lambda: _detecting(_there(held), test, table, model),
    }
    for name, make in makers.items():
        try:
            notes[name], more = make()
            arrays |= more
        except (DataError, UsageError) as error:  # too few pictures, several labels: a bundle without that promise
            notes[name] = {"why": str(error)}
    kept = {name: value for name, value in bundle.weights.items() if not name.startswith(OURS)}
    return replace(bundle, weights={**kept, **arrays}, notes={**bundle.notes, **notes})


def _there(held: Predictions | None) -> Predictions:
    if held is None or not len(held):
        raise DataError("there are no validation images", next="a validation split in the data")
    return held


def _sets(held: Predictions, test: Predictions | None) -> tuple[Facts, Arrays]:
    method = conformal.USUAL_METHOD
    scores, labels = conformal.calibrated(held, min(conformal.COVERAGES), method)
    p = probabilities(held)
    levels: list[Facts] = []
    for coverage in conformal.COVERAGES:
        if len(scores) >= conformal.needed(coverage):
            level: Facts = {**conformal.facts(scores, labels, p, coverage, method)}
            if test is not None and (known := test.labels >= 0).any():
                found = conformal.sets(probabilities(test)[known], level["quantile"], method)
                hit = found[np.arange(len(found)), test.labels[known]]
                level["test"] = {"coverage": float(hit.mean()), "n": len(hit), "size": float(found.sum(1).mean())}
            levels.append(level)
    return {"method": method, "n": len(scores), "levels": levels}, {
        "conformal.score": scores,
        "conformal.label": labels,
    }


def _abstaining(held: Predictions) -> tuple[Facts, Arrays]:
    sure, wrong = abstain.surest(held)
    targets_: list[Facts] = []
    for target in abstain.TARGETS:
        try:
            targets_.append(asdict(abstain.threshold(sure, wrong, target)))
        except DataError as error:
            targets_.append({"target": target, "delta": abstain.DELTA, "n": len(sure), "why": str(error)})
    note = {"delta": abstain.DELTA, "n": len(sure), "targets": targets_}
    return note, {"conformal.sure": sure, "conformal.wrong": wrong}


def _detecting(
    held: Predictions, test: Predictions | None, table: Manifest, model: running.Model
) -> tuple[Facts, Arrays]:
    conformal.check(len(held), unknown.KEPT)
    b, draw = model.bundle, np.random.default_rng(0)
    train = np.sort(draw.permutation(np.flatnonzero(in_split(table, "train")))[: unknown.BANK])
    some = np.sort(draw.permutation(np.flatnonzero(in_split(table, "validation")))[:MOST_HELD])
    embeds = not model.members and len(train) > unknown.NEIGHBOURS
    if not embeds and b.task == "multilabel":
        raise UsageError("several labels for each picture, and no embeddings that one could compare")
    usual = unknown.OF_SEVERAL_LABELS if b.task == "multilabel" else unknown.USUAL
    name = usual if embeds else unknown.WITHOUT_EMBEDDINGS
    found: unknown.Detector = unknown.DETECTORS[name]
    arrays: Arrays = {}
    if embeds:
        asked, y = rows(table, train), targets(rows(table, train))
        x = np.asarray(running.features(asked, model), np.float32)
        arrays = {**found.fit(x, y if y.ndim == 1 else np.zeros(len(y), np.int64), model.head(x) / b.temperature)}

    def strangeness(where: NDArray[Any], said: Predictions) -> NDArray[np.float32]:
        if not embeds:
            return found.score(arrays, np.zeros((len(said), 0), np.float32), said.logits / np.float32(said.temperature))
        seen = np.asarray(running.features(rows(table, where), model), np.float32)
        return found.score(arrays, seen, np.asarray(model.head(seen) / b.temperature, np.float32))

    strange = strangeness(some, held)
    if not np.isfinite(strange).all():
        raise DataError("embeddings or logits are NaN or infinite")
    _, low, high = conformal.coverage_law(len(strange), unknown.KEPT)
    note: Facts = {
        "detector": name,
        "threshold": conformal.quantile(strange, unknown.KEPT),
        "kept": unknown.KEPT,
        "n": len(strange),
        "low": low,
        "high": high,
        "bank": len(train) if embeds else 0,
    }
    if test is not None and len(test):
        known = strangeness(np.flatnonzero(in_split(table, "test")), test) <= note["threshold"]
        note["test"] = {"kept": float(known.mean()), "n": len(known)}
    return note, {f"unknown.{key}": value for key, value in arrays.items()}
