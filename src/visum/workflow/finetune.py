"""The last rung: a network is trained on this data set, its end alone, all of it, or from random weights.

Fine-tuning cuts the network: the prefix sees each train picture once per augmented view and its maps stay in the store; the
suffix starts with the probe behind it and is trained on them. Where nothing is cut off, pictures come freshly augmented in every
epoch instead. How deep the cut lies, how many epochs and how many views there are is decided before it begins, from the time that
is left and what one step was seen to cost here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.data.drawn import beside, drawn, sides, squares
from visum.learn import probe
from visum.models import compiled, heads, pools, prefix, uncertain, zoo
from visum.models.embed import Augmented, Network, View, reader
from visum.models.prefix import WHOLE
from visum.models.weights import digest_of_weights
from visum.runtime import Stage, no_step, threads
from visum.types import Floats, Manifest, Predictions, rows
from visum.workflow import crew
from visum.workflow.course import WRITE, Course, batch_size
from visum.workflow.history import of_epochs
from visum.workflow.ladder import FINETUNE, SCRATCH, Ground, Rung
from visum.workflow.tuning import Tuning

if TYPE_CHECKING:
    import torch

    from visum.learn.loop import Trained
    from visum.workflow.lesson import Lesson

SHARES = (1.0, 0.75, 0.5)
"""Of the way from the probe to what was trained: the best on validation is taken, the first among equals."""
START = 0.01
"""Spread of the weights of a new last layer."""


def prepared(
    ground: Ground, start: Rung | None, tuning: Tuning, way: Course, stage: Stage
) -> tuple[Lesson, prefix.Halves]:
    """The network cut, its prefix's maps in the store, and the rest ready to be trained. Loads torch.

    Args:
        ground: rows, embeddings, network.
        start: the probe's rung; None from scratch.
        tuning, way: what to do.
        stage: told of pictures that passed the prefix.
    """
    import torch

    from visum.learn import harden, stochastic_depth, transfer
    from visum.workflow import lesson

    torch.set_num_threads(threads())
    halves = prefix.split(prefix.with_pool(ground.network.backbone, tuning.pool), way.cut)
    train, held = (rows(ground.table, np.flatnonzero(ground.labelled(split))) for split in ("train", "validation"))
    if way.cut == WHOLE:
        growing = sides(ground.preprocess.size, tuning.start_size, way.epochs)
        views = harden.VIEWS if tuning.harden == harden.AUGMIX else 1
        read = _pixels(train, ground, tuning.augment, growing, views)
        still = _pixels(held, ground, "none", growing[-1:])
    else:
        read, still = _maps(train, held, ground, tuning, way, halves.shape, stage)
    with torch.no_grad():
        width = halves.suffix.eval()(still(0, np.arange(1))).shape[1]
    if tuning.drop_path:
        stochastic_depth.fill(halves.suffix, tuning.drop_path)
    mean, spread, weight, bias = _head(ground, start, width, pools.added(tuning.pool))
    model = transfer.Classifier(halves.suffix, mean, spread, weight, bias, tuning.dropout, tuning.head, tuning.scale)
    model.to(memory_format=torch.channels_last)
    made = lesson.prepared(
        *(ground, model, read, still, tuning, batch_size(ground, tuning)), trained=start is not None, team=crew.team()
    )
    return made, halves


def climb(
    ground: Ground, start: Rung | None, tuning: Tuning, way: Course, left: float | None, folder: Path, stage: Stage
) -> Rung:
    """Train what lies behind the cut and let it answer the validation rows.

    Args:
        ground: rows, embeddings, network.
        start: the probe's rung; None from scratch.
        tuning, way: what to do.
        left: seconds; no epoch is begun that would not end within them. None for no limit.
        folder: of checkpoints.
        stage: told of finished images.
    """
    import torch

    from visum.workflow import lesson, trial

    begin = time.perf_counter()
    made, halves = prepared(ground, start, tuning, way, stage)
    model = made.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        from_here = lesson.score(ground, made, model.eval())[0] if start else -math.inf
    if tuning.learning_rate is None:
        rate = trial.rate(ground, made, -from_here, _key(ground, way)) if start else trial.usual(tuning.optimiser)
        tuning = replace(tuning, learning_rate=rate)
        made = replace(made, tuning=tuning)

    def room(longest: float) -> float:
        return math.inf if left is None else (left - WRITE - (time.perf_counter() - begin)) // longest

    # engines cannot be sent, and will not be needed: all maps are in the store
    crew.call(accompany, replace(ground, network=replace(ground.network)), start, tuning, way, folder, from_here)
    trained = _taught(ground, made, way, folder, from_here, room, stage)
    with torch.no_grad():
        share = _part_of_the_way(ground, made, before) if start and trained.best else 1.0
    best = f"best of {len(trained.history)} epochs: {trained.best}" if trained.best else "no epoch beat the probe"
    if share < 1:
        best += f", {100 * share:.0f} % of the way from the probe to it"
    views = "views" if way.cut != WHOLE else "pictures"
    detail = f"trained {way.where}, {tuning.optimiser} {tuning.learning_rate:g}, {tuning.augment} {views}"
    history = of_epochs(trained.history, (time.perf_counter() - begin) - (time.monotonic() - trained.began))
    rung = Rung(FINETUNE if start else SCRATCH, f"{detail}, {best}", 0, *_shipped(ground, made, halves), history)
    snapshots = tuple(
        Rung(f"{rung.name} {number}", f"{detail}, round {number} of {tuning.snapshots}", 0, *parts)
        for number, parts in _snapshots(ground, made, halves, way, folder)
    )
    return replace(rung, seconds=time.perf_counter() - begin, snapshots=snapshots)


def _shipped(
    ground: Ground, made: Lesson, halves: prefix.Halves
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], Predictions]:
    """Of the network as it is now: the architecture and weights of its bundle, and its answers to the validation rows."""
    import torch

    model, tuning = made.model, made.tuning
    backbone = prefix.with_pool(ground.network.backbone, tuning.pool)
    with torch.no_grad():
        z = made.logits(model)
    tensors = prefix.merged(backbone, prefix.tensors(model.suffix))
    tuned = replace(backbone, weights=tensors, stages=halves.stages, digest=digest_of_weights(tensors))
    compiled.write_graph(tuned, ground.preprocess)
    architecture: dict[str, Any] = {"kind": "probe", "backbone": backbone.name, "stages": list(halves.stages)}
    if tuning.pool != pools.MEAN:
        architecture["pool"] = tuning.pool
    place = "head"
    if tuning.head != heads.LINEAR:
        architecture["classifier"], place = tuning.head, "classifier"
    weights: dict[str, NDArray[Any]] = {f"{place}.{key}": value for key, value in model.arrays().items()}
    weights.update({f"backbone.{key}": value for key, value in tensors.items()})
    if tuning.dropout:
        architecture[uncertain.RATE], weights[uncertain.MEAN] = tuning.dropout, model.mean.cpu().numpy().copy()
    return architecture, weights, ground.predictions(z)


def _snapshots(
    ground: Ground, made: Lesson, halves: prefix.Halves, way: Course, folder: Path
) -> Iterator[tuple[int, tuple[dict[str, Any], dict[str, NDArray[Any]], Predictions]]]:
    """(Number, what is shipped of it) of each round that is over; leaves the model with the weights of the last one."""
    from visum.learn import checkpoint
    from visum.workflow import lesson

    rounds = made.tuning.snapshots if made.tuning.snapshots > 1 else 0
    own = lesson.key_of(ground, made, way.epochs, _key(ground, way))
    for number in range(1, rounds + 1):
        weights = checkpoint.read_weights(lesson.snapshot(folder, number), own)
        if weights is not None:
            made.model.load_state_dict(weights)
            yield number, _shipped(ground, made, halves)


def accompany(ground: Ground, start: Rung | None, tuning: Tuning, way: Course, folder: Path, from_here: float) -> None:
    """What the other processes do while the first one climbs: prepare the same lesson, and be taught it together."""
    made, _ = prepared(ground, start, tuning, way, Stage(no_step))
    _taught(ground, made, way, folder, from_here, lambda _: math.inf, Stage(no_step))


def _taught(
    ground: Ground,
    made: Lesson,
    way: Course,
    folder: Path,
    from_here: float,
    room: Callable[[float], float],
    stage: Stage,
) -> Trained:
    from visum.workflow import lesson

    return lesson.taught(
        *(ground, made, way.epochs),
        start=from_here,
        room=room,
        folder=folder,
        key=_key(ground, way),
        stage=stage,
        team=crew.team(),
    )


def _key(ground: Ground, way: Course) -> list[Any]:
    return [asdict(way), ground.network.digest]


def _part_of_the_way(ground: Ground, made: Lesson, before: Mapping[str, torch.Tensor]) -> float:
    """Leave the model with the weights between ``before`` and its own that answer the validation rows best; their share."""
    from visum.learn import transfer
    from visum.workflow import lesson

    after = {name: value.clone() for name, value in made.model.state_dict().items()}

    def score(share: float) -> float:
        made.model.load_state_dict(transfer.between(before, after, share))
        return lesson.score(ground, made, made.model)[0]

    best = max(SHARES, key=score)
    made.model.load_state_dict(transfer.between(before, after, best))
    return best


def _head(ground: Ground, start: Rung | None, width: int, new: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean and spread of the ``width`` features that the head sees, and a linear layer on them: the probe, or a new one.

    The last ``new`` features are of a pool that the probe did not know, and start without a say: rows of length 1.
    """
    k, old = len(ground.table.classes), width - new
    further = np.full(new, max(new, 1) ** -0.5, np.float32)
    if start is None:
        weight = np.random.default_rng(ground.seed).normal(0, START, (width, k)).astype(np.float32)
        spread = np.concatenate([np.ones(old, np.float32), further])
        return np.zeros(width, np.float32), spread, weight, np.zeros(k, np.float32)
    train = ground.labelled("train")
    vectors = np.asarray(ground.vectors[train][:, -old:], np.float32)
    weight, bias = start.weights["head.weight"], start.weights["head.bias"]
    if len(weight) != old:  # the cut leaves out stages that the probe had seen
        head = probe.fit(vectors, ground.y[train], k)
        weight, bias = head["weight"], head["bias"]
    weight = np.concatenate([weight, np.zeros((new, k), np.float32)])
    spread = np.concatenate([vectors.std(0) + np.float32(1e-3), further])
    return np.concatenate([vectors.mean(0), np.zeros(new, np.float32)]), spread, weight, bias


