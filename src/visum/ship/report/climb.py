"""What the time bought: the score of each model at the moment it was ready, as inline SVG. Pure, like ``charts``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from visum.ship.report import words
from visum.ship.report.charts import tag
from visum.ship.report.words import Json, percent

WIDTH, HEIGHT = 880.0, 340.0
"""Of the plot without its axes, in its own pixels."""
LEFT, TOP, BELOW = 54.0, 16.0, 50.0
_TICKS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 604800)
_MOST_TICKS = 9
_LETTER, _LINE = 6.6, 15.0  # of a label, in pixels
_FAR = 0.15  # a yardstick so far below all others would press them flat


@dataclass(frozen=True)
class Moment:
    """A model and when it was ready.

    Attributes:
        name: of a rung, or of an epoch of it.
        at: seconds since the run began.
        value, low, high: its score as a share, and the interval where there is one.
        chosen: whether it became the bundle.
        epoch: whether it is a step on the way to a rung.
    """

    name: str
    at: float
    value: float
    low: float | None = None
    high: float | None = None
    chosen: bool = False
    epoch: bool = False


def moments(rungs: Sequence[Json], metric: str, history: Sequence[Json]) -> list[Moment]:
    """Rungs of ``metrics.json`` that tell their moment, and lines of ``history.csv`` that are epochs, in order of time.

    Args:
        rungs: ``ladder`` of ``metrics.json``.
        metric: a share, 0 … 1.
        history: rows of text.
    """
    found = []
    for rung in rungs:
        score = rung["metrics"].get(metric)
        value = words.value(score)
        if score is None or value is None or rung.get("at") is None:
            continue
        at = float(rung["at"])
        found.append(Moment(rung["name"], at, value, score.get("low"), score.get("high"), bool(rung["chosen"])))
        for line in history:
            if line.get("rung") == rung["name"] and line.get("train_loss") and line.get("validation_score"):
                when = (
                    at - rung["seconds"] + float(line["seconds"])
                )  # what an earlier part of the run did lies before it
                name = f"{rung['name']}, epoch {line['step']}"
                found.append(Moment(name, min(max(when, 0.0), at), float(line["validation_score"]), epoch=True))
    finite = (m for m in found if math.isfinite(m.at) and 0 <= m.value <= 1)
    return sorted(finite, key=lambda moment: moment.at)


def outlier(rungs: Sequence[Moment]) -> Moment | None:
    """The lowest of three or more rungs, where it lies so far below that the others could not be told apart beside it."""
    low, *rest = sorted(rungs, key=lambda moment: moment.value)
    floor = min((moment.value if moment.low is None else moment.low for moment in rest), default=0.0)
    return low if len(rest) > 1 and not low.chosen and low.value < floor - _FAR else None


def climb(all_moments: Sequence[Moment], metric: str, end: float, budget: float | None) -> Markup | None:
    """The chart; None with fewer than two rungs.

    Args:
        all_moments: of ``moments``.
        metric: its name for people.
        end: seconds of the whole run.
        budget: seconds allowed; drawn where it is not far away.
    """
    apart = outlier(every) if (every := [moment for moment in all_moments if not moment.epoch]) else None
    shown = [moment for moment in all_moments if moment is not apart]
    rungs = [moment for moment in shown if not moment.epoch]
    if len(every) < 2:
        return None
    last = max(end, *(moment.at for moment in every))
    near = budget is not None and last / 3 < budget <= 1.5 * last
    across = 1.0 * (max(last, budget) if near and budget is not None else last) or 1.0
    ends = [x for m in shown for x in (m.value, m.low, m.high) if x is not None]
    low, high, step = _scale(min(ends), max(ends))

    def x(seconds: float) -> float:
        return LEFT + WIDTH * seconds / across

    def y(share: float) -> float:
        return TOP + HEIGHT * (high - share) / (high - low)

    marks = [tag("title", f"{metric} of the best model so far, against the time since the run began")]
    for number in range(round((high - low) / step) + 1):
        share = low + number * step
        marks.append(tag("path", class_="rule", d=f"M{LEFT} {y(share):.1f}H{LEFT + WIDTH}"))
        label = f"{100 * share:.0f}"
        marks.append(tag("text", label, class_="tick", x=LEFT - 9, y=y(share) + 4, text_anchor="end"))
    for seconds in _times(across):
        marks.append(tag("path", class_="rule", d=f"M{x(seconds):.1f} {TOP + HEIGHT}v5"))
        label = words.duration(seconds) if seconds else "0"
        marks.append(tag("text", label, class_="tick", x=x(seconds), y=TOP + HEIGHT + 20, text_anchor="middle"))
    up = f"translate(12 {TOP + HEIGHT / 2}) rotate(-90)"
    marks.append(tag("text", f"{metric}, %", class_="axis", transform=up, text_anchor="middle"))
    below = {"x": LEFT + WIDTH / 2, "y": TOP + HEIGHT + 42, "text_anchor": "middle"}
    marks.append(tag("text", "time since the run began", class_="axis", **below))
    if near and budget is not None:
        side, gap = ("end", -6) if budget > 0.9 * across else ("start", 6)
        marks.append(tag("path", class_="ideal", d=f"M{x(budget):.1f} {TOP}V{TOP + HEIGHT}"))
        where = {"x": x(budget) + gap, "y": TOP + HEIGHT - 8, "text_anchor": side}
        marks.append(tag("text", "time allowed", class_="tick", **where))
    if x(rungs[0].at) - LEFT > 210:
        where = {"x": LEFT + 8, "y": TOP + HEIGHT - 8}
        marks.append(tag("text", "pictures are read and embedded", class_="tick", **where))
    marks.append(tag("path", class_="best", d=_stairs(rungs, x, y, last)))
    for _, group in itertools.groupby((m for m in shown if m.epoch), key=lambda m: m.name.rpartition(", ")[0]):
        points = [(x(m.at), y(m.value), m) for m in group]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in points)
        marks.append(tag("path", class_="line", d=f"M{path}"))
        marks += [tag("circle", _tip(m), class_="dot epoch", cx=a, cy=b, r=3) for a, b, m in points]
    for m in rungs:
        if m.low is not None and m.high is not None:
            whisker = f"M{x(m.at):.1f} {y(m.low):.1f}V{y(m.high):.1f}"
            marks.append(tag("path", class_="whisker" if m.chosen else "whisker soft", d=whisker))
    for m in rungs:
        kind = "dot" if m.chosen else "dot rung"
        marks.append(tag("circle", _tip(m), class_=kind, cx=x(m.at), cy=y(m.value), r=7 if m.chosen else 5))
    marks += _labels([(x(m.at), y(m.value), m) for m in rungs], [(x(m.at), y(m.value)) for m in shown])
    box = f"0 0 {LEFT + WIDTH + 16:.0f} {TOP + HEIGHT + BELOW:.0f}"
    return tag("svg", *marks, class_="climb", viewBox=box, role="img")


def told(all_moments: Sequence[Moment]) -> str:
    """The sentence over the chart."""
    rungs = [moment for moment in all_moments if not moment.epoch]
    text = "Each dot is a model, at the moment it was ready and with its 95\u202f% interval; the line is the best that was "
    text += "there by then."
    if any(moment.epoch for moment in all_moments):
        text += " Small dots are epochs of training on the way to the next model."
    if (low := outlier(rungs) if rungs else None) is not None:
        text += f" {words.short(low.name)} ({percent(low.value)}) lies far below and is left out."
    return text


def _tip(m: Moment) -> Markup:
    ends = "" if m.low is None or m.high is None else f" ({100 * m.low:.1f} to {percent(m.high)})"
    return tag("title", f"{words.short(m.name)}: {percent(m.value)}{ends} after {words.duration(m.at)}")


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Ends of the axis and the step between its lines: round numbers around the values, 0 … 1."""
    span = max(high - low, 0.02)
    step = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if span / each <= 6 or each == 0.25)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    bottom, top = max(bottom, 0.0), min(top, 1.0)
    return (bottom, top, step) if top > bottom else (bottom - step, top, step) if top >= step else (0.0, step, step)


