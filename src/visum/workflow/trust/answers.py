"""Steps about what the bundle answers: calibration."""

from __future__ import annotations

from typing import Any

from visum.judge import calibrate, evaluate
from visum.workflow.trust.context import Context


def calibration_step(context: Context) -> dict[str, Any]:
    """``n``, ``ece`` with its interval, and ``bins`` of ``calibrate.reliability``."""
    score = evaluate.score(context.predictions, "ece", seed=context.seed)
    return {
        "n": score.n,
        "ece": {"value": score.value, "low": score.low, "high": score.high},
        "bins": calibrate.reliability(context.p, context.predictions.labels, context.bundle.task),
    }