def _pixels(
    table: Manifest, ground: Ground, augment: str, growing: tuple[int, ...], views: int = 1
) -> Callable[[int, NDArray[Any]], torch.Tensor]:
    """(Epoch, row numbers) → normalised pixels of fresh views, float32 ``[B, 3, S, S]`` in channels-last memory.

    Args:
        table: the rows.
        ground: preprocessing and seed.
        augment: of ``data.augment``.
        growing: S of each epoch; that of the last one stays.
        views: more than one: each picture with mixtures of itself beside it (AugMix), ``[B, views, 3, S, S]``.
    """
    import torch
    from torch.nn import functional

    spec = ground.preprocess
    normalise = zoo.Normalise(spec)
    pictures = drawn(table, spec, augment, ground.seed, squares(table, spec))

    def read(epoch: int, where: NDArray[Any]) -> torch.Tensor:
        plain = pictures(epoch, where)
        if views > 1:
            plain = beside(plain, views, seed=ground.seed, epoch=epoch, keys=table.sha256[where].tolist())
        with torch.no_grad():
            x: torch.Tensor = normalise(torch.from_numpy(plain))
            side = growing[min(epoch, len(growing) - 1)]
            if side < spec.size:
                x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        return x.reshape(-1, views, *x.shape[1:]) if views > 1 else x

    return read


