"""A teacher: any bundle, asked once for each picture, from whose answers another network learns besides the labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visum.errors import BundleError, UsageError
from visum.models import predict as running
from visum.models.compiled import BATCH
from visum.models.ensemble import unlike
from visum.runtime import Step, no_step
from visum.ship import bundle as bundles
from visum.types import Bundle, Finding, Floats, Manifest, in_split, printable, rows
from visum.workflow import ladder as climbing
from visum.workflow import origin
from visum.workflow.ladder import TEACHER, Ground, Rung

FIRST = 4 * BATCH
"""Pictures that are asked for before the teacher is timed, and as many for timing it."""
MOST = 0.5
"""Share of the time that is left which the teacher may take; the rest is for learning from it."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A bundle, and how much is believed of it.

    Attributes:
        name: its folder as it was given.
        bundle: what it is; of any kind, ensembles too.
        digest: hex SHA-256 of it.
        seen: digests of the files that it was trained on, as far as the run around it tells.
        share: of the loss, 0 … 1; the rest is the label's.
        temperature: at which both answers are compared, > 0.
    """

    name: str
    bundle: Bundle
    digest: str
    seen: frozenset[str]
    share: float
    temperature: float

    @property
    def words(self) -> str:
        """For a rung's detail."""
        return f"{100 * self.share:g} % of the loss by {self.name} at temperature {self.temperature:g}"


@dataclass(frozen=True, eq=False)
class Teaching:
    """What a teacher said.

    Attributes:
        teacher: who.
        logits: calibrated (divided by the bundle's temperature), float32 ``[T, K]``: of the labelled train rows, in their order,
            the classes in that of the table.
        rung: what it is worth on the validation rows.
    """

    teacher: Teacher
    logits: Floats
    rung: Rung

    @property
    def key(self) -> list[Any]:
        """What training depends on, JSON-like."""
        return [self.teacher.digest, self.teacher.share, self.teacher.temperature]


def read(place: Path, share: float, temperature: float) -> Teacher:
    """The bundle in a folder (or in a run's) as a teacher.

    Raises:
        BundleError: not a bundle.
    """
    found = bundles.read(place)
    seen = origin.trained(origin.table(place))
    return Teacher(printable(str(place)), found, bundles.digest(found), seen, share, temperature)


def with_rung(ladder: Sequence[str], last: str) -> tuple[str, ...]:
    """The ladder with the rung that a teacher teaches.

    Args:
        ladder: as it was given, or the usual one.
        last: finetune or scratch.

    Raises:
        UsageError: one of the user's own, without that rung.
    """
    if last in ladder:
        return tuple(ladder)
    if tuple(ladder) == climbing.LADDER:
        return (*ladder, last)
    raise UsageError(
        f"a teacher teaches {last}, which this ladder leaves out",
        allowed=f"a ladder with {last}, or none of your own",
        next=f"--ladder {','.join(ladder)},{last}",
    )


def check(teacher: Teacher, table: Manifest) -> None:
    """A teacher answers the question that the data asks: the same classes, in whatever order, and the same task.

    Raises:
        BundleError: naming the difference.
    """
    if words := unlike(teacher.name, teacher.bundle.classes, "the data", table.classes):
        raise BundleError(
            f"the teacher has other classes than the data: {words}",
            allowed="the same class names, in any order",
            next="a teacher that was trained on the same classes",
        )
    if teacher.bundle.task != table.task:
        raise BundleError(
            f"the teacher {teacher.name} is {teacher.bundle.task} and the data {table.task}",
            allowed="a teacher of the same task",
            next=f"--task {teacher.bundle.task}, or another teacher",
        )