def _times(across: float) -> Iterator[float]:
    step = next((each for each in _TICKS if across / each <= _MOST_TICKS), float(_TICKS[-1]))
    step *= max(1, math.ceil(across / step / 100))  # however wrong the clock of a file is
    return (number * step for number in range(int(across / step + 1e-9) + 1))


def _stairs(rungs: Sequence[Moment], x: Any, y: Any, last: float) -> str:
    """The best so far: level until something better is ready."""
    best, path = rungs[0].value, f"M{x(rungs[0].at):.1f} {y(rungs[0].value):.1f}"
    for moment in rungs[1:]:
        if moment.value > best:
            best = moment.value
            path += f"H{x(moment.at):.1f}V{y(best):.1f}"
    return f"{path}H{x(last):.1f}"


def _labels(rungs: Sequence[tuple[float, float, Moment]], dots: Sequence[tuple[float, float]]) -> Iterator[Markup]:
    """Names beside their dots, where they hide neither a dot nor each other; one below the other where all places are taken."""
    boxes: list[_Box] = []
    for across, down, m in sorted(rungs, key=lambda point: point[1]):
        text = f"{words.short(m.name, 32)} {percent(m.value)}" + (", chosen" if m.chosen else "")
        width = _LETTER * len(text)
        left, right = across - 12 - width, across + 12
        places = [(right, down + 17), (left, down - 9), (left, down + 17), (right, down - 9)]
        start, line = min(places, key=lambda place: _cost(_Box(place[0], place[1], width), boxes, dots))
        while any(_Box(start, line, width).meets(other) for other in boxes):
            line += _LINE
        boxes.append(_Box(start, line, width))
        kind = "name chosen" if m.chosen else "name"
        at: dict[str, Any] = {"x": start if start == right else start + width, "y": line}
        yield tag("text", text, class_=kind, text_anchor="start" if start == right else "end", **at)


class _Box(NamedTuple):
    """Where a label would lie: its left end, its base line, its width."""

    left: float
    line: float
    width: float

    def meets(self, other: _Box) -> bool:
        """Whether two labels would overlap."""
        beside = self.left + self.width <= other.left or other.left + other.width <= self.left
        return not beside and abs(self.line - other.line) < _LINE

    def hides(self, across: float, down: float) -> bool:
        """Whether a dot would lie under it."""
        return self.left - 4 < across < self.left + self.width + 4 and self.line - 15 < down < self.line + 7


def _cost(box: _Box, boxes: Sequence[_Box], dots: Sequence[tuple[float, float]]) -> float:
    """How bad a place for a label is: outside, over others, over dots."""
    outside = box.left < LEFT or box.left + box.width > LEFT + WIDTH + 12 or not TOP < box.line < TOP + HEIGHT
    return 10.0 * outside + sum(map(box.meets, boxes)) + sum(box.hides(*dot) for dot in dots)
