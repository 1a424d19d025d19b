"""Which calibration is best, by validation images that did not fit it, and how well probabilities can be taken at their word.

``choice`` compares ``calibrators.CALIBRATORS`` by cross-fitting on validation images: each image is judged by a calibrator that
was fitted without it, so that ways with more freedom gain nothing by learning images by heart. ``calibration_block`` adds what
each reaches on test images, for the trust page.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError
from visum.judge import intervals, metrics, miscalibration, scores
from visum.judge.calibrate import reliability
from visum.judge.calibrators import CALIBRATORS
from visum.judge.sound import enough, taken
from visum.types import Floats, Integers, Predictions, Score, Task, probabilities

Array = NDArray[np.float64]
BASE = "temperature"
FOLDS = 5
LEAST = 50
"""Validation images: ten in each fold."""
CELLS = 100_000
"""Validation images times classes that calibrators are fitted on; of more images, some are taken evenly: they would cost minutes
and change no choice."""
SCORED = ("accuracy", "log_loss", "brier")


def choice(validation: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """Compare calibrators by cross-fitting: 5 folds with the classes spread evenly, paired bootstrap of the loss of each image.

    Returns, JSON-ready: ``n``; ``folds``; ``best`` (lowest log loss); ``better`` (whether the best one is better than
    temperature, by an interval of its difference that lies below 0 and allows for how many were tried; False where temperature
    is the best itself); ``calibrators``: for each ``{"name", "words", "log_loss": score, "brier": score, "difference": {"value",
    "low", "high"}}``, the difference being its log loss less temperature's, in nats. Intervals take the fits of the folds as
    given.

    Raises:
        NotEnoughData: fewer than 50 labelled images, or one class only.
        DataError: logits that are NaN.
    """
    known = _some(enough(validation, LEAST, "to calibrate with"))
    p = crossed(known, seed)
    return _chosen(known, p, seed)


def crossed(known: Predictions, seed: int = 0) -> dict[str, Floats]:
    """Probabilities float32 ``[N, K]`` of every image by each calibrator, fitted on the four folds that it is not in."""
    fold = folds(known.labels, seed)
    out = {name: np.empty(known.logits.shape, np.float32) for name in CALIBRATORS}
    for at in range(FOLDS):
        rest, own = fold != at, fold == at
        for name, each in CALIBRATORS.items():
            state = each.fit(known.logits[rest], known.labels[rest], known.task)
            out[name][own] = each.apply(state, known.logits[own], known.task)
    return out


def folds(labels: Integers, seed: int = 0) -> Integers:
    """Fold of each image, int64 ``[N]`` in 0 … 4: images in random order, class by class, are dealt out in turn."""
    order = np.random.default_rng(seed).permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    out = np.empty(len(labels), np.int64)
    out[order] = np.arange(len(labels)) % FOLDS
    return out


def _some(known: Predictions) -> Predictions:
    """At most as many rows as ``CELLS`` allow, evenly, and never fewer than ``LEAST``."""
    most = max(CELLS // len(known.classes), LEAST)
    return known if len(known) <= most else taken(known, np.linspace(0, len(known) - 1, most).astype(np.int64))


def _chosen(known: Predictions, p: dict[str, Floats], seed: int) -> dict[str, Any]:
    n, task = len(known), known.task
    losses = {name: metrics.log_losses(each, known.labels, task) for name, each in p.items()}
    others = [name for name in CALIBRATORS if name != BASE]
    gains = np.stack([losses[name] - losses[BASE] for name in others], 1)
    values = intervals.resample(
        lambda weights: np.asarray(weights @ gains.astype(np.float32), np.float64) / n, n, resamples=2000, seed=seed
    )
    low, high = intervals.expanded(values, n, 1 - 0.05 / len(others))
    best = min(losses, key=lambda name: (float(losses[name].mean()), name != BASE))
    told: dict[str, dict[str, Any]] = {}
    for name, each in CALIBRATORS.items():
        given = _case(p[name], known.labels, task)
        ends = scores.resample(given, ["log_loss", "brier"], seed)
        difference = {"value": 0.0, "low": 0.0, "high": 0.0}
        if name != BASE:
            at = others.index(name)
            difference = {"value": float(gains[:, at].mean()), "low": float(low[at]), "high": float(high[at])}
        told[name] = {
            "name": name,
            "words": each.words,
            "log_loss": _plain(scores.score("log_loss", given, ends)),
            "brier": _plain(scores.score("brier", given, ends)),
            "difference": difference,
        }
    better = best != BASE and bool(told[best]["difference"]["high"] < 0)
    return {"n": n, "folds": FOLDS, "best": best, "better": better, "calibrators": list(told.values())}


def calibration_block(validation: Predictions, test: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """How far probabilities can be taken at their word: what stands on the trust page about calibration.

    Keys, JSON-ready: ``n_validation``, ``n_test``; ``in_use``: scores on test images of the probabilities that the bundle gives
    (``accuracy``, ``log_loss``, ``brier``, ``ece``, ``adaptive_ece``, ``classwise_ece``, each ``{"value", "low", "high", "n",
    "method"}``); ``choice``: see the function of that name; ``calibrators``: name → the same scores on test images, fitted on
    all validation images; ``reliability`` and ``adaptive_reliability``: bins on test images, of equal width and of equally many
    answers (``calibrate.reliability``); ``classes``: for each class ``{"class", "n", "ece"}``, worst first; ``verdict`` (good,
    fair, poor), ``sentence`` and ``advice`` for people. Accuracy is that of the most probable class (multilabel: of all that are
    at least 0.5), whatever the thresholds.

    Args:
        validation: what calibrators are fitted on, at least 50 labelled images.
        test: what they are judged by, at least 50 labelled images; with the temperature that is in use.

    Raises:
        NotEnoughData: fewer, or one class only.
        DataError: logits that are NaN; other classes in one than in the other.
    """
    if validation.classes != test.classes or validation.task != test.task:
        raise DataError(
            "validation and test predictions have other classes", allowed="the same classes in the same order"
        )
    known, judged = enough(validation, LEAST, "to calibrate with"), enough(test, LEAST, "to judge calibration by")
    known = _some(known)
    y, task = judged.labels, judged.task
    p = probabilities(judged)
    chosen = _chosen(known, crossed(known, seed), seed)
    found = {}
    for name, each in CALIBRATORS.items():
        state = each.fit(known.logits, known.labels, task)
        found[name] = judge(each.apply(state, judged.logits, task), y, task, seed)
    in_use, errors = judge(p, y, task, seed), miscalibration.each_class(p, y, task)
    images = (y if y.ndim == 2 else y[:, None] == np.arange(p.shape[1])).sum(0)
    verdict, sentence = words(in_use, p, y, task)
    return {
        "n_validation": len(known),
        "n_test": len(judged),
        "in_use": in_use,
        "choice": chosen,
        "calibrators": found,
        "reliability": reliability(p, y, task),
        "adaptive_reliability": reliability(p, y, task, equal_mass=True),
        "classes": [
            {"class": judged.classes[k], "n": int(images[k]), "ece": float(errors[k])}
            for k in np.argsort(-errors, kind="stable")
        ],
        "verdict": verdict,
        "sentence": sentence,
        "advice": advice(verdict, chosen),
    }


def judge(p: Floats, labels: Integers, task: Task, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Accuracy, losses and calibration errors of probabilities, by name, with their 95 % intervals.

    Args:
        p: float ``[N, K]``.
        labels: int64 ``[N]`` or 0/1 ``[N, K]``; no unlabelled rows.
    """
    given = _case(p, labels, task)
    ends = scores.resample(given, SCORED, seed)
    out = {name: _plain(scores.score(name, given, ends)) for name in SCORED}
    return {**out, **{name: _plain(miscalibration.score(name, p, labels, task)) for name in miscalibration.ERRORS}}


