"""Students of a bundle: its own network at a smaller input, or ended at an earlier stage, with a head that is taught anew.

A head is cheap: the network passes once over the train pictures, and logistic regression learns from the labels and from what
the bundle answers, half and half (Hinton et al. 2015, at temperature 1). A student is a bundle like any other, so that it is
exported, quantised and judged like its teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visum.data import load
from visum.judge.calibrate import temperature, thresholds
from visum.judge.metrics import log_loss
from visum.learn import probe
from visum.models import pools, predict
from visum.models.embed import Network, embed
from visum.models.weights import of_bundle
from visum.runtime import Step, no_step
from visum.types import (
    Bundle,
    Floats,
    Manifest,
    Predictions,
    decisions,
    in_split,
    probabilities,
    rows,
    targets,
)
from visum.workflow import origin

SHARES, STEP, LEAST = (0.86, 0.71), 32, 64
"""Of the input side, in steps of so many pixels, down to so many."""
MOST = 5_000
"""Train pictures that a student learns from; more would only cost time."""
TOLD = 0.5
"""Share of the target that is the teacher's answer; the rest is the label."""


@dataclass(frozen=True)
class Kind:
    """A student that could be made.

    Attributes:
        size: input side in pixels.
        last: the stage after which its network ends; "" for the whole one.
    """

    size: int
    last: str = ""


def kinds(bundle: Bundle) -> tuple[Kind, ...]:
    """Largest first: smaller sides of the whole network, then the network ended before its last and its last but one stage."""
    if bundle.architecture.get("kind") != "probe" or bundle.architecture.get("columns") == "last":
        return ()
    size = bundle.preprocess.size
    smaller = [side for side in (round(size * share / STEP) * STEP for share in SHARES) if LEAST <= side < size]
    stages = tuple(map(str, bundle.architecture["stages"]))
    ends = stages[-2:][::-1] if bundle.architecture.get("pool", pools.MEAN) == pools.MEAN and len(stages) > 1 else ()
    sides = dict.fromkeys((size, *smaller))
    return (*(Kind(side) for side in sides if side < size), *(Kind(side, end) for end in ends for side in sides))


def pupils(bundle: Path, shipped: Bundle) -> Manifest | None:
    """The labelled train rows of the run around a bundle, at most ``MOST``; None where they are not there any more."""
    found = origin.table(bundle)
    if found is None or found.classes != shipped.classes:
        return None
    y = targets(found)
    train = rows(found, in_split(found, "train") & (np.ones(len(y), bool) if y.ndim == 2 else y >= 0))
    if not len(train) or not all(Path(load.location(train, row)).is_file() for row in range(len(train))):
        return None
    return rows(train, np.unique(np.linspace(0, len(train) - 1, MOST).astype(np.int64)))


@dataclass(frozen=True, eq=False)
class School:
    """A teacher, what it answers, and the pictures to learn from.

    Attributes:
        teacher: the bundle.
        train, held: indexed train and validation rows.
        answers: the teacher's probabilities for the train rows, float32 ``[T, K]``.
    """

    teacher: Bundle
    train: Manifest
    held: Manifest
    answers: Floats

    def student(self, kind: Kind, step: Step = no_step) -> Bundle:
        """Embed, learn, calibrate.

        Args:
            kind: what to make.
            step: told of finished pictures, train and validation.

        Raises:
            ModelError: the network does not take this size, or cannot be ended there.
        """
        b = self.teacher
        spec = replace(b.preprocess, size=kind.size)
        network = Network(replace(of_bundle(b), last=kind.last), spec)
        x, x_held = (_features(table, network, step) for table in (self.train, self.held))
        y, y_held, k = targets(self.train), targets(self.held), len(b.classes)
        own = y.astype(np.float32) if y.ndim == 2 else np.eye(k, dtype=np.float32)[y]
        wanted = (1 - TOLD) * own + TOLD * self.answers
        said = Predictions(self.held.ids, np.zeros((0, k), np.float32), y_held, b.classes, b.task)

        def calibrated(head: probe.Arrays) -> Predictions:
            z = probe.logits(head, x_held)
            return replace(said, logits=z, temperature=temperature(z, y_held, b.task))

        def loss(head: probe.Arrays) -> float:
            p = calibrated(head)
            return log_loss(probabilities(p), p.labels, decisions(p), p.task)

        head, _, _ = probe.search(x, wanted, k, loss, shares=b.task != "multilabel")
        kept = {name: value for name, value in b.weights.items() if name.startswith("backbone.")}
        architecture = {
            key: b.architecture[key] for key in ("kind", "backbone", "stages", "pool") if key in b.architecture
        }
        found = calibrated(head)
        return replace(
            b,
            architecture={**architecture, **({"last": kind.last} if kind.last else {})},
            preprocess=spec,
            weights={**kept, **{f"head.{key}": value for key, value in head.items()}},
            temperature=found.temperature,
            thresholds=thresholds(probabilities(found), y_held, b.task),
        )


def school(teacher: Bundle, train: Manifest, held: Manifest, step: Step = no_step) -> School:
    """Index both tables and ask the teacher about the train pictures.

    Args:
        teacher: a probe or a fine-tuned network.
        train, held: labelled rows.
        step: told of train pictures that were asked about.
    """
    spec = teacher.preprocess
    train, held = (load.index(table, spec)[0] for table in (train, held))
    told = predict.of_table(train, predict.Model(teacher), step=step)
    return School(teacher, train, held, np.asarray(probabilities(told), np.float32))


def _features(table: Manifest, network: Network, step: Step) -> NDArray[np.float16]:
    indexed, _ = load.index(table, network.preprocess)
    return np.asarray(embed(indexed, network, step=step)["plain"].vectors)
