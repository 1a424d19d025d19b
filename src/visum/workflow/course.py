"""The course of training a network: where it is cut, how many epochs over how many views; decided before it is paid for.

A step of each candidate is timed on this machine, and the deepest cut that leaves enough epochs within the time is taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from visum import storage
from visum.data.drawn import sides
from visum.errors import UsageError
from visum.models import prefix
from visum.models.prefix import WHOLE
from visum.runtime import threads
from visum.workflow import crew, memory, plan
from visum.workflow.ladder import Ground
from visum.workflow.tuning import AUTO, MOST_SETTABLE, Tuning

BATCH, SCRATCH_BATCH = 32, 128
LEAST_EPOCHS, ENOUGH_EPOCHS, USUAL_EPOCHS, MOST_EPOCHS = 2, 3, 6, 12
"""Fewer are not worth the cut, a deeper cut is not left for more than enough, usual without a budget, and most with one."""
_FEW = 8
"""Pictures on which the prefix and the augmentation are timed."""
USUAL_FROM_SCRATCH, MOST_FROM_SCRATCH = 20, 300
WORTH = 30.0
"""Seconds below which the rung is not even considered: to load torch, to cut and to measure costs 5 to 8 of them."""
TRIAL = 512
"""Pictures with which a rate is tried (``workflow.trial``)."""
VALIDATE, WRITE = 0.35, 6.0
"""What validating costs of a step for as many pictures; seconds to compile, store and judge what was trained."""


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
        """Images that pass the prefix or what is trained, for the progress display."""
        n, held = int(ground.labelled("train").sum()), int(ground.labelled("validation").sum())
        return self.epochs * n if self.cut == WHOLE else (self.views + self.epochs) * n + held

    @property
    def words(self) -> str:
        """For the log."""
        views = f" over {self.views} augmented view" + ("s" if self.views != 1 else "")
        return f"{self.where}, {self.epochs} epochs{'' if self.cut == WHOLE else views}: about {self.seconds:.0f} s"

    @property
    def where(self) -> str:
        """What is trained."""
        return "the whole network" if self.cut == WHOLE else f"after {self.cut}"


FIRST, SECOND = "finetune", "finetune_again"
"""Blocks of a run's record that tell of its courses."""


def decided(facts: dict[str, Any], ground: Ground, tuning: Tuning, left: float | None) -> Course | None:
    """The course of this run: the one that its record tells of, if it is gone on with, or one that is chosen now."""
    way = _again(facts.get(FIRST)) or course(ground, tuning, left)
    facts[FIRST] = asdict(way) if way else None
    if way is not None:
        from visum.learn import device

        facts["training"] = {**device.chosen(tuning.device, tuning.precision).facts, "processes": crew.team().size}
    return way


def second(
    facts: dict[str, Any], ground: Ground, tuning: Tuning, left: float, first: Course, gained: bool
) -> Course | None:
    """How deep a data set bears to be cut is not known before it is tried: another cut, where a budget leaves time for it.

    Args:
        facts: the run's record, as for ``decided``.
        ground, tuning, left: as for ``course``.
        first: what was done before.
        gained: whether it beat the probe: then more of the network is trained, else less.
    """
    settled = (
        tuning.harden is not None
        or tuning.cut != AUTO
        or tuning.epochs is not None
        or tuning.start_size is not None
        or tuning.snapshots > 1
    )
    if settled or ground.untrained or (first.cut == WHOLE and gained):
        return None
    stages = prefix.cuts(ground.network.backbone)
    at = stages.index(first.cut) if first.cut in stages else -1
    others = (WHOLE, *stages[: max(at, 0)]) if gained else stages[at + 1 :]
    way = _again(facts.get(SECOND))
    if way is None and others:
        way = course(ground, tuning, left, others)
    facts[SECOND] = asdict(way) if way else None
    return way


def _again(told: object) -> Course | None:
    match told:
        case {"cut": str(cut), "epochs": int(epochs), "views": int(views), "seconds": int(s) | float(s)}:
            if 1 <= epochs <= MOST_SETTABLE and 1 <= views <= epochs:
                return Course(cut, epochs, views, float(s))
    return None


