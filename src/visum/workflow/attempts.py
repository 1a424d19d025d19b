"""The networks that a run trains: one, and where a budget leaves time, another that is cut elsewhere. Validation chooses.

How much of a network a data set bears to be trained is not known before it was tried. What fits the time best comes first; if it
beat the probe, more of the network is trained in the time that is left, and if it did not, less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visum.runtime import Stages
from visum.workflow import course as courses
from visum.workflow import finetune
from visum.workflow import ladder as climbing
from visum.workflow.ladder import Ground, Rung
from visum.workflow.tuning import Tuning


def climbed(
    facts: dict[str, Any],
    ground: Ground,
    tuning: Tuning,
    rungs: Sequence[Rung],
    name: str,
    folder: Path,
    stages: Stages,
    budget: float | None,
    rest: float,
) -> list[Rung]:
    """The last rungs of a ladder; none where no course fits.

    Args:
        facts: the run's record; what was decided is written there, and taken from there where a run goes on.
        ground, tuning: what is trained on, and how.
        rungs: below.
        name: finetune or scratch.
        folder: of the run; checkpoints come into it.
        stages, budget: the clock; None for no limit.
        rest: seconds that are needed afterwards.
    """
    made: list[Rung] = []

    def climb(name: str, way: courses.Course, checkpoints: Path) -> None:
        with stages.stage(f"ladder: {name}", way.steps(ground)) as stage:
            probe = next((rung for rung in rungs if rung.name == climbing.PROBE), None)
            rung = finetune.climb(ground, probe, tuning, way, left(budget, stages, rest), checkpoints, stage)
            how = f", {ground.teaching.teacher.words}" if ground.teaching else ""
            stage.detail = climbing.headline(rung)
        made.append(replace(rung, name=name, at=stages.seconds(), detail=rung.detail + how))

    with stages.stage(f"plan {name}") as stage:
        way = courses.decided(facts, ground, tuning, left(budget, stages, rest))
        stage.detail = way.words if way else "does not fit the budget"
    if way is None:
        return made
    climb(name, way, folder / "checkpoints")
    over = left(budget, stages, rest)
    if over is None or over < courses.WORTH:
        return made
    with stages.stage(f"plan another {name}") as stage:
        gained = climbing.best([*rungs, *made]) is made[0]
        way = courses.second(facts, ground, tuning, over, way, gained)
        stage.detail = way.words if way else "no other cut fits"
    if way is not None:
        climb(f"{name} {way.where}", way, folder / "checkpoints" / "again")
    return made


def left(budget: float | None, stages: Stages, rest: float) -> float | None:
    """Seconds of a budget that may still be spent, ``rest`` being kept for what comes last."""
    return None if budget is None else budget - stages.seconds() - rest
