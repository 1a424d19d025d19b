"""``visum explain BUNDLE --layers DATA``: what early, middle and late layers of a network know, measured by linear probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum.data.pixels import pixel_key
from visum.explain import attributes, similarity
from visum.judge import evaluate as judge
from visum.learn import probe
from visum.models import stages as inside
from visum.models.embed import describe, embed
from visum.runtime import Stages
from visum.types import (
    Bundle,
    Column,
    Floats,
    Integers,
    Manifest,
    Pixels,
    Predictions,
    Task,
    column,
    in_split,
    rows,
    targets,
)
from visum.workflow import insight, origin, ready
from visum.workflow.checked import checked

MOST = 1000
"""Pictures that are looked at, unless told otherwise."""
LEAST = 60
"""Pictures without which no probe is trained: two thirds to learn from, and intervals narrower than half the scale."""
PIXELS = "pixels"
"""The first column of every chart: a probe on the picture itself, shrunk to 8 x 8."""
TASK = "class"
STRENGTHS = (0.1, 0.01, 0.001)
_FOLDS = 5
_TINY = 8


@dataclass(frozen=True)
class Known:
    """What the stages know of one thing.

    Attributes:
        name: ``class``, or a key of ``attributes.ATTRIBUTES``.
        words: for people.
        metric: accuracy, or auc_roc where pictures may have several labels.
        chance: what guessing reaches: the share of the commonest class.
        n: pictures that were judged by.
        scores: stage → (value, low, high), the pixels first; 95 % intervals.
    """

    name: str
    words: str
    metric: str
    chance: float
    n: int
    scores: dict[str, tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Layers:
    """What ``explain_layers`` found.

    Attributes:
        stages: in the order of the network.
        known: the task first, then the attributes.
        learnt: pictures that probes were trained on.
        judged: pictures that they were judged by.
        how: split (trained on train, judged by validation) or folds (every picture judged by a probe that never saw it).
        seen: of the judged pictures, those that the network may have been trained on.
        alike: unbiased CKA between stages, float64 ``[S, S]``.
        against: stages of the other model.
        across: CKA of each stage with each of the other model's, float64 ``[S, T]``; None without one.
        seconds: all in all.
    """

    stages: tuple[str, ...]
    known: tuple[Known, ...]
    learnt: int
    judged: int
    how: str
    seen: int
    alike: similarity.Array
    against: tuple[str, ...]
    across: similarity.Array | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        facts = {key: getattr(self, key) for key in ("stages", "learnt", "judged", "how", "seen", "against", "seconds")}
        return facts | {
            "known": [
                {
                    **{key: getattr(each, key) for key in ("name", "words", "metric", "chance", "n")},
                    "scores": {
                        stage: dict(zip(("value", "low", "high"), map(insight.plain, score), strict=True))
                        for stage, score in each.scores.items()
                    },
                }
                for each in self.known
            ],
            "cka": _listed(self.alike),
            "cka_against": None if self.across is None else _listed(self.across),
        }


@dataclass(frozen=True, eq=False)
class _Ground:
    """Pictures, and how probes are judged: by ``held`` rows, or, where there are none, in folds."""

    table: Manifest
    held: Any
    folds: Integers


@checked
def explain_layers(
    bundle: Path,
    data: Path,
    *,
    against: Path | None = None,
    out: Path | None = None,
    most: int = MOST,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Layers:
    """What each stage of a bundle's network knows of its classes, of edges, colour and texture; and how alike stages are.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled images, as for ``train``. Test images stay sealed: probes learn from train and are judged by validation;
            where there are no such splits, every image is judged by a probe that never saw it.
        against: another bundle, whose stages are compared with these.
        out: folder for ``layers.html``; None writes nothing.
        most: images, drawn so that each class keeps its share.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of what is drawn.

    Raises:
        ModelError: a classical bundle or an ensemble.
        NotEnoughData: fewer images than probes need.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    stages = Stages()
    with stages.stage("read"):
        shipped = origin.opened(bundle)
        inside.check(shipped, "--layers")
        other = None
        if against is not None:
            other = origin.opened(against)
            inside.check(other, "--against")
        table = insight.labelled(data, shipped)
    ground = _ground(table, bundle, shipped, most, seed, stages, extra_formats)
    table = ground.table
    names, parts = _stages(shipped, table, engine, stages, "look")
    theirs: tuple[str, ...] = ()
    if other is not None:
        again, _ = insight.indexed(table, other.preprocess, stages, extra_formats)
        theirs, other_parts = _stages(other, again, engine, stages, "look at the other")
    with stages.stage("measure", len(table)) as stage:
        preprocess = shipped.preprocess
        kept = f"attributes{attributes.VERSION}-{pixel_key(preprocess)[:8]}"
        values = describe(table, kept, attributes.measure, preprocess, step=stage.step)
        pixels = describe(table, "tiny1", _tiny, preprocess, square=True)
    with stages.stage("probe", len(parts) + 1) as stage:
        known = _known(shipped, ground, {PIXELS: pixels, **dict(zip(names, parts, strict=True))}, values, stage.step)
    with stages.stage("compare"):
        alike = similarity.matrix(parts)
        across = similarity.matrix(parts, other_parts) if other is not None else None
    seen = origin.trained(origin.table(bundle))
    judged = table.sha256[ground.held] if ground.held is not None else table.sha256
    found = Layers(
        names,
        known,
        len(table) - (len(judged) if ground.held is not None else 0),
        len(judged),
        "split" if ground.held is not None else "folds",
        sum(digest in seen for digest in judged.tolist()),
        alike,
        theirs,
        across,
        round(stages.seconds(), 1),
    )
    if out is not None:
        from visum.explain import layers_page

        name = origin.name(bundle)
        second = origin.name(against) if against is not None else ""
        insight.write_page(out, "layers.html", layers_page.page(found, name, second))
    return found