def course(ground: Ground, tuning: Tuning, left: float | None, cuts: tuple[str, ...] | None = None) -> Course | None:
    """The deepest course that fits into the time that is left; None if not even two epochs behind the last cut fit.

    Args:
        ground: what it stands on.
        tuning: what was asked for.
        left: seconds, or None for no limit.
        cuts: to choose from, deepest first; None: what was asked for.

    Raises:
        UsageError: memory does not suffice behind any of the cuts.
    """
    from visum.learn import harden

    scratch = ground.untrained
    if left is not None and left < WORTH and not scratch:
        return None
    backbone = prefix.with_pool(ground.network.backbone, tuning.pool)
    size = ground.preprocess.size
    if tuning.start_size is not None and tuning.start_size >= size:
        raise UsageError(f"--start-size {tuning.start_size}", allowed=f"less than {size}, the size they grow to")
    candidates = [tuning.cut] if tuning.cut != AUTO else list(_deepest(backbone))
    if scratch or tuning.start_size is not None or tuning.harden is not None:
        candidates = [WHOLE]
    candidates = list(cuts or candidates)
    n, held = int(ground.labelled("train").sum()), int(ground.labelled("validation").sum())
    usual, most = (USUAL_FROM_SCRATCH, MOST_FROM_SCRATCH) if scratch else (USUAL_EPOCHS, MOST_EPOCHS)
    least = 1 if scratch else LEAST_EPOCHS
    whole = 0.0 if scratch else plan.speed(ground.network)
    best: Course | None = None
    for cut in candidates:
        if best is not None and best.epochs >= ENOUGH_EPOCHS:
            break
        halves = prefix.split(backbone, cut)
        try:
            what = "the whole network" if cut == WHOLE else f"the network after {cut}"
            at_once = batch_size(ground, tuning) * harden.AT_ONCE.get(tuning.harden or "", 1)
            memory.check(memory.need(halves.suffix, halves.shape, tuning), at_once, what)
        except UsageError:
            if cut == candidates[-1]:
                raise
            continue
        front, step = _costs(ground, halves, whole, tuning)
        step *= harden.passes(tuning.harden, tuning.harden_steps)
        kept = storage.cache_limit() // 2 // (2 * n * math.prod(halves.shape))  # views whose maps the store may hold

        def views(epochs: int, cut: str = cut, kept: int = kept) -> int:
            if cut == WHOLE:
                return epochs
            return 1 if tuning.augment == "none" else max(1, min(kept, math.ceil(epochs / 2)))

        def cost(epochs: int, front: float = front, step: float = step, views: Callable[[int], int] = views) -> float:
            area = sum((side / size) ** 2 for side in sides(size, tuning.start_size, epochs))
            trial = (TRIAL + held * VALIDATE) * step if tuning.learning_rate is None and not scratch else 0.0
            return WRITE + trial + (held + views(epochs) * n) * front + (area * n + epochs * held * VALIDATE) * step

        if tuning.epochs is not None or left is None:
            epochs = tuning.epochs or usual
        else:
            epochs = max((e for e in range(least, most + 1) if cost(e) <= left), default=least if scratch else 0)
        epochs -= epochs % tuning.snapshots  # whole rounds
        if epochs and (best is None or epochs > best.epochs):
            best = Course(cut, epochs, views(epochs), round(cost(epochs), 1))
    return best


def _deepest(backbone: Any) -> tuple[str, ...]:
    """Cuts to choose from: all pooled stages but the last, behind which little is left to train."""
    stages = prefix.cuts(backbone)
    return stages[:-1] or stages


def batch_size(ground: Ground, tuning: Tuning) -> int:
    """Pictures in one step."""
    return tuning.batch or (SCRATCH_BATCH if ground.untrained else BATCH)


def _costs(ground: Ground, halves: Any, whole: float, tuning: Tuning) -> tuple[float, float]:
    """Seconds per image of the compiled prefix, augmentation included, and of a training step of the suffix.

    Args:
        whole: seconds per image of the whole network, compiled. The prefix has the share of it that it has in eager PyTorch.
        tuning: pictures in one step, and the precision of it.
    """
    import torch

    from visum.data.augment import augment
    from visum.learn import device, norms

    torch.set_num_threads(threads())
    size, batch = ground.preprocess.size, batch_size(ground, tuning)
    on = device.chosen(tuning.device, tuning.precision)
    pixels = torch.zeros(_FEW, size, size, 3, dtype=torch.uint8)
    views, keys = pixels.numpy(), [str(number) for number in range(_FEW)]
    x = torch.zeros(batch, *halves.shape).to(memory_format=torch.channels_last)
    suffix = halves.suffix.to(memory_format=torch.channels_last)

    def seconds(work: Callable[[], Any]) -> float:
        work()
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    with torch.no_grad():
        before, after = seconds(lambda: halves.prefix(pixels)) / _FEW, seconds(lambda: suffix(x)) / batch
    if not ground.untrained:
        norms.folded(suffix, x[:2])

    def ahead_and_back() -> None:
        with torch.autocast("cpu", on.dtype, enabled=on.dtype != torch.float32):
            out = suffix(x)
        out.sum().backward()

    step = seconds(ahead_and_back) / batch
    drawing = seconds(lambda: augment(views, tuning.augment, seed=0, epoch=0, keys=keys)) / _FEW / threads()
    return whole * before / (before + after) + drawing, step
