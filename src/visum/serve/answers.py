"""From what a model said to what a client reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visum.judge import conformal
from visum.types import Bundle, Floats, decisions, probabilities, said


def _set(note: Any, bundle: Bundle, p: Floats) -> Mapping[str, Any]:
    """``set``, most probable first, and the ``coverage`` that is promised of it."""
    level = next((each for each in note.get("levels", ()) if each["coverage"] == conformal.USUAL), None)
    if level is None:
        return {}
    within = conformal.sets(p[None], level["quantile"], note["method"])[0]
    names = [bundle.classes[k] for k in np.argsort(-p, kind="stable") if within[k]]
    return {"set": names, "coverage": level["coverage"]}


ADDITIONS: dict[str, Callable[[Any, Bundle, Floats], Mapping[str, Any]]] = {"conformal": _set}
"""Name in the bundle's ``notes`` → ``(what stands there, bundle, probabilities float32 [K]) -> more fields``.

The place of what only some bundles know. Whether a picture is ``unknown`` is not told by probabilities: the strangeness comes
with the logits.
"""


def answer(bundle: Bundle, logits: Floats, top: int, strange: float | None = None) -> dict[str, Any]:
    """Task, sorted predictions and labels of one picture.

    Args:
        bundle: whose logits these are.
        logits: float32 ``[K]``.
        top: predictions at most; 0: all classes.
        strange: how strange the picture is, where the bundle has a detector (``judge.promise``).
    """
    one = said(bundle, logits[None])
    p, chosen = probabilities(one)[0], decisions(one)[0]
    best = np.argsort(-p, kind="stable")[: top or None]
    labels = np.flatnonzero(chosen) if bundle.task == "multilabel" else [int(chosen)]
    found = {
        "task": bundle.task,
        "predictions": [{"class": bundle.classes[k], "probability": round(float(p[k]), 7)} for k in best],
        "labels": [bundle.classes[k] for k in labels],
    }
    for name, addition in ADDITIONS.items():
        if name in bundle.notes:
            found |= addition(bundle.notes[name], bundle, p)
    if strange is not None:
        found["unknown"] = strange > bundle.notes["unknown"]["threshold"]
    return found
