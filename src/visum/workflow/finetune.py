"""The last rung: the end of the network is trained too, on the cached outputs of its beginning.

The network is cut; the prefix sees each train picture once per augmented view and its maps stay in the store; the suffix starts
with the probe behind it and is trained on them. How deep the cut lies, how many epochs and how many views there are is decided
before it begins, from the time that is left and what one step was seen to cost here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.learn import probe
from visum.models import compiled, prefix
from visum.models.embed import Augmented, Network, View, reader
from visum.models.weights import digest_of_weights
from visum.runtime import Stage, threads
from visum.types import Floats, Manifest, Task, digest_of, rows
from visum.workflow import plan
from visum.workflow.history import of_epochs
from visum.workflow.ladder import FINETUNE, Ground, Rung

if TYPE_CHECKING:
    import torch

AUTO = "auto"
BATCH = 32
LEAST_EPOCHS, ENOUGH_EPOCHS, USUAL_EPOCHS, MOST_EPOCHS = 2, 3, 6, 12
"""Fewer are not worth the cut, a deeper cut is not left for more than enough, usual without a budget, and most with one."""
MOST_SETTABLE = 1000
WORTH = 30.0
"""Seconds below which the rung is not even considered: to load torch, to cut and to measure costs 5 to 8 of them."""
VALIDATE, WRITE, AUGMENT = 0.35, 6.0, 0.001
"""What validating costs of a step for as many pictures; seconds to compile, store and judge what was trained; seconds of one
core for an augmented picture."""


@dataclass(frozen=True)
class Tuning:
    """How a suffix is trained: the settings of ``train`` that are about it. Ranges are those of its signature.

    Attributes:
        cut: the stage after which training begins: auto, none (the whole network), or a stage's name.
        epochs: None: as many as the budget allows, at most ``MOST_EPOCHS``.
        augment: a preset or names of ``data.augment``.
        loss, label_smoothing: of ``learn.losses``; None: the task's default.
        optimiser, learning_rate, weight_decay, layer_decay: of ``learn.optim``.
        schedule, warm_up: of ``learn.schedules``; share of training, 0 … 1.
        mixup: alpha; 0 for none.
        dropout: in front of the last layer.
        ema: largest decay of the moving average of weights; 0 for none.
        clip: largest norm of a gradient; 0 for none.
        unfreeze: of ``learn.transfer``.
        patience: epochs without a better validation loss after which it ends; 0: never.
    """

    cut: str
    epochs: int | None
    augment: str
    loss: str | None
    label_smoothing: float
    optimiser: str
    learning_rate: float
    weight_decay: float
    layer_decay: float
    schedule: str
    warm_up: float
    mixup: float
    dropout: float
    ema: float
    clip: float
    unfreeze: str
    patience: int


@dataclass(frozen=True)
class Course:
    """What was decided: it is kept with the run, so that a run that goes on takes the same course.

    Attributes:
        cut: see ``Tuning``.
        epochs, views: whole numbers.
        seconds: expected for all of it.
    """

    cut: str
    epochs: int
    views: int
    seconds: float

    def steps(self, ground: Ground) -> int:
        """Images that pass the prefix or the suffix, for the progress display."""
        n, held = int(ground.labelled("train").sum()), int(ground.labelled("validation").sum())
        return (self.views + self.epochs) * n + held

    @property
    def words(self) -> str:
        """For the log."""
        views = f"{self.views} augmented view" + ("s" if self.views != 1 else "")
        return f"after {self.cut}, {self.epochs} epochs over {views}: about {self.seconds:.0f} s"


def check(tuning: Tuning, task: Task) -> None:
    """Refuse names that do not exist and a loss that does not fit, before anything is paid for. Loads torch.

    Raises:
        UsageError: naming what there is.
    """
    from visum.data.augment import steps
    from visum.learn import losses, optim, schedules, settings, transfer

    steps(tuning.augment)
    losses.check(tuning.loss or losses.DEFAULT[task], task)
    settings.known_name("optimiser", tuning.optimiser, optim.OPTIMISERS)
    settings.known_name("schedule", tuning.schedule, schedules.SCHEDULES)
    settings.known_name("way to unfreeze", tuning.unfreeze, transfer.UNFREEZE)


def decided(facts: dict[str, Any], ground: Ground, tuning: Tuning, left: float | None) -> Course | None:
    """The course of this run: the one that its record tells of, if it is gone on with, or one that is chosen now."""
    match facts.get("finetune"):
        case {"cut": str(cut), "epochs": int(epochs), "views": int(views), "seconds": int(s) | float(s)}:
            if 1 <= epochs <= MOST_SETTABLE and 1 <= views <= epochs:
                return Course(cut, epochs, views, float(s))
    way = course(ground, tuning, left)
    facts["finetune"] = asdict(way) if way else None
    return way


def course(ground: Ground, tuning: Tuning, left: float | None) -> Course | None:
    """The deepest course that fits into the time that is left; None if not even two epochs behind the last cut fit.

    Args:
        ground: what it stands on.
        tuning: what was asked for.
        left: seconds, or None for no limit.
    """
    if left is not None and left < WORTH:
        return None
    backbone = ground.network.backbone
    stages = prefix.cuts(backbone)
    candidates = [tuning.cut] if tuning.cut != AUTO else list(stages[:-1] or stages)
    n, held = int(ground.labelled("train").sum()), int(ground.labelled("validation").sum())
    whole = plan.speed(ground.network)
    best: Course | None = None
    for cut in candidates:
        if best is not None and best.epochs >= ENOUGH_EPOCHS:
            break
        halves = prefix.split(backbone, cut)
        front, step = _costs(ground, halves, whole)
        kept = storage.cache_limit() // 2 // (2 * n * math.prod(halves.shape))  # views whose maps the store may hold

        def cost(epochs: int, views: int, front: float = front, step: float = step) -> float:
            return WRITE + (held + views * n) * front + epochs * (n + held * VALIDATE) * step

        def views(epochs: int, kept: int = kept) -> int:
            return 1 if tuning.augment == "none" else max(1, min(kept, math.ceil(epochs / 2)))

        if tuning.epochs is not None or left is None:
            epochs = tuning.epochs or USUAL_EPOCHS
        else:
            epochs = max((e for e in range(LEAST_EPOCHS, MOST_EPOCHS + 1) if cost(e, views(e)) <= left), default=0)
        if epochs and (best is None or epochs > best.epochs):
            best = Course(cut, epochs, views(epochs), round(cost(epochs, views(epochs)), 1))
    return best


def _costs(ground: Ground, halves: Any, whole: float) -> tuple[float, float]:
    """Seconds per image of the compiled prefix, augmentation included, and of a training step of the suffix.

    Args:
        whole: seconds per image of the whole network, compiled. The prefix has the share of it that it has in eager PyTorch.
    """
    import torch

    torch.set_num_threads(threads())
    size = ground.preprocess.size
    pixels = torch.zeros(8, size, size, 3, dtype=torch.uint8)
    x = torch.zeros(BATCH, *halves.shape).to(memory_format=torch.channels_last)
    suffix = halves.suffix.to(memory_format=torch.channels_last)

    def seconds(work: Callable[[], Any]) -> float:
        work()
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    with torch.no_grad():
        before, after = seconds(lambda: halves.prefix(pixels)) / 8, seconds(lambda: suffix(x)) / BATCH
    step = seconds(lambda: suffix(x).sum().backward()) / BATCH
    for p in suffix.parameters():
        p.grad = None
    return whole * before / (before + after) + AUGMENT / threads(), step


def climb(
    ground: Ground, start: Rung, tuning: Tuning, way: Course, left: float | None, folder: Path, stage: Stage
) -> Rung:
    """Train the suffix and let it answer the validation rows.

    Args:
        ground: rows, embeddings, network.
        start: the probe's rung.
        tuning, way: what to do.
        left: seconds; no epoch is begun that would not end within them. None for no limit.
        folder: of checkpoints.
        stage: told of finished images.
    """
    import torch

    from visum.data.mix import mixup
    from visum.learn import loop, losses, objectives, optim, schedules, transfer

    begin = time.perf_counter()
    torch.set_num_threads(threads())
    table, seed, k = ground.table, ground.seed, len(ground.table.classes)
    backbone = ground.network.backbone
    halves = prefix.split(backbone, way.cut)
    train, held = ground.labelled("train"), ground.labelled("validation")
    y = ground.y[train]
    front = replace(ground.network, backbone=replace(backbone, cut=way.cut))
    if not compiled.graph_path(front.backbone, front.preprocess).is_file():
        compiled.write_graph(front.backbone, front.preprocess)  # torch is here already; a child would load it again
    names: list[View] = [Augmented(tuning.augment, seed, view) for view in range(way.views)]
    if tuning.augment == "none":
        names = ["plain"]
    seen, unseen = rows(table, np.flatnonzero(train)), rows(table, np.flatnonzero(held))
    maps = [_maps(seen, front, view, halves.shape, stage) for view in names]
    still = _maps(unseen, front, "plain", halves.shape, stage)

    with torch.no_grad():
        width = halves.suffix(still(np.arange(1))).shape[1]
    vectors = np.asarray(ground.vectors[train][:, -width:], np.float32)
    mean, spread = vectors.mean(0), vectors.std(0) + 1e-3
    weight, bias = start.weights["head.weight"], start.weights["head.bias"]
    if len(weight) != width:  # the cut leaves out stages that the probe had seen
        head = probe.fit(vectors, y, k)
        weight, bias = head["weight"], head["bias"]
    model = transfer.Classifier(halves.suffix, mean, spread, weight, bias, tuning.dropout)
    model.to(memory_format=torch.channels_last)

    target = transfer.one_hot(y, k)
    name = tuning.loss or losses.DEFAULT[table.task]
    counts = target.sum(0).numpy()
    takes = losses.check(name, table.task)
    settings = {"label_smoothing": tuning.label_smoothing} if "label_smoothing" in takes else {}
    loss = losses.LOSSES[name](task=table.task, counts=counts, images=len(y), **settings)
    objective = objectives.supervised(loss)
    if tuning.mixup:
        objective = objectives.mixed(loss, lambda x, t, draw: mixup(x, t, tuning.mixup, draw))
    depth = transfer.depths(model)
    groups = optim.groups(
        model,
        lr=tuning.learning_rate,
        weight_decay=tuning.weight_decay,
        layer_decay=tuning.layer_decay,
        depth_of=depth.__getitem__,
    )
    optimiser = optim.OPTIMISERS[tuning.optimiser](groups, tuning.learning_rate, tuning.weight_decay)
    schedule = schedules.SCHEDULES[tuning.schedule]
    if tuning.warm_up:
        schedule = schedules.warm_up(schedule, tuning.warm_up)

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(y))
        for at in range(0, len(order), BATCH):
            some = order[at : at + BATCH]
            yield maps[epoch % len(maps)](some), target[torch.from_numpy(some)]

    def logits(classifier: torch.nn.Module) -> Floats:
        numbers = np.array_split(np.arange(len(unseen)), math.ceil(len(unseen) / BATCH))
        return np.concatenate([classifier(still(some)).numpy() for some in numbers]).astype(np.float32)

    def validate(classifier: torch.nn.Module) -> tuple[float, float]:
        loss, score = ground.judged(logits(classifier))
        return -loss, score

    with torch.no_grad():
        from_here, _ = validate(model.eval())

    def opening(classifier: torch.nn.Module, epoch: int) -> None:
        transfer.UNFREEZE[tuning.unfreeze](classifier, epoch)
        transfer.still(classifier)

    def room(longest: float) -> bool:
        return left is None or time.perf_counter() - begin + longest + WRITE <= left

    trained = loop.train(
        model,
        batches,
        objective,
        optimiser,
        rate=tuning.learning_rate,
        schedule=schedule,
        epochs=way.epochs,
        steps=math.ceil(len(y) / BATCH),
        validate=validate,
        seed=seed,
        average=tuning.ema or None,
        clip=tuning.clip or None,
        patience=tuning.patience or None,
        start=from_here,
        room=room,
        opening=opening,
        save=folder / "last.safetensors",
        key=digest_of([asdict(tuning), asdict(way), front.digest, table.sha256.tolist(), table.splits.tolist(), seed]),
        step=stage.step,
    )
    with torch.no_grad():
        z = logits(model)
    tensors = prefix.merged(backbone, prefix.tensors(model.suffix))
    tuned = replace(backbone, weights=tensors, stages=halves.stages, digest=digest_of_weights(tensors))
    compiled.write_graph(tuned, ground.preprocess)
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(halves.stages)}
    weights: dict[str, NDArray[Any]] = {f"head.{key}": value for key, value in model.head().items()}
    weights.update({f"backbone.{key}": value for key, value in tensors.items()})
    best = f"best of {len(trained.history)} epochs: {trained.best}" if trained.best else "no epoch beat the probe"
    detail = f"trained after {way.cut}, {tuning.optimiser} {tuning.learning_rate:g}, {tuning.augment} views, {best}"
    before = (time.perf_counter() - begin) - (time.monotonic() - trained.began)
    history = of_epochs(trained.history, before)
    seconds = time.perf_counter() - begin
    return Rung(FINETUNE, detail, seconds, architecture, weights, ground.predictions(z), history)


def _maps(
    table: Manifest, network: Network, view: View, shape: tuple[int, ...], stage: Stage
) -> Callable[[NDArray[Any]], torch.Tensor]:
    """Row numbers → the prefix's maps of one view, float32 ``[B, C, H, W]`` in channels-last memory."""
    import torch

    stored = reader(table, network, view, step=stage.step)

    def read(where: NDArray[Any]) -> torch.Tensor:
        x = stored(where).astype(np.float32).reshape(len(where), *shape)
        return torch.from_numpy(x).to(memory_format=torch.channels_last)

    return read
