"""Lines over a scale, as one inline SVG that scales as a whole: risk against coverage, accuracy against severity or strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from visum.ship.report import charts, words

WIDE, TALL = 620.0, 300.0
LEFT, TOP, RIGHT, BOTTOM = 50.0, 14.0, 118.0, 46.0
APART = 15.0
"""Pixels between two names at the right edge."""
Point = tuple[float, float, float | None, float | None]


@dataclass(frozen=True)
class Line:
    """Points from left to right.

    Attributes:
        name: at its right end; "" for none.
        points: x, y, and the ends of y's interval or None.
        kind: CSS class: main, other or faint.
        dots: whether each point is marked.
    """

    name: str
    points: Sequence[Point]
    kind: str = "main"
    dots: bool = False


def lines(
    given: Sequence[Line],
    *,
    title: str,
    across: str,
    up: str,
    ticks: Sequence[tuple[float, str]],
    low: float = 0.0,
    high: float = 1.0,
    level: tuple[float, str] | None = None,
) -> Markup:
    """Several lines; y is a share and reads as per cent.

    Args:
        title: for those who do not see it.
        across, up: names of the axes.
        ticks: x and its label; the first and the last are the ends of the axis.
        low, high: ends of the y axis.
        level: a dashed line across at this y, and its name.
    """
    first, last = ticks[0][0], ticks[-1][0]

    def x(value: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (value - first) / ((last - first) or 1)

    def y(value: float) -> float:
        inside = min(max(value, low), high)
        return TOP + (TALL - TOP - BOTTOM) * (high - inside) / ((high - low) or 1)

    base, edge = y(low), x(last)
    marks = [charts.tag("title", title)]
    for share in (low + (high - low) * part / 4 for part in range(5)):
        marks.append(charts.tag("path", class_="rule", d=f"M{LEFT} {y(share):.1f}H{edge:.1f}"))
        label = f"{100 * share:.0f}" if 100 * (high - low) >= 8 else f"{100 * share:.1f}"
        marks.append(charts.tag("text", label, class_="tick", x=LEFT - 8, y=y(share) + 4, text_anchor="end"))
    for at, label in ticks:
        marks.append(charts.tag("text", label, class_="tick", x=x(at), y=base + 18, text_anchor="middle"))
    if level is not None:
        marks.append(charts.tag("path", class_="ideal", d=f"M{LEFT} {y(level[0]):.1f}H{edge:.1f}"))
    for line in sorted(given, key=lambda each: each.kind == "main"):  # the main one on top
        known = [point for point in line.points if point[2] is not None and point[3] is not None]
        if line.kind == "main" and len(known) > 1:
            top = "L".join(f"{x(a):.1f} {y(d or 0):.1f}" for a, _, _, d in known)
            under = "L".join(f"{x(a):.1f} {y(c or 0):.1f}" for a, _, c, _ in reversed(known))
            marks.append(charts.tag("path", class_="band", d=f"M{top}L{under}Z"))
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b, _, _ in line.points)
        marks.append(charts.tag("path", class_=f"curve {line.kind}", d=f"M{path}"))
        if line.dots:
            for a, b, c, d in line.points:
                tip = charts.tag(
                    "title", f"{line.name}: {words.percent(b)} {words.interval({'low': c, 'high': d})}".strip()
                )
                marks.append(charts.tag("circle", tip, class_=f"spot {line.kind}", cx=x(a), cy=y(b), r=4.0))
    marks += _names(given, level, y, edge)
    marks.append(charts.tag("text", across, class_="axis", x=(LEFT + edge) / 2, y=base + 38, text_anchor="middle"))
    turned = f"translate(12 {(TOP + base) / 2:.1f}) rotate(-90)"
    marks.append(charts.tag("text", up, class_="axis", transform=turned, text_anchor="middle"))
    return charts.tag("svg", *marks, class_="plotted", viewBox=f"0 0 {WIDE:.0f} {TALL:.0f}", role="img")


def _names(given: Sequence[Line], level: tuple[float, str] | None, y: object, edge: float) -> list[Markup]:
    """Names at the right end of each line, moved apart."""
    place = y if callable(y) else float
    wanted = [(place(line.points[-1][1]), line.name, line.kind) for line in given if line.name]
    if level is not None and level[1]:
        wanted.append((place(level[0]), level[1], "faint"))
    wanted.sort()
    heights = [height for height, _, _ in wanted]
    for at in range(1, len(heights)):
        heights[at] = max(heights[at], heights[at - 1] + APART)
    over = heights[-1] - (TALL - BOTTOM) if heights else 0.0
    if over > 0:
        heights = [max(height - over, TOP + APART * at) for at, height in enumerate(heights)]
    return [
        charts.tag("text", words.short(name, 18), class_=f"name {kind}", x=edge + 8, y=height + 4)
        for height, (_, name, kind) in zip(heights, wanted, strict=True)
    ]
