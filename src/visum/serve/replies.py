"""What ``visum.Client`` gives back, read from the server's JSON. What does not look like an answer is refused, not guessed at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server says about one picture.

    Attributes:
        id: of the request, as in the server's log; for ``Client.feedback``.
        name: the path that was given, or its number in the list.
        label: the class; several, joined by ``|``, or "" for none, when multilabel; "" where there is an error.
        labels: the same as a tuple.
        probability: of ``label``, as listed in ``top`` (several labels: of the least probable; none: of the most probable class).
        top: (class, calibrated probability), most probable first.
        set: classes of the conformal prediction set; None where the model has none.
        coverage: the probability with which ``set`` holds the truth, as promised; None where there is no set.
        unknown: whether the picture is unlike what the model has learned; None where the model cannot tell.
        notes: remarks of the server.
        seconds: ``queue``, ``decode``, ``run``: how long the server took for each.
        model, version, task: who answers; task is binary, multiclass or multilabel.
        error, next: why there is no answer and what to do about it, or "".
    """

    id: str = ""
    name: str = ""
    label: str = ""
    labels: tuple[str, ...] = ()
    probability: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    set: tuple[str, ...] | None = None
    unknown: bool | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    version: str = ""
    task: str = ""
    error: str = ""
    next: str = ""
    coverage: float | None = None


@dataclass(frozen=True)
class Served:
    """A model that the server has.

    Attributes:
        name, version: to ask for it; ``default``: it is asked where nothing is named.
        task: binary, multiclass or multilabel.
        classes: names in the model's order.
        size, fit: side of its input in pixels, and how a picture becomes that square: pad, crop or squash.
        thresholds: from which probability a class is answered; none where the most probable one is.
        created: date of the bundle.
    """

    name: str
    version: str
    default: bool
    task: str
    classes: tuple[str, ...]
    size: int
    fit: str
    thresholds: tuple[float, ...]
    created: str


@dataclass(frozen=True)
class Explained:
    """Where in a picture an answer came from.

    Attributes:
        label, probability: the class that was explained.
        map: rows of numbers 0 … 1, top to bottom, over the square that the network saw (``Served.fit``).
        method: how it was found.
    """

    label: str
    probability: float
    map: tuple[tuple[float, ...], ...]
    method: str


def reply(told: Mapping[str, Any], name: str) -> Reply:
    """One result of ``/v1/predict``. Raises KeyError, TypeError or ValueError where it is none."""
    if "error" in told:
        fault = mapping(told["error"])
        return Reply(str(told.get("id", "")), name, error=str(fault["message"]), next=str(fault.get("next") or ""))
    top = tuple((str(each["class"]), float(each["probability"])) for each in told["predictions"])
    labels, listed = tuple(map(str, told["labels"])), dict(top)
    known = [listed[label] for label in labels if label in listed]
    return Reply(
        id=str(told.get("id", "")),
        name=name,
        label="|".join(labels),
        labels=labels,
        probability=min(known) if known else (top[0][1] if top else 0.0),
        top=top,
        set=None if told.get("set") is None else tuple(map(str, told["set"])),
        unknown=None if told.get("unknown") is None else bool(told["unknown"]),
        notes=tuple(map(str, told.get("notes") or ())),
        seconds={str(part): float(value) for part, value in mapping(told.get("seconds") or {}).items()},
        model=str(told.get("model", "")),
        version=str(told.get("version", "")),
        task=str(told.get("task", "")),
        coverage=None if told.get("coverage") is None else float(told["coverage"]),
    )


def served(told: Mapping[str, Any]) -> Served:
    """One model of ``/v1/models``. Raises as ``reply`` does."""
    return Served(
        name=str(told["name"]),
        version=str(told["version"]),
        default=bool(told.get("default")),
        task=str(told["task"]),
        classes=tuple(map(str, told["classes"])),
        size=int(told["size"]),
        fit=str(told.get("fit", "")),
        thresholds=tuple(map(float, told.get("thresholds") or ())),
        created=str(told.get("created") or ""),
    )


def explained(told: Mapping[str, Any]) -> Explained:
    """The answer of ``/v1/explain``. Raises as ``reply`` does."""
    rows = tuple(tuple(map(float, row)) for row in told["map"])
    return Explained(str(told["class"]), float(told["probability"]), rows, str(told.get("method", "")))


def mapping(told: Any) -> Mapping[str, Any]:
    """What was told, if it is a JSON object. Raises TypeError otherwise."""
    if not isinstance(told, dict):
        raise TypeError(f"an object was expected, not {type(told).__name__}")
    return told
