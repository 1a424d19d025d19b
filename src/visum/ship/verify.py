"""Does a bundle or an export still answer here as it did where it was made? Its golden images are replayed and compared.

A probability differs between machines by how the engine computes: float32 against float32 stays near 1e-5, float16
within 1e-3; a bfloat16 engine keeps 8 bits of each activation and may move a probability near 0.5 by some 1e-2. The
caller knows both engines and gives the tolerance. The top class must stay whatever the tolerance, except for a tie that
rounding decides. Where an image may have several labels, no class is the top one, and the probabilities alone count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visum.ship import bundle as bundles
from visum.types import Bundle, Floats, Task

TIE = 1e-3
"""Two classes as near as this in the expected probabilities may change places."""


@dataclass(frozen=True)
class Row:
    """One golden image.

    Attributes:
        name: of its file when the bundle was made.
        expected, got: top class then and now ("" where the prediction was no probability).
        difference: largest absolute difference of a probability, 0 … 1; infinite where it was no probability.
        passed: within the tolerance, and the same top class.
    """

    name: str
    expected: str
    got: str
    difference: float
    passed: bool


@dataclass(frozen=True)
class Verification:
    """The outcome of a replay.

    Attributes:
        images: how many golden images were replayed.
        largest_difference: of any probability of any image; 0 where there is none.
        tolerance: that it was held to.
        passed: every image passed, and there was at least one.
        message: one sentence; when it failed, what differs and what to do.
        rows: one per image, in the bundle's order.
    """

    images: int
    largest_difference: float
    tolerance: float
    passed: bool
    message: str
    rows: tuple[Row, ...]


def verify(
    folder: str | Path, predict: Callable[[Bundle, Sequence[bytes]], Floats], *, tolerance: float = 1e-3
) -> Verification:
    """Replay the golden images of a bundle (or of the bundle inside a run folder).

    Args:
        folder: of the bundle; it is read and checked as ``bundle.read`` does.
        predict: from the bundle and N encoded images to calibrated probabilities float32 ``[N, K]``. What it raises is
            passed on, since it says more than a failed comparison.
        tolerance: largest absolute difference of a probability that passes, > 0: see the head of this file.

    Raises:
        BundleError: the bundle itself is not whole; a wrong answer is not an error but ``passed=False``.
    """
    bundle, golden = bundles.read_golden(folder)
    if not golden:
        return nothing("bundle", tolerance)
    return compared(golden, predict(bundle, [data for _, data, _ in golden]), bundle.classes, bundle.task, tolerance)


def nothing(what: str, tolerance: float) -> Verification:
    """The outcome where there is nothing to replay."""
    return Verification(0, 0.0, tolerance, False, f"This {what} has no golden images, so it proves nothing", ())


def compared(
    golden: Sequence[bundles.Golden],
    answers: Floats,
    classes: Sequence[str],
    task: Task,
    tolerance: float,
    *,
    changed: int = 0,
    what: str = "bundle",
) -> Verification:
    """Answers beside what was expected.

    Args:
        golden: N images, at least one.
        answers: float32 ``[N, K]`` now.
        classes, task: K names, and whether there is a top class.
        tolerance: as for ``verify``.
        changed: how many images may get another top class; exports of a lower precision state it.
        what: was made when the images were answered for the first time, for people.
    """
    answers, wanted = np.asarray(answers, np.float64), np.stack([expected for _, _, expected in golden])
    if answers.shape != wanted.shape:
        message = f"Predictions of shape {list(answers.shape)}, wanted {list(wanted.shape)}: another model answered"
        return Verification(len(golden), np.inf, tolerance, False, message, ())
    rows = []
    for (name, _, _), then, now in zip(golden, wanted, answers, strict=True):
        row, same = _row(name, then, now, classes, task, tolerance)
        if not same and row.difference <= tolerance and changed > 0:
            row, changed = replace(row, passed=True), changed - 1
        rows.append(row)
    return Verification(
        images=len(rows),
        largest_difference=max(row.difference for row in rows),
        tolerance=tolerance,
        passed=all(row.passed for row in rows),
        message=_message(rows, tolerance, what),
        rows=tuple(rows),
    )


def _row(name: str, then: Any, now: Any, classes: Sequence[str], task: Task, tolerance: float) -> tuple[Row, bool]:
    """One image, and whether its top class is the same."""
    expected = classes[int(then.argmax())]
    if not np.isfinite(now).all():
        return Row(name, expected, "", np.inf, False), False
    difference, best = float(np.abs(then - now).max()), int(now.argmax())
    same = task == "multilabel" or float(then.max() - then[best]) <= TIE
    return Row(name, expected, classes[best], difference, difference <= tolerance and same), same


def _message(rows: Sequence[Row], tolerance: float, what: str) -> str:
    bad = [row for row in rows if not row.passed]
    largest = max(row.difference for row in rows)
    if not bad:
        return (
            f"All {len(rows)} golden images are answered as when the {what} was made (largest difference {largest:.1e})"
        )
    worst = max(bad, key=lambda row: row.difference)
    if not np.isfinite(worst.difference):
        return f"{len(bad)} of {len(rows)} golden images are answered wrongly: {worst.name!r} by what is no probability"
    changed = f", {worst.expected!r} became {worst.got!r}" if worst.got != worst.expected else ""
    return (
        f"{len(bad)} of {len(rows)} golden images are answered differently: {worst.name!r} by "
        f"{worst.difference:.2g}{changed}, allowed {tolerance:g}. Compare the engines' precision and versions, or give "
        "the tolerance that you accept"
    )
