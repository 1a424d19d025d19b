"""Does a bundle still answer here as it did where it was made? Its golden images are replayed and compared.

A probability differs between machines by how the engine computes: float32 against float32 stays near 1e-5, float16
within 1e-3; a bfloat16 engine keeps 8 bits of each activation and may move a probability near 0.5 by some 1e-2. The
caller knows both engines and gives the tolerance. The top class must stay whatever the tolerance, except for a tie that
rounding decides. Where an image may have several labels, no class is the top one, and the probabilities alone count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum.ship import bundle as bundles
from visum.types import Bundle, Floats

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
        return Verification(0, 0.0, tolerance, False, "This bundle has no golden images, so it proves nothing", ())
    answers = np.asarray(predict(bundle, [data for _, data, _ in golden]), np.float64)
    wanted = np.stack([expected for _, _, expected in golden])
    if answers.shape != wanted.shape:
        message = f"Predictions of shape {list(answers.shape)}, wanted {list(wanted.shape)}: another model answered"
        return Verification(len(golden), np.inf, tolerance, False, message, ())
    rows = tuple(
        _row(name, then, now, bundle, tolerance)
        for (name, _, _), then, now in zip(golden, wanted, answers, strict=True)
    )
    return Verification(
        images=len(rows),
        largest_difference=max(row.difference for row in rows),
        tolerance=tolerance,
        passed=all(row.passed for row in rows),
        message=_message(rows, tolerance),
        rows=rows,
    )


def _row(name: str, then: Any, now: Any, bundle: Bundle, tolerance: float) -> Row:
    expected = bundle.classes[int(then.argmax())]
    if not np.isfinite(now).all():
        return Row(name, expected, "", np.inf, False)
    difference, best = float(np.abs(then - now).max()), int(now.argmax())
    same = bundle.task == "multilabel" or float(then.max() - then[best]) <= TIE
    return Row(name, expected, bundle.classes[best], difference, difference <= tolerance and same)


def _message(rows: Sequence[Row], tolerance: float) -> str:
    bad = [row for row in rows if not row.passed]
    largest = max(row.difference for row in rows)
    if not bad:
        return (
            f"All {len(rows)} golden images are answered as when the bundle was made (largest difference {largest:.1e})"
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
