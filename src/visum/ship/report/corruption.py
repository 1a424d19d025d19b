"""The page of ``visum corrupt``: a small curve for each kind of corruption, worst first.

Pure: from the facts as plain JSON to one self-contained page, without script, like the report.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from visum.ship.report import words
from visum.ship.report.charts import tag
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json

LEFT, TOP, WIDE, HIGH = 34.0, 8.0, 210.0, 110.0
MOST = 5
"""The largest severity there is: all curves have the same ground."""


def text(facts: Json) -> str:
    """The page as HTML; ``facts``: what corruption.json holds."""
    return rendered("corruption.html", "attack.css", **view(facts))


def view(facts: Json) -> dict[str, Any]:
    """Everything that the template names but the style."""
    return {
        "facts": facts,
        "notes": notes(facts),
        "kinds": [
            {
                "name": row["kind"].replace("_", " "),
                "family": row["family"],
                "value": words.percent(row["accuracy"]["value"]),
                "range": words.interval(row["accuracy"]),
                "drop": f"{100 * row['drop']:.1f}".replace("-", "\u2212"),
                "svg": curve(row),
            }
            for row in facts["kinds"]
        ],
        "baseline": _baseline(facts["baseline"]) if facts["baseline"] else [],
    }


def notes(facts: Json) -> list[str]:
    """What a reader has to know besides."""
    if facts["of"] > facts["n"]:
        return [f"{words.plural(facts['n'], 'image')} of {facts['of']:,} were asked about, evenly over the classes."]
    return []


def curve(row: Json) -> Markup:
    """Accuracy (up) against severity (across, 0 is clean), with its 95 % band."""
    points = row["curve"]

    def at(severity: float, share: float) -> tuple[float, float]:
        return LEFT + WIDE * severity / MOST, TOP + HIGH * (1 - share)

    def line(end: str) -> list[str]:
        return [f"{x:.1f} {y:.1f}" for x, y in (at(p["severity"], p["accuracy"][end]) for p in points)]

    said = ", ".join(f"{p['severity']}: {words.percent(p['accuracy']['value'])}" for p in points)
    marks = [tag("title", f"{row['kind'].replace('_', ' ')}: right at severity {said}")]
    for tick in (0.0, 0.5, 1.0):
        _, y = at(0, tick)
        marks.append(tag("path", class_="rule", d=f"M{LEFT} {y:.1f}H{LEFT + WIDE}"))
        marks.append(tag("text", f"{100 * tick:.0f}", class_="tick", x=LEFT - 6, y=y + 4, text_anchor="end"))
    marks.append(tag("path", class_="band", d=f"M{'L'.join([*line('high'), *line('low')[::-1]])}Z"))
    marks.append(tag("path", class_="step", d=f"M{'L'.join(line('value'))}"))
    for point in points:
        x, y = at(point["severity"], point["accuracy"]["value"])
        marks.append(tag("circle", class_="dot", cx=x, cy=y, r=2.5))
        marks.append(tag("text", f"{point['severity']}", class_="tick", x=x, y=TOP + HIGH + 15, text_anchor="middle"))
    return tag(
        "svg", *marks, class_="curve small", viewBox=f"0 0 {LEFT + WIDE + 8:.0f} {TOP + HIGH + 20:.0f}", role="img"
    )


def _baseline(base: Json) -> list[tuple[str, str, str]]:
    """(What it is, its value, its interval) of each number that is relative to the baseline."""
    named = (
        ("mean_corruption_error", "mean corruption error: errors under corruption by those of the baseline"),
        ("relative_mean_corruption_error", "relative: errors that corruption adds, by those it adds to the baseline"),
    )
    return [
        (name, words.percent(base[key]["value"]), words.interval(base[key]))
        for key, name in named
        if base[key]["value"]
    ]
