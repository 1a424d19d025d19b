"""``visum explain BUNDLE FILES --neighbours`` and ``--prototypes DATA``: examples instead of maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum.data import sources
from visum.errors import NotEnoughData
from visum.explain import examples, influence
from visum.learn import probe
from visum.models import predict as running
from visum.models import stages as inside
from visum.models.embed import embed
from visum.runtime import Stages
from visum.types import Bundle, Floats, Integers, Manifest, decisions, probabilities, said, targets
from visum.workflow import insight, origin, ready
from visum.workflow.checked import checked
from visum.workflow.thumbnails import thumbnails

COUNT = 8
"""Pictures in a row."""
LEAST = 10
STRENGTH = 0.03
"""L2 penalty of the probe whose training pictures are weighed: the default of ``learn.probe``."""
MOST = 60
"""Pictures, or classes, on a page."""
_QUERIES = 32


@dataclass(frozen=True)
class Like:
    """A training picture beside another one.

    Attributes:
        id: its path.
        label: its classes, as they are written in the data.
        distance: cosine distance of standardised embeddings: 0 (the same) … 1 (unrelated) … 2.
        effect: how much surer, in nats of log loss, the answer is for this picture being there; negative: less sure.
    """

    id: str
    label: str
    distance: float
    effect: float


@dataclass(frozen=True)
class Examples:
    """Examples for one picture.

    Attributes:
        id: the picture.
        answer: what the bundle says, and ``probability`` how surely (calibrated).
        nearest: training pictures, nearest first; the picture itself is left out where it is among them.
        helped, hurt: training pictures without which the probe would be less, or more, sure of this answer; strongest first.
    """

    id: str
    answer: str
    probability: float
    nearest: tuple[Like, ...]
    helped: tuple[Like, ...]
    hurt: tuple[Like, ...]


@dataclass(frozen=True)
class Typical:
    """A class by its pictures.

    Attributes:
        name: of the class; ``n`` pictures are labelled so.
        prototypes: ids of pictures that stand for it.
        criticisms: ids of pictures that these do not stand for.
    """

    name: str
    n: int
    prototypes: tuple[str, ...]
    criticisms: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Bank:
    """Training pictures as a head sees them: standardised embeddings ``[N, D]``."""

    table: Manifest
    raw: Any
    x: Floats
    y: Integers


@checked
def explain_examples(
    bundle: Path,
    paths: tuple[str, ...],
    *,
    data: Path | None = None,
    out: Path | None = None,
    count: int = COUNT,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
) -> list[Examples]:
    """The training pictures nearest to each picture, and those that most helped or hurt what the bundle says of it.

    Help and hurt are those of a linear probe on the bundle's own features, fitted to the same training pictures: what its loss
    for this answer would be without one of them, in closed form (``explain.influence``).

    Args:
        bundle: folder of a bundle or of a run.
        paths: of files and folders.
        data: the training images, where no run lies around the bundle; of data with splits, train.
        out: folder for ``examples.html``; None writes nothing.
        count: examples in a row.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.

    Raises:
        UsageError: no run lies around the bundle, and no data is given.
        ModelError: a classical bundle or an ensemble.
        NotEnoughData: fewer than ten training images.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    stages = Stages()
    with stages.stage("read"):
        shipped = origin.opened(bundle)
        inside.check(shipped, "--neighbours")
        table = sources.images(list(paths))
        known = insight.training(bundle, data, shipped)
    model = running.Model(shipped, engine)
    table, _ = insight.indexed(table, shipped.preprocess, stages, extra_formats)
    bank = _bank(known, model, stages, extra_formats)
    with stages.stage("embed", len(table)) as stage:
        raw = _features(table, model, stage.step)
        logits = model.head(raw)
    x = examples.standardised(raw, bank.raw)
    with stages.stage("fit") as stage:
        head = probe.fit(bank.x, bank.y, len(shipped.classes), strength=STRENGTH)
        stage.detail = f"a probe on {len(bank.x):,} training images"
    told = said(shipped, logits)
    p, answers = probabilities(told), decisions(told)
    found: list[Examples] = []
    with stages.stage("weigh", len(table)) as stage:
        for at in range(0, len(table), _QUERIES):
            some = slice(at, at + _QUERIES)
            same = table.sha256[some][:, None] == bank.table.sha256[None, :]
            near, far = examples.nearest(x[some], bank.x, len(bank.x), np.asarray(same, bool))
            effects = influence.effects(
                bank.x, bank.y, head["weight"], head["bias"], STRENGTH, x[some], answers[some], shipped.task
            )
            for row, name in enumerate(table.ids[some].tolist()):
                words, sure = _said(shipped, answers[at + row], p[at + row])
                found.append(_one(name, words, sure, bank, near[row], far[row], effects[row], count))
            stage.step(len(near))
    if out is not None:
        from visum.explain import examples_page

        pictures = thumbnails(table, shipped.preprocess)
        others = thumbnails(bank.table, shipped.preprocess)
        page = examples_page.neighbours(found[:MOST], len(found), origin.name(bundle), len(bank.x), pictures, others)
        insight.write_page(out, "examples.html", page)
    return found