def _maps(
    train: Manifest, held: Manifest, ground: Ground, tuning: Tuning, way: Course, shape: tuple[int, ...], stage: Stage
) -> tuple[Callable[[int, NDArray[Any]], torch.Tensor], ...]:
    """The same of the prefix's maps, ``[B, C, H, W]``: of augmented views of the train rows, of the plain validation rows."""
    import torch

    front = replace(ground.network, backbone=replace(ground.network.backbone, cut=way.cut))
    if not compiled.graph_path(front.backbone, front.preprocess).is_file():
        compiled.write_graph(front.backbone, front.preprocess)  # torch is here already; a child would load it again
    views: list[View] = [Augmented(tuning.augment, ground.seed, view) for view in range(way.views)]
    if tuning.augment == "none":
        views = ["plain"]

    def stored(table: Manifest, network: Network, view: View) -> Callable[[NDArray[Any]], torch.Tensor]:
        read = reader(table, network, view, step=stage.step)

        def maps(where: NDArray[Any]) -> torch.Tensor:
            x = read(where).astype(np.float32).reshape(len(where), *shape)
            return torch.from_numpy(x).to(memory_format=torch.channels_last)

        return maps

    seen = [stored(train, front, view) for view in views]
    unseen = stored(held, front, "plain")
    return lambda epoch, where: seen[epoch % len(seen)](where), lambda _, where: unseen(where)
