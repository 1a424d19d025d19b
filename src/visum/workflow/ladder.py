"""The ladder: from always answering the most frequent class to the best probe, each rung judged on the same validation rows.

A rung that costs more must earn it. Every rung but the first can become the bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.data.load import pictures
from visum.data.pixels import fit
from visum.errors import UsageError
from visum.judge import evaluate as judge
from visum.judge.calibrate import temperature
from visum.judge.metrics import METRICS, log_loss
from visum.learn import probe
from visum.models import classical
from visum.models.embed import Network, describe
from visum.models.predict import described, describer_key, to_side
from visum.types import (
    Floats,
    Integers,
    Manifest,
    Predictions,
    Preprocess,
    Score,
    decisions,
    in_split,
    probabilities,
    rows,
    targets,
)
from visum.workflow import kept
from visum.workflow.history import Line

if TYPE_CHECKING:
    from visum.workflow.teacher import Teaching

EMBEDDING, MAJORITY, FINETUNE, SCRATCH, TEACHER = "embedding", "majority", "finetune", "scratch", "teacher"
NEAREST, PROBE = f"{EMBEDDING}+knn", f"{EMBEDDING}+probe"
LADDER = (MAJORITY, *(f"{descriptor}+{classifier}" for descriptor, classifier in classical.LADDER), NEAREST, PROBE)
"""What is climbed unless told otherwise; any ``descriptor+classifier`` of ``models.classical`` may be named as well, and any
``embedding+classifier``."""
FROM_SCRATCH = (MAJORITY, SCRATCH)
"""The same where the network has no weights and so no embeddings."""

VALIDATION = "validation.logits"
WORD_PICTURES = 400
CHEAP = (MAJORITY, NEAREST)  # tried however short the budget is
MOST_FOR_SEARCH = 8_000
MOST_NEIGHBOURS = 10_000
DEVIATIONS = 1.96
"""Standard errors in half of a 95 % interval."""


@dataclass(frozen=True, eq=False)
class Rung:
    """One classifier on the way up.

    Attributes:
        name, detail: e.g. ``embedding+probe`` and its settings.
        seconds: it took to describe the pictures (unless the store had them) and to fit, when that was done.
        architecture: of the bundle it would make; None for the yardsticks that are never chosen: majority, teacher.
        weights: ``head.*`` of a probe, else ``classifier.*`` and, for a bag of words, ``codebook``.
        validation: its predictions, temperature included, thresholds not.
        history: of each fit or epoch.
        at: seconds since the run began at which it was ready; None of what was ready before.
        snapshots: what training passed through on its way, where it was to be kept.
    """

    name: str
    detail: str
    seconds: float
    architecture: Mapping[str, Any] | None
    weights: Mapping[str, NDArray[Any]]
    validation: Predictions
    history: tuple[Line, ...] = ()
    at: float | None = 0.0
    snapshots: tuple[Rung, ...] = ()

    def metrics(self) -> dict[str, Score]:
        """Scores for the ladder's table."""
        names = ("micro_f1", "macro_f1") if self.validation.task == "multilabel" else ("accuracy", "balanced_accuracy")
        return {name: judge.score(self.validation, name) for name in (*names, "log_loss")}


@dataclass(frozen=True, eq=False)
class Ground:
    """What every rung stands on.

    Attributes:
        table: rows with splits.
        preprocess: of the stored pictures.
        network: of the embeddings.
        vectors: plain embeddings ``[N, D]``, rows as in the table; D is 0 where the network is untrained.
        views: further embeddings of the train rows, ``[T, D]`` each.
        view_names: of these.
        seed: of everything that draws.
        teaching: what a teacher said of the train rows, for the rung that learns from it.
    """

    table: Manifest
    preprocess: Preprocess
    network: Network
    vectors: NDArray[np.floating[Any]]
    views: tuple[NDArray[np.floating[Any]], ...]
    view_names: tuple[str, ...]
    seed: int
    teaching: Teaching | None = None

    @property
    def untrained(self) -> bool:
        """Whether the network has random weights, so that there are no embeddings."""
        return not self.vectors.shape[1]

    @property
    def y(self) -> Integers:
        return targets(self.table)

    def labelled(self, split: str) -> NDArray[np.bool_]:
        """Rows of a split that have a label."""
        where = np.asarray(self.table.splits == split, bool)
        return where & (self.y >= 0) if self.y.ndim == 1 else where

    def predictions(self, logits: Floats, some: Integers | slice = slice(None)) -> Predictions:
        """Of the labelled validation rows, or of some of these, with a temperature of their own."""
        held = np.flatnonzero(self.labelled("validation"))[some]
        table = self.table
        t = temperature(logits, self.y[held], table.task)
        return Predictions(table.ids[held], logits, self.y[held], table.classes, table.task, temperature=t)

    def loss(self, logits: Floats) -> float:
        """Validation log loss after the best temperature: a scale that calibration mends anyway is no fault."""
        return self.judged(logits)[0]

    def judged(self, logits: Floats, some: Integers | slice = slice(None)) -> tuple[float, float]:
        """That loss, and the headline score."""
        p = self.predictions(logits, some)
        case = probabilities(p), p.labels, decisions(p), p.task
        return log_loss(*case), METRICS[judge.headline(p.task)](*case)


