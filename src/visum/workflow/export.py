"""``visum export``: a bundle in the language of another runtime, with the pictures that prove it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visum import __version__
from visum.data.decode import EXTRA_FORMATS, decode
from visum.errors import BundleError, ModelError
from visum.runtime import Stages, interruptible, versions
from visum.ship import bundle as bundles
from visum.ship import verify as proof
from visum.ship.export import EXPORTERS, RUNNERS, folder, reference, whole
from visum.ship.export.folder import Export
from visum.types import Bundle, Floats, Pixels
from visum.workflow.checked import checked

Target = Literal["onnx", "openvino", "torch"]
TOLERANCE = 1e-4
"""Largest difference of a probability in float32, on any machine: golden images halve exactly (``reference.halving``)."""
TIMED = 9
"""Runs of one picture, of which the median counts."""


@dataclass(frozen=True)
class Exported:
    """Where an export is, and what it reaches.

    Attributes:
        folder: what to ship.
        target, precision: what it is.
        megabytes: of its graph.
        milliseconds: for one golden picture on one core of this machine, resize included; median.
        images: how many golden images it was held to.
        largest_difference: of a probability of theirs from the bundle's answer.
        tolerance: that ``visum verify`` will hold it to.
        seconds: all in all.
    """

    folder: Path
    target: str
    precision: str
    megabytes: float
    milliseconds: float
    images: int
    largest_difference: float
    tolerance: float
    seconds: float


@checked
def export(bundle: Path, *, to: Target = "onnx", out: Path | None = None) -> Exported:
    """Write a bundle for another runtime: pixels in, calibrated probabilities out, and golden images that prove it.

    Args:
        bundle: folder of a bundle or of a run.
        to: onnx.
        out: folder for the export; omitted: exports/TARGET beside the bundle.

    Raises:
        BundleError: not a bundle, or one that is no network from pixels to probabilities.
        ModelError: the export does not answer as the bundle does.
    """
    stages = Stages()
    with interruptible(next="the same command again"):
        with stages.stage("read") as stage:
            shipped, golden = bundles.read_golden(bundle)
            whole.check(shipped)
            place = out if out is not None else bundles.locate(bundle).parent / "exports" / to
            folder.check_target(place)
            if not golden:
                raise BundleError(f"{bundle} has no golden images, so that nothing could prove an export of it")
            pictures = [pixels(shipped, data) for _, data, _ in golden]
            stage.detail = f"{len(golden)} golden images"
        with stages.stage("network"):
            wanted = reference.probabilities(shipped, pictures)
        with stages.stage(to):
            files = EXPORTERS[to](shipped, facts(shipped), whole.network)
            run = RUNNERS[to](files)
        with stages.stage("prove") as stage:
            shown = proving(golden, pictures, wanted)
            answers = np.concatenate([run(picture[None]) for picture in pictures])
            found = proof.compared(shown, answers, shipped.classes, shipped.task, TOLERANCE)
            if not found.passed:
                raise ModelError(f"the export does not answer as the bundle does: {found.message}", next="visum doctor")
            spent = milliseconds(run, pictures[0])
            stage.detail = f"largest difference {found.largest_difference:.1e}"
        with stages.stage("write"):
            size = sum(map(len, files.values())) / 1e6
            made = Export(
                target=to,
                precision="float32",
                task=shipped.task,
                classes=shipped.classes,
                thresholds=shipped.thresholds,
                preprocess=asdict(shipped.preprocess),
                background=shipped.preprocess.background,
                bundle=bundles.digest(shipped),
                tolerance=TOLERANCE,
                changed=0,
                files=files,
                golden=shown,
                notes={
                    "largest_difference": found.largest_difference,
                    "milliseconds": spent,
                    "megabytes": size,
                    "versions": versions("visum", "onnx", "onnxruntime"),
                },
            )
            written = folder.write(made, place)
    assert written.folder is not None
    return Exported(
        written.folder,
        to,
        made.precision,
        size,
        spent,
        found.images,
        found.largest_difference,
        TOLERANCE,
        stages.seconds(),
    )


def facts(bundle: Bundle) -> dict[str, Any]:
    """What is kept inside the graph, where it has room."""
    return {
        "visum": __version__,
        "bundle": bundles.digest(bundle),
        "task": bundle.task,
        "classes": list(bundle.classes),
        "thresholds": list(bundle.thresholds),
        "preprocess": asdict(bundle.preprocess),
    }


def pixels(bundle: Bundle, data: bytes) -> Pixels:
    """A golden image at a size that every runtime resizes alike."""
    spec = bundle.preprocess
    picture = decode(data, background=spec.background, extra_formats=EXTRA_FORMATS).pixels
    return reference.halving(picture, spec)


def proving(golden: Sequence[bundles.Golden], pictures: Sequence[Pixels], wanted: Floats) -> tuple[bundles.Golden, ...]:
    """The golden images of an export: PNG, since these pixels and no others have these probabilities."""
    return tuple(
        (f"{Path(name).stem}.png", reference.png(picture), row)
        for (name, _, _), picture, row in zip(golden, pictures, wanted, strict=True)
    )


def milliseconds(run: Callable[[Pixels], Floats], picture: Pixels) -> float:
    """Median time of one picture."""
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        run(picture[None])
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))