def _bank(known: Manifest, model: running.Model, stages: Stages, extra: Sequence[str]) -> _Bank:
    spec = model.bundle.preprocess
    known, _ = insight.indexed(known, spec, stages, extra)
    insight.enough(len(known), LEAST, "readable training images", "examples")
    with stages.stage("embed training", len(known)) as stage:
        raw = _features(known, model, stage.step)
    return _Bank(known, raw, examples.standardised(raw, raw), targets(known))


def _features(table: Manifest, model: running.Model, step: Callable[[int], None]) -> Any:
    return embed(table, model.network, step=step)["plain"].vectors[:, model.stage_columns]


def _said(shipped: Bundle, answer: Any, p: Floats) -> tuple[str, float]:
    if np.ndim(answer):
        chosen = np.flatnonzero(answer)
        return ", ".join(shipped.classes[k] for k in chosen) or "none", float(
            p[chosen].min() if len(chosen) else 1 - p.max()
        )
    return shipped.classes[int(answer)], float(p[int(answer)])


def _one(
    name: str,
    said: str,
    sure: float,
    bank: _Bank,
    near: Integers,
    far: Floats,
    effects: Floats,
    count: int,
) -> Examples:
    distance = np.empty(len(near), np.float32)
    distance[near] = far

    def like(row: int) -> Like:
        label = ", ".join(bank.table.classes[k] for k in bank.table.labels[row]) or "none"
        return Like(bank.table.ids[row], label, float(distance[row]), float(effects[row]))

    there = np.isfinite(distance)
    order = np.argsort(-effects, kind="stable")
    order = order[there[order]]
    return Examples(
        name,
        said,
        sure,
        tuple(like(int(row)) for row in near[:count] if there[row]),
        tuple(like(int(row)) for row in order[:count] if effects[row] > 0),
        tuple(like(int(row)) for row in order[::-1][:count] if effects[row] < 0),
    )


@checked
def explain_prototypes(
    bundle: Path,
    data: Path,
    *,
    out: Path | None = None,
    count: int = COUNT,
    most: int = 1000,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> list[Typical]:
    """Pictures that stand for each class as the bundle sees them, and pictures that they do not stand for.

    Args:
        bundle: folder of a bundle or of a run.
        data: labelled images, as for ``train``; of data with splits, train.
        out: folder for ``prototypes.html``; None writes nothing.
        count: of each, for each class.
        most: images of a class, drawn where there are more.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of what is drawn.

    Raises:
        ModelError: a classical bundle or an ensemble.
        NotEnoughData: no class with more images than examples are wanted.
    """
    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    stages = Stages()
    with stages.stage("read"):
        shipped = origin.opened(bundle)
        inside.check(shipped, "--prototypes")
        known = insight.training(bundle, data, shipped)
    bank = _bank(known, running.Model(shipped, engine), stages, extra_formats)
    found = []
    with stages.stage("choose", len(shipped.classes)) as stage:
        for k, name in enumerate(shipped.classes):
            mine = np.flatnonzero(bank.y[:, k] if bank.y.ndim == 2 else bank.y == k)
            stage.step(1)
            if len(mine) < 2:
                continue
            some = mine[insight.drawn(len(mine), most, seed)]
            between = examples.kernel(bank.x[some])
            chosen = examples.prototypes(between, count)
            odd = examples.criticisms(between, chosen, count)
            ids = bank.table.ids[some]
            found.append(Typical(name, len(mine), tuple(ids[chosen]), tuple(ids[odd])))
    if not found:
        raise NotEnoughData(
            f"no class of {data} has two readable images", allowed="two or more of a class", next="more images"
        )
    if out is not None:
        from visum.explain import examples_page

        pictures = thumbnails(bank.table, shipped.preprocess)
        page = examples_page.prototypes(found[:MOST], len(found), origin.name(bundle), len(bank.x), pictures)
        insight.write_page(out, "prototypes.html", page)
    return found


def as_json(found: Sequence[Examples] | Sequence[Typical]) -> list[dict[str, Any]]:
    """Plain values."""
    return [asdict(each) for each in found]