def check(names: Sequence[str], *, untrained: bool = False) -> None:
    """Refuse rungs that do not exist, all at once, and those that need what is not there.

    Args:
        names: the ladder.
        untrained: whether the network has random weights.

    Raises:
        UsageError: naming them and what there is.
    """
    descriptors, classifiers = tuple(classical.DESCRIPTORS), tuple(classical.CLASSIFIERS)
    first = (MAJORITY, SCRATCH) if untrained else (MAJORITY, PROBE, FINETUNE)
    if not untrained:
        descriptors = (EMBEDDING, *descriptors)
    known = {*first} | {f"{d}+{c}" for d in descriptors for c in classifiers}
    if wrong := [name for name in names if name not in known]:
        raise UsageError(
            f"no rung is called {', '.join(map(repr, wrong))}"
            + (" where the network has no weights" if untrained else ""),
            allowed=f"{', '.join(first)}, or A+B with A of {', '.join(descriptors)} and B of {', '.join(classifiers)}",
            next=f"--ladder {','.join(FROM_SCRATCH if untrained else LADDER)}",
        )
    if FINETUNE in names and PROBE not in names:
        raise UsageError(
            f"{FINETUNE} starts from the probe, which this ladder leaves out", next=f"--ladder {PROBE},{FINETUNE}"
        )
    if not set(names) - {MAJORITY}:
        raise UsageError("a ladder that holds nothing to choose", next=f"--ladder {MAJORITY},{PROBE}")


def foothold(names: Sequence[str]) -> str:
    """The rung that is climbed however short the time is: the probe, or else the last one that can become a bundle."""
    if SCRATCH in names:
        return SCRATCH
    return PROBE if PROBE in names else [name for name in names if name != MAJORITY][-1]


def climb(name: str, ground: Ground) -> Rung:
    """Train one rung on the train rows and let it answer the validation rows; or take both from the store."""
    spec = [asdict(ground.preprocess), ground.network.digest, list(ground.view_names), ground.seed]

    def make() -> tuple[kept.Arrays, dict[str, Any]]:
        rung = _made(name, ground)
        facts = {
            "detail": rung.detail,
            "seconds": rung.seconds,
            "architecture": rung.architecture,
            "history": [asdict(line) for line in rung.history],
        }
        return {**rung.weights, VALIDATION: rung.validation.logits}, facts

    if name == NEAREST:  # its weights are the embeddings themselves, which the store has already
        return _made(name, ground)
    arrays, facts = kept.through("rungs", kept.key(ground.table, name, *spec), make)
    logits = ground.predictions(arrays.pop(VALIDATION))
    history = tuple(Line(**line) for line in facts["history"])
    return Rung(name, facts["detail"], facts["seconds"], facts["architecture"], arrays, logits, history)


def _made(name: str, ground: Ground) -> Rung:
    begin = time.perf_counter()
    descriptor, _, classifier = name.partition("+")
    if name == MAJORITY:
        made = _majority(ground)
    elif name == PROBE:
        made = _probe(ground)
    elif descriptor == EMBEDDING:
        made = _on(ground, ground.vectors, classifier, {**_backbone(ground), "classifier": classifier}, {})
    else:
        made = _classical(ground, descriptor, classifier)
    return replace(made, name=name, seconds=time.perf_counter() - begin)


def best(rungs: Sequence[Rung]) -> Rung:
    """Of the rungs whose headline score on validation is within a standard error of the highest, that with the lowest log loss.

    A few hundred images cannot tell such scores apart, and the log loss, to which every image adds by how sure it was answered,
    is the steadier of the two (the one-standard-error rule of Breiman et al. 1984, with the loss in the place of simplicity).
    """
    standing = [rung for rung in rungs if rung.architecture is not None]
    scores = [judge.score(rung.validation, judge.headline(rung.validation.task)) for rung in standing]
    top = max(scores, key=lambda score: score.value)
    bar = top.value - (top.high - top.low) / (2 * DEVIATIONS)

    def loss(rung: Rung) -> float:
        p = rung.validation
        return log_loss(probabilities(p), p.labels, decisions(p), p.task)

    return min((rung for rung, score in zip(standing, scores, strict=True) if score.value >= bar), key=loss)


def headline(rung: Rung) -> str:
    """Its headline score on validation, in words."""
    name = judge.headline(rung.validation.task)
    score = rung.metrics()[name]
    return f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f}) validation {name.replace('_', ' ')}"


