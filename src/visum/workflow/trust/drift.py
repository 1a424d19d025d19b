"""The step about drift: do the judged images look like those it was validated with, and what would an alarm see?"""

from __future__ import annotations

from typing import Any

from visum.errors import BundleError
from visum.judge.drift import power, words
from visum.workflow import reference
from visum.workflow.trust.context import Context


def drift_step(context: Context) -> dict[str, Any]:
    """``power.self_check_block`` of the judged images, ``kinds`` as a list with ``kind`` and ``question`` in each.

    A bundle without a reference, or with one that an older visum made, gets one for this question from the run around it.

    Raises:
        BundleError: there is neither.
    """
    bundle = context.bundle
    try:
        against = reference.of(bundle)
    except BundleError:
        if context.made is None:
            raise
        bundle = reference.equipped(bundle, context.made, context.model)
        against = reference.of(bundle)
    seen, said = reference.features(context.table, context.model)
    points = reference.project(reference.arrays_of(bundle), seen)
    block = power.self_check_block(against, points, said)
    kinds = [{"kind": kind, "question": words.QUESTIONS[kind], **facts} for kind, facts in block["kinds"].items()]
    return {**block, "kinds": kinds}
