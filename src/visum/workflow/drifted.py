"""What ``visum monitor`` leaves behind: drift.json, drift.html and a table of the pictures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visum import __version__, storage
from visum.judge.drift import labels, words
from visum.judge.drift.separate import Findings
from visum.judge.intervals import wilson
from visum.ship.report import drift as page
from visum.types import Bundle
from visum.workflow.record import saving
from visum.workflow.thumbnails import thumbnails

if TYPE_CHECKING:
    from visum.judge.drift.stream import Window
    from visum.workflow.monitor import Monitoring

STRANGEST = 12
"""Pictures that are least like anything known, listed."""


def facts(made: Monitoring) -> dict[str, Any]:
    """``drift.json``: numbers that are not known are None once written."""
    old, told = made.reference.sample, made.sample.labels >= 0
    accuracy = float((old.answers == old.labels).mean()) if made.reference.task != "multilabel" else float("nan")
    alarms = made.alarms
    return {
        "visum": __version__,
        "bundle": made.name,
        "n": len(made.sample),
        "alpha": made.alpha,
        "drift": bool(alarms),
        "alarms": list(alarms),
        "do": {kind: words.DO[kind] for kind in alarms},
        "labels": {"n": int(told.sum()), "from": made.labelled},
        "times": made.timed,
        "unreadable": [{"id": name, "reason": reason} for name, reason in made.unreadable],
        "left_out": made.left_out,
        "reference": {"n": len(old), "accuracy": accuracy, "shares": made.reference.prior.tolist()},
        "classes": list(made.reference.classes),
        "overall": _found(made, made.overall, np.arange(len(made.sample))),
        "windows": [_window(made, window, found) for window, found in made.windows],
        "per_class": [
            {
                "class": each.name,
                "n": each.n,
                "share": each.share,
                "before": each.before,
                "p": each.p,
                "examples": [made.ids[row] for row in each.examples],
            }
            for each in made.classes
        ],
        "strangest": [made.ids[row] for row in np.argsort(-made.sample.strange, kind="stable")[:STRANGEST]]
        if made.table is not None
        else [],
        "sequential": _sequential(made),
        "seconds": made.seconds,
    }


def _window(made: Monitoring, window: Window, found: Findings) -> dict[str, Any]:
    return {"start": when(window.start), "end": when(window.end), **_found(made, found, window.rows)}


def when(seconds: float) -> str | None:
    """ISO 8601 in UTC; None where unknown."""
    return None if np.isnan(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _found(made: Monitoring, found: Findings, rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    old, names, before = made.reference.sample, made.reference.classes, made.reference.prior
    told = rows[made.sample.labels[rows] >= 0]
    kinds = {
        kind: {
            "status": v.status,
            "p": v.p,
            "n": v.n,
            "needed": v.needed,
            "because": v.because,
            "numbers": dict(v.numbers),
            "says": words.sentence(v, found, names, before),
        }
        for kind, v in found.verdicts.items()
    }
    alarms = [kind for kind, v in found.verdicts.items() if v.status == "alarm"]
    right = int((made.sample.answers[told] == made.sample.labels[told]).sum())
    several = made.reference.task == "multilabel"
    low, high = wilson(right, len(told))
    accuracy = float((old.answers == old.labels).mean())
    return {
        "n": found.n,
        "kinds": kinds,
        "shares": found.shares.tolist(),
        "shares_low": found.shares_low.tolist(),
        "shares_high": found.shares_high.tolist(),
        "shares_by_answers": found.by_answers.tolist(),
        "accuracy": {
            "estimates": [
                {"method": e.method, "value": e.value, "low": e.low, "high": e.high, "n": e.n} for e in found.estimates
            ],
            "says": " ".join(
                part
                for part in (
                    words.of_accuracy(found.estimates, accuracy, alarms),
                    "" if several else words.of_labels(right, len(told), accuracy, alarms),
                )
                if part
            ),
            "measured": None
            if several or not len(told)
            else {"value": right / len(told), "low": float(low), "high": float(high), "n": len(told)},
        },
    }


def _sequential(made: Monitoring) -> dict[str, Any] | None:
    """The test over labelled pictures one after the other."""
    test = made.sequential
    if test is None:
        return None
    told = np.flatnonzero(made.sample.labels >= 0)
    told = told[np.argsort(made.times[told], kind="stable")]
    return {
        "n": len(told),
        "crossed": test.crossed,
        "since": test.since,
        "since_time": None if test.since is None else when(float(made.times[told[min(test.since, len(told) - 1)]])),
        "capital": float(np.exp(min(float(test.capital.max(initial=0)), 600))),
    }


def write(made: Monitoring, bundle: Bundle, out: Path) -> Path:
    """``drift.json``, ``drift.html`` and ``pictures.parquet`` into a folder; gives the page."""
    told = storage.finite(facts(made))
    storage.write_json(out / "drift.json", told)
    with saving(out / "pictures.parquet") as draft:
        _pictures(made, draft)
    show: Callable[[str], bytes | None] = lambda name: None  # noqa: E731
    if made.table is not None:
        show = thumbnails(made.table, bundle.preprocess)
    storage.write_atomic(out / "drift.html", page.text(told, show))
    return out / "drift.html"


def _pictures(made: Monitoring, path: Path) -> None:
    """One row a picture: its answer, and the answer under the classes' new shares where these have shifted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample, names, reference = made.sample, made.reference.classes, made.reference
    window = np.zeros(len(sample), np.int64)
    corrected = sample.p.copy()
    for number, (each, found) in enumerate(made.windows):
        window[each.rows] = number
        if found.shifted:
            corrected[each.rows] = labels.corrected(sample.p[each.rows], reference.prior, found.shares)
    columns: dict[str, Any] = {
        "id": pa.array(made.ids.tolist()),
        "time": pa.array([when(float(t)) for t in made.times], pa.string()),
        "window": pa.array(window),
        "strangeness": pa.array(sample.strange),
    }
    if reference.task != "multilabel":
        truth = [names[y] if y >= 0 else None for y in sample.labels]
        columns["label"] = pa.array(truth, pa.string())
        columns["answer"] = pa.array([names[k] for k in sample.answers])
        columns["probability"] = pa.array(sample.sure)
        if made.table is not None:
            columns["corrected_answer"] = pa.array([names[k] for k in corrected.argmax(1)])
            for k, name in enumerate(names):
                columns[f"corrected_{name}"] = pa.array(corrected[:, k].astype(np.float32))
    pq.write_table(pa.table(columns), str(path), compression="zstd")