def words(found: dict[str, dict[str, Any]], p: Floats, labels: Integers, task: Task) -> tuple[str, str]:
    """(verdict, sentence). Poor: off by more than 5 points beyond doubt (the lower end of the interval); good: at most 5 points
    beyond doubt (the upper end); fair: the images cannot tell."""
    error = found["ece"]
    confidence, outcome = metrics.confidences(p, labels, task)
    over = float(confidence.mean() - outcome.mean())
    verdict = "poor" if error["low"] > 0.05 else "good" if error["high"] <= 0.05 else "fair"
    lean = "more sure than it is right" if over > 0 else "less sure than it is right"
    off = f"{100 * error['value']:.1f} points ({100 * error['low']:.1f} to {100 * error['high']:.1f})"
    sentence = (
        f"On average its confidence is {off} off from how often it is right; "
        f"all in all it is {100 * abs(over):.1f} points {lean}."
    )
    return verdict, sentence


def advice(verdict: str, chosen: dict[str, Any]) -> str:
    """What to do about it."""
    if chosen["better"]:
        best = next(each for each in chosen["calibrators"] if each["name"] == chosen["best"])
        return (
            f"{chosen['best'].capitalize()} scaling ({best['words']}) would be better than temperature beyond chance: by "
            f"{-best['difference']['value']:.3f} nats of log loss. It can change answers; bundles store a temperature only."
        )
    if verdict == "poor":
        return (
            "No other calibration is better beyond chance. More validation images, or ones that are more like the test images, "
            "would help; until then, read probabilities as an order."
        )
    return "Keep the temperature: no other calibration is better beyond chance."


def _case(p: Floats, labels: Integers, task: Task) -> scores.Case:
    """With answers that follow the probabilities alone."""
    answers = (p >= 0.5).astype(np.int64) if task == "multilabel" else p.argmax(1).astype(np.int64)
    return p, labels, answers, task


def _plain(score: Score) -> dict[str, Any]:
    return {key: value for key, value in asdict(score).items() if key != "name"}
