"""What a bundle promises, read back from it: prediction sets, when it abstains, what it calls unknown. Pure but for the
arrays.

Tensors beside the network, all of validation pictures with a label: ``conformal.score`` float32 ``[n]`` and
``conformal.label`` int64 ``[n]`` (the true class's score and number), ``conformal.sure`` float32 ``[n]`` and
``conformal.wrong`` uint8 ``[n]`` (of the answers, surest first). ``unknown.*``: the arrays of the detector. Facts in
``notes``, JSON:

    conformal  {"method", "n", "levels": [``conformal.facts``, and "test": {"coverage", "n", "size"} of the sealed split]}
    abstain    {"delta", "n", "targets": [Abstention as a dict, or {"target", "delta", "n", "why"} where it cannot be had]}
    unknown    {"detector", "threshold", "kept", "n", "low", "high", "bank", "test": {"kept", "n"}}

Where a promise cannot be had, its note is ``{"why": sentence}``. Bundles made before have no notes and are used as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import BundleError, UsageError
from visum.judge import abstain, conformal, unknown
from visum.types import Bundle, Floats

CONFORMAL, ABSTAIN, UNKNOWN = "conformal", "abstain", "unknown"
UNSURE = "unsure"
"""Said instead of a class where it is one of them, but not sure enough; ``UNKNOWN`` where it is like none that was learnt."""
Sets = Callable[[NDArray[np.floating[Any]]], NDArray[np.bool_]]
Strangeness = Callable[[Floats | None, Floats], Floats]


def set_maker(bundle: Bundle, coverage: float, *, each_class: bool = False) -> Sets:
    """Probabilities ``[N, K]`` → prediction sets bool ``[N, K]`` that hold the truth with that probability.

    Args:
        bundle: with the scores of its validation pictures.
        coverage: in (0, 1).
        each_class: whether it is promised for each class with enough validation pictures, instead of for all together.

    Raises:
        UsageError: the bundle promises nothing, and why; or a coverage outside of (0, 1).
        NotEnoughData: too few validation pictures for that coverage, with the number needed.
    """
    note = _note(bundle, CONFORMAL)
    scores, labels = _tensor(bundle, "conformal.score"), _tensor(bundle, "conformal.label")
    method, k = str(note.get("method")), len(bundle.classes)
    if method not in conformal.METHODS or scores.shape != labels.shape or not np.isin(labels, np.arange(k)).all():
        raise BundleError("the prediction sets of this bundle are not what visum wrote", next="train it again")
    conformal.check(len(scores), coverage)
    limit: Any = conformal.quantile(scores, coverage)
    if each_class:
        limit = conformal.by_class(scores, labels, k, coverage).values
    return lambda p: conformal.sets(p, limit, method)


def abstention(bundle: Bundle, target: float) -> abstain.Abstention:
    """From which probability on an answer is given, so that at most ``target`` of the answers are wrong.

    Raises:
        UsageError, NotEnoughData: as ``set_maker``, or as ``abstain.threshold``.
    """
    _note(bundle, ABSTAIN)
    sure, wrong = _tensor(bundle, "conformal.sure"), _tensor(bundle, "conformal.wrong")
    if sure.shape != wrong.shape or (np.diff(sure) > 0).any():
        raise BundleError("what this bundle knows of its mistakes is not what visum wrote", next="train it again")
    return abstain.threshold(np.asarray(sure, np.float32), np.asarray(wrong, np.uint8), target)


def detector(bundle: Bundle) -> tuple[Strangeness, float]:
    """``(embeddings [N, D] or None, logits [N, K]) -> strangeness float32 [N]``, and above what it is unknown.

    Raises:
        UsageError: the bundle has no detector, and why.
        BundleError: one that this visum does not know.
    """
    note = _note(bundle, UNKNOWN)
    found = unknown.DETECTORS.get(str(note.get("detector")))
    limit = note.get("threshold")
    if found is None or not isinstance(limit, (int, float)):
        known = ", ".join(unknown.DETECTORS)
        raise BundleError(f"the detector {note.get('detector')!r}", allowed=known, next="pip install -U visum")
    arrays = {name[len("unknown.") :]: bundle.weights[name] for name in bundle.weights if name.startswith("unknown.")}
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    temperature = np.float32(bundle.temperature)

    def strangeness(embeddings: Floats | None, logits: Floats) -> Floats:
        seen = np.zeros((len(logits), 0), np.float32) if embeddings is None else np.asarray(embeddings, np.float32)
        return found.score(arrays, seen, np.asarray(logits / temperature, np.float32))

    return strangeness, float(limit)


def has(bundle: Bundle, name: str) -> bool:
    """Whether a bundle makes this promise."""
    note = bundle.notes.get(name)
    return isinstance(note, Mapping) and "why" not in note


def _note(bundle: Bundle, name: str) -> Mapping[str, Any]:
    note = bundle.notes.get(name)
    if isinstance(note, Mapping) and "why" not in note:
        return note
    what = {CONFORMAL: "prediction sets", ABSTAIN: "promise about its errors", UNKNOWN: "detector of unknown pictures"}
    why = str(note["why"]) if isinstance(note, Mapping) else "it was made by an older visum, or is not of visum train"
    raise UsageError(f"this bundle has no {what[name]}: {why}", next="visum train, which makes one that has")


def _tensor(bundle: Bundle, name: str) -> NDArray[Any]:
    found = bundle.weights.get(name)
    if found is None or found.ndim != 1:
        raise BundleError(f"this bundle lacks {name}, which its notes speak of", next="train it again")
    return found


@dataclass(frozen=True, eq=False)
class Promises:
    """What is said of each picture besides its classes.

    Attributes:
        sets: makes prediction sets; None: none are asked for.
        threshold: an answer is withheld (``UNSURE``) where its probability is not above this; None: never.
        strangeness: of ``detector``; None: nothing is called unknown.
        limit: strangeness above which a picture is ``UNKNOWN``.
    """

    sets: Sets | None = None
    threshold: float | None = None
    strangeness: Strangeness | None = None
    limit: float = math.inf


def asked(
    bundle: Bundle,
    *,
    coverage: float | None = None,
    each_class: bool = False,
    target_error: float | None = None,
    unknown: bool = False,
) -> Promises:
    """Those promises of a bundle that somebody asks for, all held against what it can promise before any picture is looked at.

    Args:
        bundle: that answers.
        coverage: of prediction sets, in (0, 1); None: no sets.
        each_class: promise it for each class.
        target_error: largest share of wrong answers among those that are given; None: everything is answered.
        unknown: say so of pictures that are like nothing that was learnt.

    Raises:
        UsageError: the bundle does not make that promise, and why; ``each_class`` without ``coverage``.
        NotEnoughData: too few validation pictures, with the number needed.
    """
    if each_class and coverage is None:
        raise UsageError("each class is to be covered, but no coverage is given", next="--coverage 90% --each-class")
    sets = set_maker(bundle, coverage, each_class=each_class) if coverage is not None else None
    threshold = abstention(bundle, target_error).threshold if target_error is not None else None
    return Promises(sets, threshold, *(detector(bundle) if unknown else (None, math.inf)))
