"""How training went, line by line: ``history.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visum.learn.loop import Epoch


@dataclass(frozen=True)
class Line:
    """One fit of a probe, or one epoch of a network. What a rung has no such thing of is None.

    Attributes:
        step: of this rung, from 1.
        seconds: since the rung began, when it was trained; epochs before an interruption are counted as if there had been none.
        l2: strength of the penalty.
        learning_rate: the last one of the epoch, of the group that learns fastest.
        train_loss: mean of the training objective.
        validation_loss: log loss after the best temperature.
        validation_score: the headline score.
    """

    step: int
    seconds: float
    l2: float | None = None
    learning_rate: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_score: float | None = None


COLUMNS = ("rung", *(field.name for field in fields(Line)))


def of_epochs(epochs: Sequence[Epoch], before: float) -> tuple[Line, ...]:
    """Lines of a rung whose training began ``before`` seconds after the rung did."""
    return tuple(
        Line(
            epoch.epoch,
            round(before + epoch.seconds, 3),
            learning_rate=epoch.rate,
            train_loss=epoch.loss,
            validation_loss=-epoch.score,
            validation_score=epoch.shown,
        )
        for epoch in epochs
    )


def text(rungs: Iterable[tuple[str, Sequence[Line]]]) -> str:
    """CSV of the lines of (name, lines), six decimals of losses and scores; empty cells where there is no number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for name, lines in rungs:
        for line in lines:
            writer.writerow([name, *(_cell(key, value) for key, value in asdict(line).items())])
    return out.getvalue()


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:.6f}"
        if key.startswith(("train", "validation"))
        else f"{value:g}"
        if key != "seconds"
        else f"{value:.3f}"
    )