def _majority(ground: Ground) -> Rung:
    train, held = ground.labelled("train"), int(ground.labelled("validation").sum())
    y, k = ground.y[train], len(ground.table.classes)
    if y.ndim == 2:
        share = (y.sum(axis=0) + 0.5) / (len(y) + 1)
        prior = np.log(share / (1 - share))
    else:
        prior = np.log((np.bincount(y, minlength=k) + 0.5) / (len(y) + 0.5 * k))
    z = np.tile(prior.astype(np.float32), (held, 1))
    return Rung("", "always the most frequent class", 0, None, {}, ground.predictions(z))


def _backbone(ground: Ground) -> dict[str, Any]:
    backbone = ground.network.backbone
    return {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}


def _probe(ground: Ground) -> Rung:
    """Logistic regression on all stages and views; its strength is chosen on (at most 8,000) train rows, then all are used."""
    train, held = np.flatnonzero(ground.labelled("train")), ground.labelled("validation")
    y, k = ground.y, len(ground.table.classes)
    inside = np.flatnonzero(ground.labelled("train")[in_split(ground.table, "train")])  # views hold train rows alone
    x: NDArray[np.floating[Any]] = ground.vectors[train]
    if ground.views:
        x = np.concatenate([x, *(view[inside] for view in ground.views)])
    labels = np.concatenate([y[train]] * (1 + len(ground.views)))
    some = np.sort(np.random.default_rng(ground.seed).permutation(len(x))[:MOST_FOR_SEARCH])
    x_held = np.asarray(ground.vectors[held], np.float32)
    begin, seen = time.perf_counter(), []

    def judged(head: probe.Arrays) -> float:
        loss, score = ground.judged(probe.logits(head, x_held))
        seen.append((round(time.perf_counter() - begin, 3), loss, score))
        return loss

    head, strength, tried = probe.search(x[some], labels[some], k, judged)
    if len(some) < len(x):
        head = probe.fit(x, labels, k, strength=strength)
    z = probe.logits(head, x_held)
    views = f", {1 + len(ground.views)} views" if ground.views else ""
    stages = f"{len(ground.network.backbone.stages) + 1} stages"
    detail = f"logistic regression on {x.shape[1]:,} features of {stages}{views}, L2 {strength:g}"
    weights: dict[str, NDArray[Any]] = {f"head.{key}": value for key, value in head.items()}
    history = tuple(
        Line(number, seconds, l2=l2, validation_loss=loss, validation_score=score)
        for number, ((l2, _), (seconds, loss, score)) in enumerate(zip(tried, seen, strict=True), 1)
    )
    return Rung("", detail, 0, _backbone(ground), weights, ground.predictions(z), history)


def _classical(ground: Ground, descriptor: str, classifier: str) -> Rung:
    extra: dict[str, NDArray[Any]] = {}
    described_by = classical.DESCRIPTORS[descriptor]
    if described_by.words:
        train = np.flatnonzero(ground.labelled("train"))
        some = np.sort(np.random.default_rng(ground.seed).permutation(train)[:WORD_PICTURES])
        side = described_by.size
        extra["codebook"] = classical.codebook(_squares(ground, some, side), described_by.words, ground.seed)
    function: Callable[..., Floats] = described(descriptor, extra)
    architecture = {"kind": "classical", "descriptor": descriptor, "classifier": classifier}
    key, spec = describer_key(descriptor, extra), ground.preprocess
    # not named here: ``_on`` lets all rows go as soon as it has its own
    return _on(ground, describe(ground.table, key, function, spec, square=True), classifier, architecture, extra)


def _squares(ground: Ground, where: NDArray[Any], side: int) -> Any:
    for picture in pictures(rows(ground.table, where), ground.preprocess):
        yield to_side(fit(picture, ground.preprocess), side)


def _on(
    ground: Ground,
    x: NDArray[np.floating[Any]],
    classifier: str,
    architecture: Mapping[str, Any],
    extra: Mapping[str, NDArray[Any]],
) -> Rung:
    train, held = np.flatnonzero(ground.labelled("train")), ground.labelled("validation")
    detail = f"{x.shape[1]:,} features"
    if classifier == "knn" and len(train) > MOST_NEIGHBOURS:
        train = np.sort(np.random.default_rng(ground.seed).permutation(train)[:MOST_NEIGHBOURS])
        detail += f", {MOST_NEIGHBOURS:,} of the train images as neighbours"
    trained = classical.CLASSIFIERS[classifier]
    k = len(ground.table.classes)
    known, asked = np.asarray(x[train], np.float32), np.asarray(x[held], np.float32)
    del x
    arrays = trained.fit(known, ground.y[train], k, ground.seed)
    z = trained.logits(arrays, asked)
    weights = {**{f"classifier.{key}": value for key, value in arrays.items()}, **extra}
    return Rung("", detail, 0, architecture, weights, ground.predictions(z))
