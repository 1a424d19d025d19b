"""Steps about what the bundle answers: calibration, and what it would be worth to keep silent."""

from __future__ import annotations

from typing import Any

from visum.errors import NotEnoughData
from visum.judge import calibrate, evaluate
from visum.judge.calibration import calibration_block
from visum.judge.risk import risk_block
from visum.models.opinions import opinions
from visum.workflow.trust.context import Context


def calibration_step(context: Context) -> dict[str, Any]:
    """``n``, ``ece`` with its interval, ``reliability`` (bins); where the run beside the bundle kept what it said of validation
    images, everything else of ``calibration.calibration_block``, its own verdict and words under ``told``."""
    score = evaluate.score(context.predictions, "ece", seed=context.seed)
    block: dict[str, Any] = {
        "n": score.n,
        "ece": {"value": score.value, "low": score.low, "high": score.high},
        "reliability": calibrate.reliability(context.p, context.predictions.labels, context.bundle.task),
    }
    if context.validation is not None:
        try:
            found = calibration_block(context.validation, context.predictions, seed=context.seed)
        except NotEnoughData:
            return block
        told = {key: found.pop(key) for key in ("verdict", "sentence", "advice")}
        block |= {**found, "ece": found["in_use"]["ece"], "told": told}
    return block


def abstention_step(context: Context) -> dict[str, Any]:
    """``risk.risk_block``, its own words under ``told``."""
    found = risk_block(context.predictions, opinions(context.table, context.model), seed=context.seed)
    return {**found, "told": {key: found.pop(key) for key in ("sentence", "advice")}}
