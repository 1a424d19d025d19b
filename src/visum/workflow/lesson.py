"""A lesson: a classifier, its batches and its objective, made from settings and ready for the one loop. Loads torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from visum.data.load import ahead
from visum.data.mix import cutmix, mixup
from visum.learn import (
    checkpoint,
    device,
    distill,
    harden,
    heads,
    loop,
    losses,
    norms,
    objectives,
    optim,
    parallel,
    schedules,
    transfer,
)
from visum.models.heads import COSINE
from visum.runtime import Stage, place, threads
from visum.types import Floats, Integers, Task, digest_of
from visum.workflow.ladder import Ground
from visum.workflow.teacher import Teacher
from visum.workflow.tuning import Tuning

Read = Callable[[int, NDArray[np.integer]], torch.Tensor]
"""(Epoch, row numbers) → what the classifier takes of these rows: maps or normalised pixels float32 ``[B, C, H, W]``, or
several views of each, ``[B, V, C, H, W]``."""
UNDER_ATTACK, STEPS = 512, 10
"""Validation pictures by which epochs of a hardened network are compared, and steps of the attack they are seen under. A
single step would not notice a network that has only learnt to mislead single steps (catastrophic overfitting: Wong et al. 2020,
section 5.4)."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Everything that a training loop or a range test needs.

    Attributes:
        model: what is trained.
        batches: of one epoch.
        steps: how many these are.
        objective: what is asked for.
        optimiser: over the parameters of ``model``.
        logits: of the validation rows, without gradients.
        attacked: where it is hardened against attacks: (logits of some validation rows under attack, which), by which
            epochs are compared then; None elsewhere.
        opening: called at the start of each epoch.
        tuning, batch, seed: what it was made from.
    """

    model: transfer.Classifier
    batches: loop.Batches
    steps: int
    objective: objectives.Objective
    optimiser: torch.optim.Optimizer
    logits: Callable[[torch.nn.Module], Floats]
    attacked: Callable[[torch.nn.Module], tuple[Floats, Integers]] | None
    opening: Callable[[torch.nn.Module, int], None]
    tuning: Tuning
    batch: int
    seed: int


def prepared(
    ground: Ground,
    model: transfer.Classifier,
    read: Read,
    held: Read,
    tuning: Tuning,
    batch: int,
    *,
    trained: bool,
    team: parallel.Team = parallel.ALONE,
) -> Lesson:
    """The lesson of a classifier on the train rows of the ground.

    Args:
        ground: rows and labels.
        model: untrained, or with what it brings along.
        read: the labelled train rows, counted from 0.
        held: the labelled validation rows, counted from 0, the epoch without meaning.
        tuning: the settings.
        batch: pictures in one step.
        trained: whether the network brings weights, so that its batch norms keep their statistics.
        team: the processes that train it; each reads its own pictures, or all where pictures are mixed with others.
    """
    y, k, seed = ground.y[ground.labelled("train")], len(ground.table.classes), ground.seed
    unseen = int(ground.labelled("validation").sum())
    target = transfer.one_hot(y, k)
    within = ball(ground, tuning)
    mixing = bool(tuning.mixup or tuning.cutmix or within)  # what is drawn for a whole batch wants the whole batch
    steps, times = math.ceil(len(y) / batch), harden.REPLAYS if tuning.harden == harden.FREE else 1

    def each(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = np.random.default_rng([seed, epoch // times]).permutation(len(y))
        for number, replays in itertools.groupby(harden.replayed(epoch, steps, times)):
            some = order[number * batch : (number + 1) * batch]
            own = some if mixing else some[parallel.part_of(len(some), team.rank, team.size)]
            x = read(epoch, own)
            for _ in replays:
                yield x, target[torch.from_numpy(some)]

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ahead(each(epoch))

    def logits(classifier: torch.nn.Module) -> Floats:
        numbers = np.array_split(np.arange(unseen), math.ceil(unseen / batch))
        here = next(classifier.parameters()).device
        return np.concatenate([classifier(held(0, some).to(here)).float().cpu().numpy() for some in numbers])

    def opening(classifier: torch.nn.Module, epoch: int) -> None:
        transfer.UNFREEZE[tuning.unfreeze](classifier, epoch)
        if trained:
            norms.still(classifier)
        if isinstance(asked, harden.Free):
            asked.begin()

    if trained:
        norms.folded(model, held(0, np.arange(min(2, unseen))))
    optimiser = optimiser_of(model, tuning, tuning.learning_rate or 1.0)  # every step is told its own
    said, task = ground.teaching, ground.table.task

    def grown() -> float:  # the loop tells the optimiser; a trial has another one, and tries with all of the radius
        return harden.growing(float(optimiser.param_groups[0].get("done", 1.0)))

    asked, wanted = objective(tuning, task, target, said.teacher if said else None, within, grown)
    if said is not None:
        target = distill.beside(target, distill.softened(torch.from_numpy(said.logits), task, said.teacher.temperature))
    attacked = under_attack(ground, held, within, batch) if within else None
    return Lesson(model, batches, steps, wanted, optimiser, logits, attacked, opening, tuning, batch, seed)


def optimiser_of(model: transfer.Classifier, tuning: Tuning, rate: float) -> torch.optim.Optimizer:
    """A new optimiser of what is trained, at a rate."""
    depth = transfer.depths(model)
    groups = optim.groups(
        model,
        lr=rate,
        weight_decay=tuning.weight_decay,
        layer_decay=tuning.layer_decay,
        depth_of=depth.__getitem__,
    )
    return optim.OPTIMISERS[tuning.optimiser](groups, rate, tuning.weight_decay)


def ball(ground: Ground, tuning: Tuning) -> harden.Ball | None:
    """The ball of the attacks that it is hardened against; None where it is not."""
    attacks = tuning.harden is not None and "within" in harden.HARDEN[tuning.harden].takes
    return harden.ball(ground.preprocess, tuning.epsilon) if attacks else None


def under_attack(
    ground: Ground, held: Read, within: harden.Ball, batch: int
) -> Callable[[torch.nn.Module], tuple[Floats, Integers]]:
    """Model → its logits under PGD against the task's usual loss, the same random starts each time, and the validation rows
    that they are of: up to ``UNDER_ATTACK``, evenly over the table."""
    y, task, k = ground.y[ground.labelled("validation")], ground.table.task, len(ground.table.classes)
    target, some = transfer.one_hot(y, k), np.unique(np.linspace(0, len(y) - 1, UNDER_ATTACK).round().astype(np.int64))
    loss = losses.LOSSES[losses.DEFAULT[task]](task=task, counts=target.sum(0).numpy(), images=len(target))

    def told(model: torch.nn.Module) -> tuple[Floats, Integers]:
        here, parts = next(model.parameters()).device, []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for at in range(0, len(some), batch):
                x, wanted = held(0, some[at : at + batch]).to(here), target[some[at : at + batch]].to(here)
                wrong = partial(_wrong, loss, wanted)
                x = harden.attacked(model, wrong, x, within.anywhere(x), within, step=2.5 / STEPS, steps=STEPS)
                with torch.no_grad():
                    parts.append(model(x).float().cpu().numpy())
        return np.concatenate(parts), some

    return told


def _wrong(loss: losses.Loss, target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return loss(logits, target)


def objective(
    tuning: Tuning,
    task: Task,
    target: torch.Tensor,
    teacher: Teacher | None = None,
    within: harden.Ball | None = None,
    grown: harden.Grown = harden.fully,
) -> tuple[objectives.Objective, objectives.Objective]:
    """What is asked for of a batch as it is, and the objective around it that the settings ask for.

    Args:
        tuning, task: what is asked for.
        target: labels of all train rows, float32 ``[N, K]``.
        teacher: whose answers stand beside the labels in the targets that it will be given (``distill.beside``).
        within: where it is hardened against attacks, the ball these stay in.
        grown: the share of its radius that they may use.
    """
    name = tuning.loss or losses.DEFAULT[task]
    takes = losses.check(name, task)
    settings = {"label_smoothing": tuning.label_smoothing} if "label_smoothing" in takes else {}
    loss = losses.LOSSES[name](task=task, counts=target.sum(0).numpy(), images=len(target), **settings)
    if tuning.head == COSINE:
        loss = heads.angular(loss, tuning.margin, tuning.scale)
    if teacher is not None:
        loss = distill.taught(loss, task=task, share=teacher.share, temperature=teacher.temperature)
    ways = [(way, alpha) for way, alpha in ((mixup, tuning.mixup), (cutmix, tuning.cutmix)) if alpha]
    asked = wanted = (
        objectives.supervised(loss) if tuning.harden is None else _hardened(tuning, task, loss, within, grown)
    )
    if ways:

        def mix(x: torch.Tensor, t: torch.Tensor, draw: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            way, alpha = ways[int(draw.integers(len(ways)))] if len(ways) > 1 else ways[0]
            return way(x, t, alpha, draw)

        wanted = objectives.mixed(asked, mix)
    return asked, objectives.sparse(wanted, tuning.l1) if tuning.l1 else wanted


def _hardened(
    tuning: Tuning, task: Task, loss: losses.Loss, within: harden.Ball | None, grown: harden.Grown
) -> objectives.Objective:
    assert tuning.harden is not None
    way = harden.HARDEN[tuning.harden]
    own = {"steps": tuning.harden_steps, "weight": tuning.harden_weight}
    given = {"within": within, "grown": grown, "task": task, **own}
    return way.build(loss, **{name: value for name, value in given.items() if name in way.takes and value is not None})


def taught(
    ground: Ground,
    lesson: Lesson,
    epochs: int,
    *,
    start: float = -math.inf,
    room: Callable[[float], float],
    folder: Path,
    key: object,
    stage: Stage,
    team: parallel.Team = parallel.ALONE,
) -> loop.Trained:
    """Train it; the best weights stay in ``lesson.model``.

    Args:
        ground: judges the answers to its validation rows.
        lesson: of ``prepared``.
        epochs: how many.
        start: the score to beat, as ``score`` gives it.
        room: see ``loop.train``.
        folder: of checkpoints.
        key: whatever the result depends on that the settings do not tell.
        stage: told of finished images.
        team: the processes that all do this, with a lesson that each of them has prepared.
    """
    tuning, where = lesson.tuning, place()
    assert tuning.learning_rate is not None
    on = device.chosen(tuning.device, tuning.precision, where.rank % where.near)
    torch.set_num_threads(max(1, threads() // where.near) if team.size > 1 else threads())
    schedule = schedules.SCHEDULES[tuning.schedule]
    if tuning.warm_up:
        schedule = schedules.warm_up(schedule, tuning.warm_up)
    if tuning.snapshots > 1:
        schedule = schedules.restarted(schedule, tuning.snapshots)
    own = key_of(ground, lesson, epochs, key)

    def keep(number: int, model: torch.nn.Module) -> None:
        if tuning.snapshots > 1:
            checkpoint.write_weights(snapshot(folder, number), model, own)

    return loop.train(
        lesson.model,
        lesson.batches,
        lesson.objective,
        lesson.optimiser,
        rate=tuning.learning_rate,
        schedule=schedule,
        epochs=epochs,
        steps=lesson.steps,
        validate=lambda model: score(ground, lesson, model),
        seed=lesson.seed,
        average=tuning.ema or None,
        clip=tuning.clip or None,
        patience=tuning.patience or None,
        start=start,
        room=room,
        opening=lesson.opening,
        cycles=tuning.snapshots,
        turned=keep,
        save=folder / "last.safetensors",
        key=own,
        step=stage.step,
        team=team,
        device=on.name,
        precision=on.dtype,
    )


def key_of(ground: Ground, lesson: Lesson, epochs: int, key: object) -> str:
    """Digest of everything that the result of ``taught`` depends on."""
    table, teaching = ground.table, ground.teaching
    rows = [table.sha256.tolist(), table.splits.tolist()]
    return digest_of(
        [asdict(lesson.tuning), epochs, lesson.batch, key, *rows, lesson.seed, teaching.key if teaching else None]
    )


def snapshot(folder: Path, number: int) -> Path:
    """File of the network at the end of a round of the schedule."""
    return folder / f"snapshot-{number}.safetensors"


def score(ground: Ground, lesson: Lesson, model: torch.nn.Module) -> tuple[float, float]:
    """(Minus the validation loss, the headline score) of a model in eval mode; under attack, if it is hardened against one."""
    loss, headline = ground.judged(*lesson.attacked(model)) if lesson.attacked else ground.judged(lesson.logits(model))
    return -loss, headline
