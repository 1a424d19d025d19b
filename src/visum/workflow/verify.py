"""``visum verify``: does a bundle or an export still answer here as it did where it was made?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visum.data.decode import EXTRA_FORMATS
from visum.errors import UsageError
from visum.models import predict as running
from visum.ship import verify as proof
from visum.ship.export import folder, replay
from visum.ship.verify import Verification
from visum.types import Bundle, Floats, probabilities, said
from visum.workflow import ready

TOLERANCE = 0.02
"""Largest difference of a probability between engines of different precision: bfloat16 keeps 8 bits of each activation."""


def verify(bundle: str | Path, *, engine: str = "auto", tolerance: float | None = None) -> Verification:
    """Check the digests of a bundle or an export and replay its golden images.

    Args:
        bundle: folder of a bundle, of a run or of an export.
        engine: auto, openvino, onnxruntime or torch; an export runs where it is made for, in a process of its own.
        tolerance: largest difference of a probability that passes, > 0; omitted: 0.02 for bundles, what an export states
            for exports.

    Raises:
        BundleError: it is broken or edited; the message names the file.
    """
    ready.check_settings("verify", engine=engine)
    if tolerance is not None and not 0 < tolerance < float("inf"):
        raise UsageError(f"tolerance {tolerance}", allowed="a number above 0", next=f"--tolerance {TOLERANCE}")
    if folder.is_export(bundle):
        if engine != "auto":
            raise UsageError(f"--engine {engine} for an export", allowed="its own runtime", next="visum verify EXPORT")
        return replay.verify(bundle, tolerance)

    def answers(shipped: Bundle, images: Sequence[bytes]) -> Floats:
        found = list(running.stream(images, running.Model(shipped, engine), extra_formats=EXTRA_FORMATS))
        if bad := [each for each in found if not isinstance(each, np.ndarray)]:
            raise bad[0]
        logits = np.stack([each for each in found if isinstance(each, np.ndarray)])
        return probabilities(said(shipped, logits))

    return proof.verify(bundle, answers, tolerance=tolerance or TOLERANCE)
