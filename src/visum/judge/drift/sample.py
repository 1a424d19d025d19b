"""What the tests look at: the reference and new pictures as columns of the same kind."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError
from visum.judge.drift import labels as shares
from visum.judge.drift.concept import excess
from visum.judge.drift.unknown import strangeness
from visum.types import Floats, Integers, Predictions, Task, decisions, probabilities

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures as columns.

    Attributes:
        points: float32 ``[N, C]``, projected embeddings; C is 0 where there are none.
        p: float64 ``[N, K]``, probabilities calibrated with a bias for each class (multilabel: sigmoids of the bundle).
        answers: int64 ``[N]``, what is answered: the strata of tests on pictures; 0 when multilabel.
        sure: float32 ``[N]``, the bundle's own probability of its answer.
        labels: int64 ``[N]``, true classes, the strata of tests on labels; -1: unlabelled; 0 for labelled ones when multilabel.
        excess: float32 ``[N]`` of ``concept.excess``; NaN where unlabelled.
        strange: float32 ``[N]``, the higher the stranger.
    """

    points: Floats
    p: Array
    answers: Integers
    sure: Floats
    labels: Integers
    excess: Floats
    strange: Floats

    def __len__(self) -> int:
        return len(self.answers)


def pick(sample: Sample, where: NDArray[Any]) -> Sample:
    """The rows at ``where`` (mask or positions)."""
    return replace(sample, **{f.name: getattr(sample, f.name)[where] for f in fields(sample)})


@dataclass(frozen=True, eq=False)
class Reference:
    """What new pictures are compared with.

    Attributes:
        task, classes: of the bundle.
        sample: its pictures, all labelled.
        known: float32 ``[B, C]``, points of other known pictures, nearness to which is not being strange.
        scale, bias: of bias-corrected temperature scaling; not used when multilabel.
        temperature, thresholds: of the bundle.
    """

    task: Task
    classes: tuple[str, ...]
    sample: Sample
    known: Floats
    scale: float
    bias: Array
    temperature: float
    thresholds: tuple[float, ...]

    @property
    def prior(self) -> Array:
        """Mean calibrated probability of each class, ``[K]``, which is its share among the reference's labels."""
        return np.asarray(self.sample.p.mean(0))


def reference(points: Floats, said: Predictions, known: Floats, strange: Floats | None = None) -> Reference:
    """A reference of labelled pictures.

    Args:
        points: projected embeddings of the rows of ``said``, ``[M, C]``.
        said: their predictions; rows without a label must have been left out.
        known: points of train pictures, ``[B, C]``.
        strange: a detector's scores of the rows, ``[M]``; None: ``unknown.strangeness``.

    Raises:
        DataError: NaN.
    """
    several = said.task == "multilabel"
    check(points, said.logits)
    scale, bias = (said.temperature, np.zeros(len(said.classes)))
    if not several:
        scale, bias = shares.bias_corrected(said.logits, said.labels)
    empty = Sample(*[np.zeros(0, np.float32)] * 7)  # type: ignore[arg-type]
    frame = Reference(said.task, said.classes, empty, known, scale, bias, said.temperature, said.thresholds)
    if strange is None:
        strange = strangeness(points, known)
    return replace(frame, sample=_sample(frame, points, said.logits, said.labels, strange))


def sample(
    against: Reference, points: Floats, logits: Floats, labels: Integers | None = None, strange: Floats | None = None
) -> Sample:
    """New pictures as the reference's are.

    Args:
        points: float32 ``[N, C]``.
        logits: float32 ``[N, K]``.
        labels: as in ``Predictions``, -1 where unknown (multilabel: a row of -1); None: all unknown.
        strange: scores of the detector that made the reference's; None as in ``reference``.

    Raises:
        DataError: NaN.
    """
    check(points, logits)
    if strange is None:
        strange = strangeness(points, against.known)
    if labels is None:
        labels = np.full(logits.shape if against.task == "multilabel" else len(logits), -1, np.int64)
    return _sample(against, points, logits, labels, strange)


def _sample(against: Reference, points: Floats, logits: Floats, labels: Integers, strange: Floats) -> Sample:
    ids = np.empty(len(logits), object)
    said = Predictions(ids, logits, labels, against.classes, against.task, "", against.temperature, against.thresholds)
    mine, told = probabilities(said), decisions(said)
    p = mine.astype(np.float64)
    if against.task == "multilabel":
        known = np.asarray(labels >= 0).all(axis=1)
        each = np.where(told == 1, mine, 1 - mine)
        sure = np.asarray(each.mean(axis=1), np.float32)
        beyond = excess((told != labels).mean(axis=1).astype(np.float32), sure)
        strata, truth = np.zeros(len(told), np.int64), np.where(known, 0, -1)
    else:
        known = labels >= 0
        sure = mine[np.arange(len(told)), told]
        beyond = excess((told != labels).astype(np.float32), sure)
        strata, truth = told, labels
        p = shares.calibrated(logits, against.scale, against.bias)
    beyond = np.where(known, beyond, np.float32(np.nan)).astype(np.float32)
    return Sample(
        np.asarray(points, np.float32),
        np.asarray(p, np.float64),
        strata,
        np.asarray(sure, np.float32),
        np.asarray(truth, np.int64),
        beyond,
        np.asarray(strange, np.float32),
    )


def check(points: Floats, logits: Floats) -> None:
    """Refuse numbers that are none.

    Raises:
        DataError: how many pictures have them.
    """
    broken = np.asarray(~(np.isfinite(points).all(axis=1) & np.isfinite(logits).all(axis=1)))
    if broken.any():
        raise DataError(
            f"embeddings or answers of {int(broken.sum()):,} of {len(broken):,} pictures are NaN or infinite",
            allowed="finite numbers",
            next="visum verify BUNDLE: the bundle or the engine may be damaged",
        )
