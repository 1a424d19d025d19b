"""Which rate a data set bears: a short training at the usual one, judged on validation, before the long one is begun.

A rate that suits one set of photos throws a network far back on another, from where it barely recovers within its time. Where
the usual rate does no harm, smaller ones are only slower; so it is tried first, and the first one that does no harm is taken.
What was tried is undone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from visum.errors import TrainingError
from visum.workflow import kept
from visum.workflow.ladder import Ground
from visum.workflow.lesson import Lesson, optimiser_of, score

USUAL = {"sgd": 1e-2, "momentum": 1e-2, "nesterov": 1e-2, "lion": 1e-4}
"""Optimiser → its usual rate; 1e-3 for the others, which divide by the size of the gradient."""
SMALLER = (1.0, 0.3, 0.1, 0.03)
"""Shares of the usual rate that are tried, one after the other."""
STEPS = 16
HARM = 3.0
"""Times the validation loss of the start: more, after ``STEPS`` steps of which the last are the smallest, is harm. Some loss is
usual, since mixed pictures and smooth labels ask for other answers than the probe gives: on the garments 1e-3 makes it 2.2 times
as large, and ends far below the start all the same; 3e-3 makes it 6 times as large."""


def usual(optimiser: str) -> float:
    """The rate of an optimiser where nothing is known."""
    return USUAL.get(optimiser, 1e-3)


def rate(ground: Ground, lesson: Lesson, loss: float, key: object) -> float:
    """The largest of the rates that does no harm; the smallest where all do.

    Args:
        ground: judges.
        lesson: of the network as it starts.
        loss: of validation, of the start.
        key: whatever the result depends on besides the settings.
    """
    top = usual(lesson.tuning.optimiser)

    def make() -> tuple[kept.Arrays, dict[str, Any]]:
        seen: dict[str, float | None] = {}
        for share in SMALLER:
            reached = tried(ground, lesson, top * share)
            seen[f"{top * share:g}"] = reached
            if reached is not None and reached <= HARM * loss:
                break
        return {}, {"rate": top * share, "seen": seen}

    name = kept.key(ground.table, "rate", asdict(lesson.tuning), lesson.batch, lesson.seed, loss, key)
    return float(kept.through("trials", name, make)[1]["rate"])


def tried(ground: Ground, lesson: Lesson, rate: float) -> float | None:
    """Validation loss after a short training at a rate; None where the loss was no number. The model is left as it was."""
    from visum.learn import device, loop, schedules

    model, tuning = lesson.model, lesson.tuning
    on = device.chosen(tuning.device, tuning.precision)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = min(STEPS, lesson.steps)

    def batches(epoch: int) -> Iterator[Any]:
        return itertools.islice(lesson.batches(epoch), steps)

    try:
        trained = loop.train(
            model,
            batches,
            lesson.objective,
            optimiser_of(model, tuning, rate),
            rate=rate,
            schedule=schedules.one_cycle,
            epochs=1,
            steps=steps,
            validate=lambda model: score(ground, lesson, model),
            seed=lesson.seed,
            clip=tuning.clip or None,
            opening=lesson.opening,
            device=on.name,
            precision=on.dtype,
        )
    except TrainingError:
        return None
    finally:
        model.load_state_dict(before)
        model.eval()
    return -trained.history[0].score
