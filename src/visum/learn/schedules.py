"""Schedules: which part of the base rate a step takes, as a pure function of what is behind it.

Nothing is counted along the way: a run that goes on at step 700 of 1,000 asks for the factor at 0.7 and gets what the run
without a break would have had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from visum.learn import settings as named

Schedule = Callable[[float, Sequence[float]], float]
"""``schedule(done, losses) -> factor >= 0`` of the base rate.

``done``: share of training that is done, step / steps, in [0, 1]. ``losses``: validation losses so far, oldest first, which
only ``plateau`` looks at.
"""

Floor = Annotated[float, Field(ge=0, le=1)]
Drop = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Shares = tuple[Annotated[float, Field(gt=0, lt=1)], ...]
Divisor = Annotated[float, Field(ge=1, allow_inf_nan=False)]


def constant(done: float, losses: Sequence[float] = ()) -> float:
    """1 throughout."""
    return 1.0


def linear(done: float, losses: Sequence[float] = (), *, floor: Floor = 0.0) -> float:
    """From 1 to ``floor`` on a straight line."""
    return 1 + (floor - 1) * _within(done)


def cosine(done: float, losses: Sequence[float] = (), *, floor: Floor = 0.0) -> float:
    """From 1 to ``floor`` on half a cosine wave (Loshchilov & Hutter 2017, eq. 5)."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * _within(done))) / 2


def one_cycle(
    done: float,
    losses: Sequence[float] = (),
    *,
    rise: Share = 0.3,
    start: Divisor = 25.0,
    end: Divisor = 10_000.0,
) -> float:
    """From 1 / start up to 1 during ``rise``, then down to 1 / start / end, on half cosine waves (Smith & Topin 2018)."""
    done = _within(done)
    if done < rise:
        return 1 + (1 / start - 1) * cosine(done / rise)
    return cosine((done - rise) / (1 - rise), floor=1 / start / end)


def step(done: float, losses: Sequence[float] = (), *, at: Shares = (1 / 3, 2 / 3), drop: Drop = 0.1) -> float:
    """1, and ``drop`` times less from each of the shares ``at`` on (He et al. 2016: 30 and 60 of 90 epochs)."""
    return drop ** sum(done >= each for each in at)


def plateau(
    done: float,
    losses: Sequence[float] = (),
    *,
    drop: Drop = 0.1,
    patience: Annotated[int, Field(ge=0)] = 3,
    least: Share = 1e-4,
    floor: Floor = 0.0,
) -> float:
    """1, and ``drop`` times less whenever the loss has not become better more than ``patience`` times in a row.

    Args:
        losses: oldest first, smaller is better (scores: negate them); NaN is no better than anything.
        least: share of the best loss by which a loss must be lower to count as better.
        floor: no factor is below it.
    """
    factor, waited, bar = 1.0, 0, math.inf
    for loss in losses:
        if loss < bar:
            bar, waited = loss - least * abs(loss), 0
        else:
            waited += 1
        if waited > patience:
            factor, waited = max(factor * drop, floor), 0
    return factor


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "step": step,
    "plateau": plateau,
}
"""Name → ``schedule(done, losses, **settings) -> factor``."""


def warm_up(schedule: Schedule, share: float, *, start: float = 0.01) -> Schedule:
    """``schedule`` after a straight rise to its first value during the first ``share`` of training (Goyal et al. 2017).

    Args:
        schedule: runs over what is left.
        share: in [0, 1).
        start: factor of the first step; a step of rate 0 would be wasted.
    """

    def warmed(done: float, losses: Sequence[float] = ()) -> float:
        if done < share:
            return (start + (1 - start) * done / share) * schedule(0.0, losses)
        return schedule((done - share) / (1 - share), losses)

    return warmed


def restarted(schedule: Schedule, cycles: int) -> Schedule:
    """``schedule`` from its beginning to its end, ``cycles`` times (warm restarts: Loshchilov & Hutter 2017).

    What a cycle ends with is a network of its own: Huang et al. 2017, "Snapshot Ensembles: Train 1, get M for free".
    """

    def again(done: float, losses: Sequence[float] = ()) -> float:
        turns = _within(done) * cycles
        return schedule(1.0 if turns == cycles else turns % 1, losses)

    return again


def check(name: str, **settings: Any) -> dict[str, Any]:
    """The settings of a schedule with their defaults, ``warm_up`` (share of training, in [0, 1)) if it was given.

    Raises:
        UsageError: unknown name, or settings that are unknown or out of range (all at once).
    """
    return named.checked("schedule", SCHEDULES, name, settings, {"warm_up": Share})


def waited(scores: Sequence[float]) -> int:
    """How many looks ago the best score was (the first, where several are equal): early stopping asks whether it is too many.

    Args:
        scores: of any validation metric, oldest first, larger is better; NaN is never best. Losses: negate them.
    """
    best, at = -math.inf, -1
    for index, score in enumerate(scores):
        if score > best:
            best, at = score, index
    return len(scores) - 1 - at


def _within(done: float) -> float:
    return min(max(done, 0.0), 1.0)
