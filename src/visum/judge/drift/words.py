"""What was found, in plain sentences, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from visum.judge.drift.accuracy import ASSUMES, Estimate
from visum.judge.drift.separate import Findings, Verdict
from visum.judge.intervals import wilson

NAMES = {
    "covariate": "Pictures",
    "label": "Shares of classes",
    "concept": "Meaning of classes",
    "unknown": "Strangers",
}
"""What people read for each kind."""
QUESTIONS = {
    "covariate": "Do the pictures of each answer look as they did?",
    "label": "Does each class come as often as before?",
    "concept": "Are pictures still called what they were called?",
    "unknown": "Are there pictures of nothing that it knows?",
}
MENTIONED = 3
Array = NDArray[np.float64]
Numbers = Mapping[str, float]


def sentence(verdict: Verdict, found: Findings, classes: Sequence[str], before: Array) -> str:
    """One sentence.

    Args:
        verdict: of ``found``.
        classes: K names.
        before: shares of the reference, ``[K]``.
    """
    if verdict.status == "too_few":
        what = "labelled pictures" if verdict.kind == "concept" else "pictures"
        return f"{verdict.n} {what} are too few to say: {verdict.needed} are needed."
    if verdict.status == "not_judged":
        return {
            "no labels": "Not judged: it takes labels of some new pictures.",
            "no pictures": "Not judged: the data has answers and labels, but no pictures.",
            "multilabel": "Not judged: where a picture may have several classes, their shares cannot be told from how they look.",
        }.get(verdict.because, "Not judged.")
    return _SAID[verdict.kind, verdict.status](verdict.numbers, found, classes, before)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.0995 else f"{100 * value:.0f} %"


def _told(n: Numbers, found: Findings, classes: Sequence[str], before: Array) -> str:
    if not n["auc"] >= 0.55:
        return "The pictures look a little different from those it was validated with, whatever they are called."
    return (
        "The pictures look different from those it was validated with, whatever they are called: shown an old and a new one, "
        f"a classifier says which is new {_percent(n['auc'])} of the time (chance is 50 %)."
    )


def _shares(n: Numbers, found: Findings, classes: Sequence[str], before: Array) -> str:
    order = np.argsort(-np.abs(found.shares - before))[:MENTIONED]
    moved = "; ".join(f"{classes[k]} {_percent(before[k])} → {_percent(found.shares[k])}" for k in order)
    return f"Classes come in other shares than before: {moved}."


def _concept(n: Numbers, found: Findings, classes: Sequence[str], before: Array) -> str:
    return (
        f"{_percent(n['errors'])} of the labelled pictures are answered wrongly ({_percent(n['low'])} to {_percent(n['high'])}) "
        f"where {_percent(max(n['expected'], 0))} was to be expected, and the pictures look as they did: they are called "
        "something else."
    )


def _strangers(n: Numbers, found: Findings, classes: Sequence[str], before: Array) -> str:
    return (
        f"About {_percent(n['share'])} of the pictures ({_percent(n['low'])} to {_percent(n['high'])}) are like nothing it was "
        "validated with; those that happen to look like something known are not counted."
    )


_SAID: dict[tuple[str, str], Callable[[Numbers, Findings, Sequence[str], Array], str]] = {
    ("covariate", "alarm"): _told,
    ("covariate", "quiet"): lambda _n, _found, _classes, _before: (
        "The pictures look like those it was validated with, class by class."
    ),
    ("label", "alarm"): _shares,
    ("label", "quiet"): lambda _n, _found, _classes, _before: "Classes come about as often as before.",
    ("label", "unclear"): lambda _n, _found, _classes, _before: (
        "The answers are mixed differently, but as the pictures themselves have changed, this says nothing about the classes."
    ),
    ("concept", "alarm"): _concept,
    ("concept", "quiet"): lambda n, _found, _classes, _before: (
        f"{_percent(n['errors'])} of the labelled pictures are answered wrongly, where {_percent(max(n['expected'], 0))} was to "
        "be expected: nothing unusual."
    ),
    ("concept", "unclear"): lambda n, _found, _classes, _before: (
        f"{_percent(n['errors'])} of the labelled pictures are answered wrongly, where {_percent(max(n['expected'], 0))} was to "
        "be expected; the pictures have changed, which explains it."
    ),
    ("unknown", "alarm"): _strangers,
    ("unknown", "quiet"): lambda _n, _found, _classes, _before: (
        "No more strange pictures than among those it was validated with."
    ),
    ("unknown", "unclear"): lambda _n, _found, _classes, _before: (
        "Many pictures are strange, but all of them have changed somewhat: strangers cannot be told from known things that look "
        "new."
    ),
}

DO = {
    "covariate": (
        "Look at the examples of each class: light, camera, blur, crop, background? Mend it at the source, or label a few "
        "hundred of these pictures and train again with them."
    ),
    "label": (
        "The classifier need not be trained again: take the corrected probabilities (pictures.parquet), which know the new "
        "shares."
    ),
    "concept": (
        "Look at the wrong ones beside their labels: has a class got another meaning, or are the new labels wrong? Correct them, "
        "or label anew and train again."
    ),
    "unknown": "Look at the strangest pictures. If they belong there, add a class for them; if not, keep them out.",
}
"""What to do about an alarm."""


def of_accuracy(estimates: Sequence[Estimate], before: float, alarms: Sequence[str]) -> str:
    """What is known of the accuracy without labels.

    Args:
        estimates: of ``separate.estimates``.
        before: accuracy on the reference.
        alarms: kinds with an alarm.
    """
    if not estimates:
        return ""
    one = next((each for each in estimates if each.method == "atc"), estimates[0])
    said = (
        f"From how sure it is, {_percent(one.value)} of the answers are right ({_percent(one.low)} to {_percent(one.high)}); "
        f"on the reference it was {_percent(before)}."
    )
    if {"covariate", "concept"} & set(alarms):
        return f"{said} Do not rely on it: it holds if {ASSUMES}, and here something of that has changed. Label some pictures."
    if "unknown" in alarms:
        return f"{said} Strangers are not allowed for: none of the answers to them is right."
    return f"{said} It holds if {ASSUMES}."


def of_labels(right: int, n: int, before: float, alarms: Sequence[str]) -> str:
    """What labelled pictures say of a change of pictures; "" where there are fewer than 50 or no such change.

    Args:
        right: labelled new pictures with the right answer, of ``n``.
        before: accuracy on the reference.
        alarms: kinds with an alarm.
    """
    if n < 50 or "covariate" not in alarms:
        return ""
    low, high = wilson(right, n)
    if float(high) < before:
        return "The change does harm: fewer answers are right than before."
    return f"The change does no harm that {n:,} labels would show ({_percent(float(low))} to {_percent(float(high))} are right)."
