"""What stages know, and how alike they are, as inline SVG; pure. Colours come from classes of the style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from visum.explain.panels import clean, percent, short, tag

_LETTERS = 14
_LEFT, _TOP, _WIDE, _HIGH = 38.0, 14.0, 378.0, 190.0
_DARK = 0.62
"""From this alikeness on, a cell's number is written in the colour for dark grounds."""


@dataclass(frozen=True)
class Point:
    """What one stage knows of one thing.

    Attributes:
        stage: its name.
        value, low, high: share, 0 … 1, with its interval.
    """

    stage: str
    value: float
    low: float
    high: float


def curve(title: str, points: Sequence[Point], chance: float, apart: int = 1) -> Markup:
    """Shares from stage to stage with their intervals, and a dashed line where guessing lies.

    Args:
        title: for those who cannot see it.
        points: first stage first.
        apart: so many points at the front are no stages (the pixels themselves) and are not joined.
    """
    step = _WIDE / max(1, len(points) - 1)

    def at(number: int, share: float) -> tuple[float, float]:
        return _LEFT + number * step, _TOP + _HIGH * (1 - min(max(share, 0.0), 1.0))

    marks = [tag("title", title)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = at(0, tick)
        marks.append(tag("path", class_="rule", d=f"M{_LEFT} {y:.1f}H{_LEFT + _WIDE}"))
        marks.append(tag("text", f"{100 * tick:.0f}", class_="tick", x=_LEFT - 10, y=y + 4, text_anchor="end"))
    _, y = at(0, chance)
    marks.append(tag("path", class_="ideal", d=f"M{_LEFT} {y:.1f}H{_LEFT + _WIDE}"))
    marks.append(tag("text", "guessing", class_="tick", x=_LEFT + _WIDE, y=y - 5, text_anchor="end"))
    joined = list(enumerate(points))[apart:]
    if joined:
        above = [at(n, p.high) for n, p in joined]
        below = [at(n, p.low) for n, p in reversed(joined)]
        marks.append(tag("path", class_="band", d=_path([*above, *below]) + "Z"))
        marks.append(tag("path", class_="trace", d=_path([at(n, p.value) for n, p in joined])))
    best = max(range(len(points)), key=lambda n: points[n].value) if points else -1
    for n, p in enumerate(points):
        x, y = at(n, p.value)
        tip = tag("title", f"{p.stage}: {percent(p.value)} ({percent(p.low)} to {percent(p.high)})")
        marks.append(tag("path", class_="whisker soft", d=f"M{x:.1f} {at(n, p.low)[1]:.1f}V{at(n, p.high)[1]:.1f}"))
        kind = "dot" if n >= apart else "pixels"
        marks.append(tag("circle", tip, class_=kind, cx=x, cy=y, r=4.5))
        if n in (0, best, len(points) - 1):
            over = at(n, p.high)[1] - 7
            side = "start" if n == 0 else "end" if n == len(points) - 1 else "middle"
            x = x - 9 if n == 0 else x + 9 if n == len(points) - 1 else x
            marks.append(tag("text", f"{100 * p.value:.0f}", class_="value", x=x, y=over, text_anchor=side))
        foot = f"translate({at(n, 0)[0] + 4:.1f} {_TOP + _HIGH + 16:.1f}) rotate(-38)"
        name = short(clean(p.stage), _LETTERS)
        marks.append(tag("text", name, class_="tick", transform=foot, text_anchor="end"))
    box = f"0 0 {_LEFT + _WIDE + 14:.0f} {_TOP + _HIGH + 70:.0f}"
    return tag("svg", *marks, class_="curve", viewBox=box, role="img")


def heat(title: str, values: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str]) -> Markup:
    """Alikeness (-… 1) of every row with every column as shades with their numbers; NaN stays empty."""
    cell = 40.0
    names = [short(clean(name), _LETTERS) for name in rows]
    over = [short(clean(name), _LETTERS) for name in columns]
    left = 12 + 7.0 * max(map(len, names), default=1)
    top = 16 + 5.0 * max(map(len, over), default=1)
    right = 5.0 * len(over[-1]) if over else 0.0
    marks = [tag("title", title)]
    for j, name in enumerate(over):
        where = f"translate({left + (j + 0.55) * cell:.1f} {top - 7:.1f}) rotate(-42)"
        marks.append(tag("text", name, class_="tick", transform=where))
    for i, name in enumerate(names):
        y = top + (i + 0.5) * cell
        marks.append(tag("text", name, class_="tick", x=left - 8, y=y + 4, text_anchor="end"))
        for j in range(len(over)):
            value = float(values[i, j])
            box = {"x": left + j * cell + 1, "y": y - cell / 2 + 1, "width": cell - 2, "height": cell - 2, "rx": 2}
            if value != value:
                marks.append(tag("rect", class_="none", **box))
                continue
            shade = min(max(value, 0.03), 1.0)
            tip = tag("title", f"{rows[i]}, {columns[j]}: {value:.2f}")
            marks.append(tag("rect", tip, fill_opacity=f"{shade**1.4:.3f}", **box))
            ink = "in on" if shade**1.4 >= _DARK else "in"
            words = f"{value:.2f}".replace("0.", ".").replace("-", "\u2212")
            marks.append(tag("text", words, class_=ink, x=left + (j + 0.5) * cell, y=y + 4, text_anchor="middle"))
    wide = left + cell * len(over) + right
    view = f"0 0 {wide:.0f} {top + cell * len(names) + 4:.0f}"
    return tag("svg", *marks, class_="heat", viewBox=view, style=f"max-width:{wide * 1.05:.0f}px", role="img")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
