"""Inline SVG from numbers: each function is pure and returns one well-formed ``<svg>`` element.

Colours come from classes in ``style.css``, so that the same marks serve light, dark and paper. Charts whose text is
beside them in a table (bars, spans) hold none and stretch to their cell; the others scale as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from visum.ship.report import words

# Up to this share of its row, a cell has this opacity. None lies between .5 and .9: there, in one theme or the other,
# neither dark nor light text is readable on it.
_SHADES = ((0.02, 0.1), (0.05, 0.18), (0.12, 0.28), (0.25, 0.38), (0.5, 0.5), (0.75, 0.9), (1.01, 1.0))
_STRONG = 0.9
NUMBERED = 20
LARGEST = 60


def tag(name: str, *inside: str, **attributes: Any) -> Markup:
    """One element. ``_`` in attribute names becomes ``-``, a trailing one is dropped; numbers keep two decimals."""
    parts = [name]
    for key, value in attributes.items():
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else words.clean(str(value))
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    body = "".join(str(part if isinstance(part, Markup) else escape(words.clean(part))) for part in inside)
    return Markup(f"<{' '.join(parts)}>{body}</{name}>")


def bar(value: float | None, low: float | None, high: float | None, *, chosen: bool, tip: str) -> Markup:
    """A bar from 0 to ``value`` (share, 0 … 1) with a whisker over its interval; an empty track where it is None."""
    marks = [tag("title", tip), tag("rect", class_="track", x=0, y=4, width=100, height=7)]
    if value is not None:
        width = 100.0 * min(max(value, 0.0), 1.0)
        marks.append(tag("rect", class_="mark" if chosen else "mark other", x=0, y=4, width=width, height=7))
    if low is not None and high is not None:
        x1, x2 = 100.0 * max(low, 0.0), 100.0 * min(high, 1.0)
        end = min(max(100.0 * (value or 0.0), x1), x2)  # of the bar: before it the line is light, after it dark
        marks.append(tag("path", class_="whisker on", d=f"M{x1:.2f} 4V11M{x1:.2f} 7.5H{end:.2f}"))
        edges = f"M{x1:.2f} 2V4M{x1:.2f} 11V13" if x1 < end else f"M{x1:.2f} 2V13"
        marks.append(tag("path", class_="whisker", d=f"{edges}M{end:.2f} 7.5H{x2:.2f}M{x2:.2f} 2V13"))
    return _stretched("0 0 100 15", *marks)


def amount(value: float, most: float, *, tip: str) -> Markup:
    """A thin bar of ``value`` out of ``most`` (counts)."""
    width = 100.0 * value / most if most else 0.0
    mark = tag("rect", class_="mark other", x=0, y=2, width=width, height=6)
    return _stretched("0 0 100 10", tag("title", tip), mark)


def span(start: float, length: float, total: float, *, tip: str) -> Markup:
    """A stage on the time axis: from ``start`` for ``length`` out of ``total`` seconds, at least a hair wide."""
    total = total or 1.0
    width = max(100.0 * length / total, 0.4)
    x = min(100.0 * start / total, 100.0 - width)
    track = tag("rect", class_="track", x=0, y=4, width=100, height=6)
    return _stretched(
        "0 0 100 14", tag("title", tip), track, tag("rect", class_="mark", x=x, y=4, width=width, height=6)
    )


def _stretched(box: str, *marks: Markup) -> Markup:
    return tag("svg", *marks, class_="bar", viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup | None:
    """Heat map of ``confusion`` (K rows of truth, K columns of answers), each cell shaded by its share of the row.

    Numbers up to 20 classes, shades alone up to 60, None beyond: more cells than a page can show.
    """
    k = len(classes)
    if k > LARGEST:
        return None
    numbered = k <= NUMBERED
    cell = 46.0 if k <= 12 else 34.0 if numbered else 14.0
    text, letters = (13.0, 16) if numbered else (10.0, 14)
    labels = [words.short(name, letters) for name in classes]
    margin = max((len(name) for name in labels), default=1) * text * 0.56 + 12
    tall = margin * 0.71 + 12
    side, right = k * cell, margin * 0.55
    marks = []
    for i, (row, name) in enumerate(zip(confusion, labels, strict=True)):
        x, y, total = margin + i * cell + cell / 2, tall + i * cell + cell / 2, sum(row)
        where = f"translate({x:.1f} {tall - 8:.1f}) rotate(-45)"
        marks.append(tag("text", name, transform=where, font_size=text))
        marks.append(tag("text", name, x=margin - 9, y=y + text * 0.36, font_size=text, text_anchor="end"))
        for j, number in enumerate(row):
            left, top, size = margin + j * cell + 1, tall + i * cell + 1, cell - 2
            shade = next(a for limit, a in _SHADES if number / (total or 1) <= limit) if number else 0.0
            kind = "cell" if not number else "cell right" if i == j else "cell wrong"
            answer = f"{words.short(classes[i], 80)} → {words.short(classes[j], 80)}: {number} of {total}"
            if number or numbered:
                box: dict[str, Any] = {"x": left, "y": top, "width": size, "height": size, "rx": 2}
                shaded = {"fill_opacity": shade} if number else {}
                marks.append(tag("rect", tag("title", answer), class_=kind, **box, **shaded))
            if number and numbered:
                ink = "number on" if shade >= _STRONG else "number"
                at = {"x": left + size / 2, "y": top + size / 2 + 5, "text_anchor": "middle"}
                marks.append(tag("text", str(number), class_=ink, font_size=min(15.0, cell * 0.38), **at))
    frame = tag("rect", class_="frame" if numbered else "frame full", x=margin, y=tall, width=side, height=side)
    title = tag("title", f"Confusion matrix of {k} classes: truth in rows, answers in columns")
    width, height = margin + side + right, tall + side + 2
    drawn = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "style": f"width:{width:.0f}px"}
    return tag("svg", title, frame, *marks, class_="matrix", role="img", **drawn)


def reliability(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Confidence (across) against share right (up), one dot per non-empty bin with its Wilson interval and, below, how
    many answers fall into it. On the diagonal, confidence can be taken at its word."""
    left, top, side, low = 46.0, 10.0, 300.0, 70.0
    full = [b for b in bins if b.get("n") and b.get("confidence") is not None and b.get("accuracy") is not None]
    most = max((b["n"] for b in full), default=1)
    base = top + side + 60 + low
    marks = [tag("title", "Reliability diagram: share of right answers at each confidence")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * side, top + side * (1 - tick)
        marks.append(tag("path", class_="rule", d=f"M{left} {y}H{left + side}M{x} {top}V{top + side}"))
        label = f"{100 * tick:.0f}"
        marks.append(tag("text", label, class_="tick", x=left - 8, y=y + 4, text_anchor="end"))
        marks.append(tag("text", label, class_="tick", x=x, y=top + side + 17, text_anchor="middle"))
    marks.append(tag("path", class_="ideal", d=f"M{left} {top + side}L{left + side} {top}"))
    points = [(left + b["confidence"] * side, top + side * (1 - b["accuracy"])) for b in full]
    if len(points) > 1:
        marks.append(tag("path", class_="line", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)))
    for b, (x, y) in zip(full, points, strict=True):
        said = f"{words.percent(b['confidence'])} sure, right {words.percent(b['accuracy'])}"
        tip = tag("title", f"{said}: {words.plural(b['n'], 'answer')}")
        if b.get("accuracy_low") is not None and b.get("accuracy_high") is not None:
            y1, y2 = (top + side * (1 - b[key]) for key in ("accuracy_low", "accuracy_high"))
            marks.append(tag("path", class_="whisker", d=f"M{x:.1f} {y1:.1f}V{y2:.1f}"))
        marks.append(tag("circle", tip, class_="dot", cx=x, cy=y, r=3 + 4 * math.sqrt(b["n"] / most)))
        x1, x2 = left + b["low"] * side + 1, left + b["high"] * side - 1
        tall = max(low * b["n"] / most, 1.0)
        marks.append(tag("rect", tip, class_="mark other", x=x1, y=base - tall, width=max(x2 - x1, 1.0), height=tall))
        if x2 - x1 > 6 * len(str(b["n"])):
            middle = {"x": (x1 + x2) / 2, "y": base - tall - 4, "text_anchor": "middle"}
            marks.append(tag("text", str(b["n"]), class_="tick", **middle))
    marks.append(
        tag(
            "text",
            "how sure it says it is, %",
            class_="axis",
            x=left + side / 2,
            y=top + side + 33,
            text_anchor="middle",
        )
    )
    up = f"translate(11 {top + side / 2}) rotate(-90)"
    marks.append(tag("text", "how often it is right, %", class_="axis", transform=up, text_anchor="middle"))
    marks.append(tag("text", "number of answers", class_="axis", x=left + side / 2, y=base + 16, text_anchor="middle"))
    return tag("svg", *marks, class_="reliability", viewBox=f"0 0 {left + side + 14:.0f} {base + 22:.0f}", role="img")