def ask(teacher: Teacher, ground: Ground, engine: str, left: float | None, step: Step = no_step) -> Teaching | None:
    """What it says of the labelled train rows, and what it is worth on the validation rows; None where it is too slow.

    Args:
        teacher: of ``check``.
        ground: its table is indexed.
        engine: of ``compiled.ENGINES``, or auto.
        left: seconds, or None for no limit; the teacher may take ``MOST`` of them.
        step: told of finished pictures.
    """
    begin = time.perf_counter()
    train, held = ground.labelled("train"), ground.labelled("validation")
    drawn = np.random.default_rng(ground.seed).permutation(np.flatnonzero(train | held))
    model = running.Model(teacher.bundle, engine)
    logits = np.zeros((len(ground.table), len(ground.table.classes)), np.float32)
    took = 0.0  # of the part before, which says what the rest will; the first compiles as well
    for some in np.split(drawn, (FIRST, 2 * FIRST)):
        rest = took / FIRST * len(some) if len(some) > FIRST else 0.0
        here = time.perf_counter()
        if left is not None and here - begin + rest > MOST * left:
            return None
        if len(some):
            logits[some] = _answers(rows(ground.table, some), model, step)
        took = time.perf_counter() - here
    detail, seconds = f"the teacher {teacher.name}", time.perf_counter() - begin
    yardstick = Rung(TEACHER, detail, seconds, None, {}, ground.predictions(logits[held]), at=None)
    return Teaching(teacher, logits[train], yardstick)


def _answers(table: Manifest, model: running.Model, step: Step) -> Floats:
    """Calibrated logits float32 ``[N, K]``, the classes in the order of the table."""
    own = model.bundle
    found = running.of_table(replace(table, classes=own.classes), model, step=step)
    order = [own.classes.index(name) for name in table.classes]
    return np.asarray(found.logits[:, order] / own.temperature, np.float32)


def known(teacher: Teacher, table: Manifest, last: str, taught: Teaching | None) -> dict[str, Any]:
    """The ``teacher`` block of ``run.json``; ``rung`` is the one that it taught."""
    scores = {} if taught is None else {name: score.value for name, score in taught.rung.metrics().items()}
    return {
        "bundle": teacher.name,
        "digest": teacher.digest,
        "kind": str(teacher.bundle.architecture.get("kind")),
        "share": teacher.share,
        "temperature": teacher.temperature,
        "rung": None if taught is None else last,
        "validation": scores,
        "trained_on": _seen(teacher, table),
    }


def noted(facts: Mapping[str, Any], rung: Rung) -> dict[str, str]:
    """What the model card says of the teacher, where ``rung`` is the one that it taught.

    Args:
        facts: ``run.json``.
    """
    block = facts.get("teacher") or {}
    if block.get("rung") != rung.name:
        return {}
    name, value = next(iter(block["validation"].items()))
    scored = f"{100 * value:.1f} % {name.replace('_', ' ')} on the validation images"
    return {"Teacher": f"{block['bundle']} ({block['kind']}, digest {block['digest'][:16]}), {scored}"}


def doubts(teacher: Teacher, table: Manifest, taught: Teaching | None) -> list[Finding]:
    """What a person should know before the scores are believed."""
    if taught is None:
        words = "would have taken more than half of the time that was left. Give a longer --budget, or none."
        return [Finding("teacher_too_slow", "warning", f"The teacher {teacher.name} was not asked: it {words}")]
    seen = _seen(teacher, table)
    if not any(seen.values()):
        return []
    counts = " and ".join(f"{n:,} {split}" for split, n in seen.items() if n)
    message = (
        f"The teacher {teacher.name} was trained on {counts} images of this run, so that scores may flatter. "
        "Give data with train, valid and test folders, or the teacher's own --seed and --fractions."
    )
    return [
        Finding("teacher_has_seen", "warning", message, numbers={f"{split}_images": n for split, n in seen.items()})
    ]


def _seen(teacher: Teacher, table: Manifest) -> dict[str, int]:
    """How many images of the other splits it was trained on."""
    return {
        split: sum(digest in teacher.seen for digest in table.sha256[in_split(table, split)].tolist())
        for split in ("validation", "test")
    }