def _ground(
    table: Manifest, place: Path, shipped: Bundle, most: int, seed: int, stages: Stages, extra: Sequence[str]
) -> _Ground:
    """The pictures that are looked at, read: two parts where there are splits, else folds."""
    train, validation = in_split(table, "train"), in_split(table, "validation")
    if train.sum() >= LEAST and validation.sum() >= LEAST / 2:
        few = min(int(validation.sum()), most // 3)
        picked = [
            np.flatnonzero(mask)[insight.drawn(int(mask.sum()), count, seed, _strata(rows(table, mask)))]
            for mask, count in ((train, most - few), (validation, few))
        ]
        found, _ = insight.indexed(rows(table, np.concatenate(picked)), shipped.preprocess, stages, extra)
        held = in_split(found, "validation")
        insight.enough(int(held.sum()), LEAST // 2, "readable validation images", "a probe")
        return _Ground(found, held, np.zeros(0, np.int64))
    table = rows(table, ~in_split(table, "test")) if (~in_split(table, "test")).sum() >= LEAST else table
    table = rows(table, insight.drawn(len(table), most, seed, _strata(table)))
    insight.enough(len(table), LEAST, "labelled images", "a probe at each layer")
    found, _ = insight.indexed(table, shipped.preprocess, stages, extra)
    insight.enough(len(found), LEAST, "readable images", "a probe at each layer")
    # copies of one file share a fold
    numbers = {digest: at for at, digest in enumerate(dict.fromkeys(found.sha256.tolist()))}
    order = np.random.default_rng(seed).permutation(len(numbers)) % _FOLDS
    return _Ground(found, None, np.array([order[numbers[digest]] for digest in found.sha256], np.int64))


def _strata(table: Manifest) -> Integers | None:
    y = targets(table)
    return y if y.ndim == 1 else None


def _stages(
    shipped: Bundle, table: Manifest, engine: str, stages: Stages, name: str
) -> tuple[tuple[str, ...], list[Floats]]:
    """Names of the stages, and what they gave for each picture, float32 ``[N, D_s]`` each."""
    with stages.stage(name, len(table)) as stage:
        network, columns = inside.network(shipped, inside.names(shipped), engine)
        vectors = np.asarray(embed(table, network, step=stage.step)["plain"].vectors, np.float32)
        stage.detail = f"{len(columns)} stages"
    return tuple(each for each, _, _ in columns), [vectors[:, a:b] for _, a, b in columns]


def _tiny(square: Pixels) -> Floats:
    import cv2

    return np.asarray(cv2.resize(square, (_TINY, _TINY), interpolation=cv2.INTER_AREA), np.float32).ravel()


def _known(shipped: Bundle, ground: _Ground, parts: dict[str, Floats], values: Floats, step: Any) -> tuple[Known, ...]:
    """The scores of probes at every stage, of the task and of every attribute."""
    fitted = ~ground.held if ground.held is not None else np.ones(len(ground.table), bool)
    asked: dict[str, tuple[str, Integers, tuple[str, ...], Task]] = {
        TASK: ("class", targets(ground.table), shipped.classes, shipped.task)
    }
    for at, (name, each) in enumerate(attributes.ATTRIBUTES.items()):
        labels = attributes.quantiles(values[:, at], values[fitted, at])
        asked[name] = (each.words, labels, (each.low, "between", each.high), "multiclass")
    scores: dict[str, dict[str, tuple[float, float, float]]] = {name: {} for name in asked}
    judged = ground.held if ground.held is not None else fitted
    for stage, x in parts.items():
        for name, (_, y, classes, task) in asked.items():
            logits = _answers(x, y, len(classes), ground)
            ids: Column = column(ground.table.ids[judged].tolist())
            thresholds = (0.5,) * len(classes) if task == "multilabel" else (0.5,) if task == "binary" else ()
            told = Predictions(ids, logits, y[judged], classes, task, thresholds=thresholds)
            score = judge.score(told, _metric(task))
            scores[name][stage] = (score.value, score.low, score.high)
        step(1)
    return tuple(
        Known(name, words, _metric(task), _chance(y[judged]), int(judged.sum()), scores[name])
        for name, (words, y, _, task) in asked.items()
    )


def _metric(task: Task) -> str:
    return "auc_roc" if task == "multilabel" else "accuracy"


def _chance(y: Integers) -> float:
    return 0.5 if y.ndim == 2 else float(np.bincount(y).max() / len(y))


def _answers(x: Floats, y: Integers, k: int, ground: _Ground) -> Floats:
    """Logits of the judged rows, by probes of the strength that serves rows that were left out best."""
    if ground.held is not None:
        inner = np.random.default_rng(0).permutation(int((~ground.held).sum())) % 3
        learn, labels = x[~ground.held], y[~ground.held]
        strength = min(STRENGTHS, key=lambda s: _loss(probe.out_of_fold(learn, labels, k, inner, strength=s), labels))
        return probe.logits(probe.fit(learn, labels, k, strength=strength), x[ground.held])
    # one number chosen among three for all folds together looks at what it is judged by, but hardly
    told = [probe.out_of_fold(x, y, k, ground.folds, strength=s) for s in STRENGTHS]
    return min(told, key=lambda each: _loss(each, y))


def _loss(logits: Floats, y: Integers) -> float:
    """Mean log loss in nats."""
    if y.ndim == 2:
        return float((np.logaddexp(0, logits) - y * logits).mean())
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((total - logits[np.arange(len(y)), y]).mean())


def _listed(values: similarity.Array) -> list[list[float | None]]:
    return [[insight.plain(round(float(each), 4)) for each in row] for row in values]
