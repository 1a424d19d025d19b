"""The step about drift: do the judged images look like those it was validated with, and would an alarm be worth something?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.judge.drift import sample as drift
from visum.judge.drift import separate, words
from visum.judge.intervals import wilson
from visum.types import Integers, Predictions
from visum.workflow import reference
from visum.workflow.trust.context import Context

SPLITS = 20
"""Windows without drift that the alarm is tried on."""
DRAWS = 199
LEAST = 100
"""Reference images from which on they can be parted into a reference and a window."""


def drift_step(context: Context) -> dict[str, Any]:
    """What ``monitor`` would say of the judged images, and how it does on windows that are made to have drift or none.

    Keys: ``n``, ``reference`` (images); ``kinds``: for each kind ``kind``, ``name``, ``question``, ``status``, ``p``, ``n``,
    ``sentence``; ``alarms``: kinds that are alarmed; ``check``: ``quiet`` (``windows`` without drift, ``n`` tests in them,
    ``alarms`` of these, ``low``, ``high`` of their share, ``expected``) and ``planted`` (a list of ``name``, ``kind``, ``n``,
    ``found``), or None where there are too few reference images.
    """
    bundle = context.bundle
    if not any(name.startswith(reference.PREFIX) for name in bundle.weights) and context.made is not None:
        bundle = reference.equipped(bundle, context.made, context.model)
    if not any(name.startswith(reference.PREFIX) for name in bundle.weights):
        raise BundleError("this bundle has no reference to compare with", next="train it again")
    against, arrays = reference.of(bundle), reference.arrays_of(bundle)
    seen, said = reference.features(context.table, context.model)
    new = drift.sample(against, reference.project(arrays, seen), said.logits, context.predictions.labels)
    found = separate.judge(against, new, seed=context.seed)
    kinds = [
        {
            **{key: value for key, value in asdict(verdict).items() if key != "numbers"},
            "name": words.NAMES[kind],
            "question": words.QUESTIONS[kind],
            "sentence": words.sentence(verdict, found, bundle.classes, against.prior),
        }
        for kind, verdict in found.verdicts.items()
    ]
    return {
        "n": len(new),
        "reference": len(against.sample),
        "kinds": kinds,
        "alarms": [each["kind"] for each in kinds if each["status"] == "alarm"],
        "check": _check(context, arrays, against),
    }


def _check(context: Context, arrays: dict[str, Any], against: drift.Reference) -> dict[str, Any] | None:
    """The alarm on parts of the reference itself: without drift, and with other shares of the classes."""
    n = len(against.sample)
    if n < LEAST or context.bundle.task == "multilabel":
        return None
    logits, labels = np.asarray(arrays["logits"], np.float32), np.asarray(arrays["labels"], np.int64)
    points = np.asarray(arrays["points"], np.float32)
    b, rng = context.bundle, np.random.default_rng(context.seed)

    def alarms(old: Integers, new: Integers, seed: int) -> list[str]:
        ids = np.array([str(row) for row in old], object)
        told = Predictions(ids, logits[old], labels[old], b.classes, b.task, "", b.temperature, b.thresholds)
        part = drift.reference(points[old], told)
        seen = drift.sample(part, points[new], logits[new])
        found = separate.judge(part, seen, draws=DRAWS, seed=seed)
        return [kind for kind, verdict in found.verdicts.items() if verdict.status == "alarm"]

    false, tests = 0, 0
    for seed in range(SPLITS):
        order = rng.permutation(n)
        false += len(alarms(order[: 2 * n // 3], order[2 * n // 3 :], seed))
        tests += 3  # no labels are shown, so that the concept is not judged
    low, high = wilson(false, tests)
    counts = np.bincount(labels, minlength=len(b.classes))
    common = np.argsort(-counts, kind="stable")[: max(1, (counts > 0).sum() // 3)]
    order = rng.permutation(n)
    old, rest = order[: n // 2], order[n // 2 :]
    shifted = rest[np.isin(labels[rest], common)]
    planted = []
    if len(shifted) >= separate.NEEDED["label"]:
        planted.append(
            {
                "name": f"only images of {', '.join(b.classes[k] for k in common)}",
                "kind": "label",
                "n": len(shifted),
                "found": alarms(old, shifted, SPLITS),
            }
        )
    return {
        "quiet": {
            "windows": SPLITS,
            "n": tests,
            "alarms": false,
            "low": float(low),
            "high": float(high),
            "expected": 0.05,
        },
        "planted": planted,
    }
