"""``visum export``: a bundle in the language of another runtime, with the pictures that prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from visum import __version__, storage
from visum.config import Duration
from visum.data.decode import EXTRA_FORMATS, decode
from visum.errors import BundleError, ModelError, UsageError
from visum.runtime import Stage, Stages, interruptible, versions
from visum.ship import bundle as bundles
from visum.ship import export as targets
from visum.ship import verify as proof
from visum.ship.export import folder, reference, whole
from visum.ship.export.folder import Export
from visum.ship.verify import Verification
from visum.types import Bundle, Floats, Pixels
from visum.workflow import candidate, held, students
from visum.workflow.candidate import Candidate, Measured, named, words
from visum.workflow.checked import checked
from visum.workflow.students import Kind

Target = Literal["onnx", "openvino", "torch", "tensorflow", "litert", "jax", "tensorrt"]
VERSIONS = ("visum", "onnx", "onnxruntime", "openvino", "torch", "jax", "tensorflow", "ai-edge-litert")
"""Packages whose versions an export remembers, as far as they are there."""
TOLERANCE = 1e-4
"""Largest difference of a probability in float32, on any machine: golden images halve exactly (``reference.halving``)."""
DROP = 0.005
"""Share of validation images that a lower precision may lose before another is taken."""
FALLBACKS = {"int8": ("int8", "bfloat16", "float32"), "bfloat16": ("bfloat16", "float32"), "float32": ("float32",)}


@dataclass(frozen=True)
class Exported:
    """Where an export is, and what it reaches.

    Attributes:
        folder: what to ship.
        target, precision: what it is.
        tried: everything that was made and measured, the chosen one included.
        images: how many golden images it was held to.
        largest_difference: of a probability of theirs from the bundle's answer.
        tolerance: that ``visum verify`` will hold it to.
        seconds: all in all.
    """

    folder: Path
    target: str
    precision: str
    tried: tuple[Measured, ...]
    images: int
    largest_difference: float
    tolerance: float
    seconds: float


@checked
def export(
    bundle: Path,
    *,
    to: Target = "onnx",
    int8: bool = False,
    bf16: bool = False,
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None,
    target_latency: Duration | None = None,
    data: Path | None = None,
    out: Path | None = None,
) -> Exported:
    """Write a bundle for another runtime: pixels in, calibrated probabilities out, and golden images that prove it.

    Args:
        bundle: folder of a bundle or of a run.
        to: onnx, openvino, torch, tensorflow, litert, jax or tensorrt; the last four need their own packages, tensorrt a GPU.
        int8: compute in integers, calibrated with validation images; bf16 or float32 where that loses too much.
        bf16: weights in bfloat16, half as large; float32 where that loses too much.
        max_drop: points of validation accuracy that may be lost, 0.5 unless told; without int8 and bf16, every precision is
            tried, and so are students: smaller inputs and shorter networks, their heads taught by the bundle where the train
            images of its run are there. The fastest that loses no more is written.
        target_latency: for one picture on one core, e.g. 10ms: everything is tried, and the most accurate that is fast enough
            and loses no more than max_drop is written.
        data: labelled images to calibrate with and to judge by, as for train; omitted: the validation images of the run that the
            bundle lies in.
        out: folder for the export; omitted: exports/TARGET beside the bundle, with -int8 or -bf16.

    Raises:
        BundleError: not a bundle, or one that is no network from pixels to probabilities.
        ModelError: the export does not answer as the bundle does.
        NotEnoughData: no validation images are there for a lower precision.
    """
    wanted = "int8" if int8 else "bfloat16" if bf16 else "float32"
    if int8 and bf16:
        raise UsageError("--int8 and --bf16", allowed="one of them", next="--int8, which falls back to bf16 by itself")
    candidate.check_precision(to, wanted)
    targets.check(to)
    drop = DROP if max_drop is None else max_drop / 100
    search = wanted == "float32" and (max_drop is not None or target_latency is not None)
    stages = Stages()
    with interruptible(next="the same command again"):
        with stages.stage("read") as stage:
            shipped, golden = bundles.read_golden(bundle)
            whole.check(shipped)
            place = out if out is not None else beside(bundle, to, "best" if search else candidate.WORDS[wanted])
            folder.check_target(place)
            if not golden:
                raise BundleError(f"{bundle} has no golden images, so that nothing could prove an export of it")
            table = held.validation(bundle, shipped, data) if search or wanted != "float32" else None
            stage.detail = f"{len(golden)} golden images"
        with stages.stage("ask the bundle", len(table) if table is not None else 0) as stage:
            right = candidate.reference_right(shipped, table, stage.step) if table is not None else {}
            pupils = students.pupils(bundle, shipped) if search and table is not None else None
        proof_of, school = Proof(golden), None
        if pupils is not None and table is not None and students.kinds(shipped):
            with stages.stage("ask about train images", len(pupils)) as stage:
                school = students.school(shipped, pupils, table, stage.step)
                stage.detail = f"{len(school.train):,} images to learn from"
        tried, made = list[Measured](), list[Candidate]()
        parts = {Kind(shipped.preprocess.size): shipped}
        for precision, kind in plan(to, wanted, shipped, search, taught=school is not None):
            own = parts.get(kind) is shipped
            head = candidate.OWN if own or school is None else candidate.TAUGHT
            try:
                if kind not in parts:
                    learns = len(school.train) + len(school.held) if school is not None else 0
                    with stages.stage(f"student: {words(kind.size, kind.last)}", learns) as stage:
                        parts[kind] = student(shipped, kind, school, stage)
                with stages.stage(
                    f"{to} {candidate.WORDS[precision]} {words(kind.size, kind.last)}", len(right)
                ) as stage:
                    made.append(candidate.make(to, precision, parts[kind], facts(parts[kind]), table, head))
                    tried.append(
                        candidate.measured(made[-1], proof_of.pictures(parts[kind])[0], table, right, stage.step)
                    )
                    stage.detail = said(tried[-1])
            except (
                ModelError
            ):  # a network that is made for one size only, or that cannot end early, has no such student
                if own:
                    raise
                continue
            if not search and tried[-1].change >= -drop:
                break
        limit = 1e3 * target_latency if target_latency is not None else None
        at = candidate.choice(tried, drop, limit) if search else len(tried) - 1
        if at is None:
            raise ModelError(
                f"nothing that was tried will do: {'; '.join(f'{named(each)}: {said(each)}' for each in tried)}",
                allowed=f"a loss of at most {100 * drop:g} points" + (f" within {limit:g} ms" if limit else ""),
                next="another --max-drop or --target-latency, or a bundle that was trained with a smaller --size",
            )
        tried = list(candidate.frontier(tried)) if search else tried
        tried[at] = replace(tried[at], chosen=True)
        written, proven = write(made[at], tried[at], proof_of, place, stages)
    storage.evict()
    return Exported(
        written.folder or place,
        to,
        written.precision,
        tuple(tried),
        proven.images,
        proven.largest_difference,
        proven.tolerance,
        stages.seconds(),
    )


def beside(bundle: Path, target: str, precision: str) -> Path:
    """Where an export goes if nobody says where."""
    name = target if precision == "float32" else f"{target}-{precision}"
    return bundles.locate(bundle).parent / "exports" / name


def plan(target: str, wanted: str, bundle: Bundle, search: bool, *, taught: bool = False) -> list[tuple[str, Kind]]:
    """(precision, student) of what is made, in this order: what was asked for with its fallbacks, or everything.

    Args:
        target, wanted: what was asked for.
        bundle: of what; ensembles and classical models have no students.
        search: whether everything is tried.
        taught: whether students can be taught. If not, they are the same network and head at smaller sides. bfloat16 is left
            out for them: it is as quick as float32, and int8 is smaller.
    """
    own = Kind(bundle.preprocess.size)
    if not search:
        return [(precision, own) for precision in FALLBACKS[wanted]]
    able = candidate.PRECISIONS.get(target, tuple(candidate.WORDS))
    others = [kind for kind in students.kinds(bundle) if taught or not kind.last]
    quick = [precision for precision in able if precision != "bfloat16"]
    return [(each, own) for each in able] + [(each, kind) for kind in others for each in quick]


def student(shipped: Bundle, kind: Kind, school: students.School | None, stage: Stage) -> Bundle:
    """A smaller bundle: taught, or the same one at another side.

    Raises:
        ModelError: this network cannot be made so.
    """
    if school is None:
        return replace(shipped, preprocess=replace(shipped.preprocess, size=kind.size))
    stage.detail = f"head taught with {len(school.train):,} images"
    return school.student(kind, stage.step)


def said(found: Measured) -> str:
    """One candidate in a line."""
    words = f"{found.megabytes:.1f} MB, {found.milliseconds:.1f} ms"
    if found.n:
        words += f", {100 * found.change:+.2f} points ({100 * found.low:+.2f} to {100 * found.high:+.2f})"
    return words


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


@dataclass(frozen=True, eq=False)
class Proof:
    """The golden images of a bundle, for exports of it.

    Attributes:
        golden: as the bundle has them.
    """

    golden: Sequence[bundles.Golden]

    def pictures(self, bundle: Bundle) -> list[Pixels]:
        """At a size that every runtime resizes alike."""
        spec = bundle.preprocess
        decoded = (decode(d, background=spec.background, extra_formats=EXTRA_FORMATS) for _, d, _ in self.golden)
        return [reference.halving(each.pixels, spec) for each in decoded]


def write(
    made: Candidate, found: Measured, proof_of: Proof, place: Path, stages: Stages
) -> tuple[Export, Verification]:
    """Hold an export to its golden images, state what it differs by, and write it.

    Args:
        made, found: what, and what it reaches.
        proof_of: golden images.
        place: folder.
        stages: to tell.

    Raises:
        ModelError: in float32, the answers are not the bundle's.
    """
    shipped = made.bundle
    with stages.stage("prove") as stage:
        pictures = proof_of.pictures(shipped)
        answers = reference.probabilities(shipped, pictures)
        shown = tuple(
            (f"{Path(name).stem}.png", reference.png(picture), row)
            for (name, _, _), picture, row in zip(proof_of.golden, pictures, answers, strict=True)
        )
        got = np.concatenate([made.run(picture[None]) for picture in pictures])
        exact = made.precision == "float32" and one_size(shipped)
        tolerance, changed = TOLERANCE, 0
        if not exact:
            tolerance, changed = stated(got, answers, shipped)
        proven = proof.compared(shown, got, shipped.classes, shipped.task, tolerance, changed=changed)
        if not proven.passed:
            raise ModelError(f"the export does not answer as the bundle does: {proven.message}", next="visum doctor")
        stage.detail = f"largest difference {proven.largest_difference:.1e}"
    with stages.stage("write"):
        written = Export(
            target=made.target,
            precision=made.precision,
            task=shipped.task,
            classes=shipped.classes,
            thresholds=shipped.thresholds,
            preprocess=asdict(shipped.preprocess),
            background=shipped.preprocess.background,
            bundle=bundles.digest(shipped),
            tolerance=tolerance,
            changed=changed,
            files=made.files,
            golden=shown,
            notes={
                **{key: value for key, value in asdict(found).items() if key not in ("best", "chosen", "precision")},
                "largest_difference": proven.largest_difference,
                "versions": versions(*VERSIONS),
            },
        )
        return folder.write(written, place), proven


def one_size(bundle: Bundle) -> bool:
    """Whether all members see pictures at the size that golden images halve to."""
    parts = bundle.architecture.get("members", ())
    return len({(part["preprocess"]["size"], part["preprocess"]["fit"]) for part in parts}) <= 1


def stated(got: Floats, answers: Floats, bundle: Bundle) -> tuple[float, int]:
    """What an export in a lower precision may differ by: twice what it does here, and as many other top classes.

    Twice, since integer kernels of other processors round otherwise; at least 0.02, and at most nine tenths.
    """
    difference = float(np.abs(got - answers).max())
    changed = 0 if bundle.task == "multilabel" else int((got.argmax(1) != answers.argmax(1)).sum())
    return float(np.clip(2 * difference, 0.02, 0.9)), changed
