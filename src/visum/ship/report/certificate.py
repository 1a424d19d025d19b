"""The page of ``visum certify``: how many answers are proven, against how large a change.

Pure: from the facts as plain JSON to one self-contained page, without script, like the report.
"""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from visum.ship.report import words
from visum.ship.report.charts import tag
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json


def text(facts: Json) -> str:
    """The page as HTML; ``facts``: what certificate.json holds."""
    return rendered("certificate.html", "attack.css", **view(facts))


def view(facts: Json) -> dict[str, Any]:
    """Everything that the template names but the style."""
    each = (3 * facts["size"] ** 2) ** 0.5
    rows = [
        {
            "radius": f"{row['radius']:.2f}",
            "even": f"{255 * row['radius'] / each:.2f}",
            "certified": words.percent(row["certified"]["value"]),
            "certified_range": words.interval(row["certified"]),
            "attacked": words.percent(row["attacked"]["value"]) if row["attacked"] else "",
            "attacked_range": words.interval(row["attacked"]),
        }
        for row in facts["rows"]
    ]
    attacked = any(row["attacked"] for row in facts["rows"])
    return {
        "facts": facts,
        "lede": lede(facts),
        "notes": notes(facts),
        "rows": rows,
        "attacked": attacked,
        "curve": curve(facts),
    }


def lede(facts: Json) -> str:
    """The result in two sentences."""
    middle = facts["rows"][len(facts["rows"]) // 2]
    return (
        f"Under noise it is right on {words.percent(facts['smoothed']['value'])} of {words.plural(facts['n'], 'picture')} "
        f"({words.interval(facts['smoothed'])}). Of {words.percent(middle['certified']['value'])} "
        f"({words.interval(middle['certified'])}) it is proven that no change shorter than {middle['radius']:.2f} alters the "
        "answer; the length of a change counts black to white as 1."
    )


def notes(facts: Json) -> list[str]:
    """What a reader has to know besides."""
    found = []
    if facts["smoothed"]["value"] < 0.7 * facts["plain"]["value"]:
        found.append(
            f"Without noise it is right on {words.percent(facts['plain']['value'])}. It does not stand noise of "
            f"{facts['sigma']:g}: train it under such noise (--augment noise-0.25), or certify with a smaller --sigma."
        )
    if facts["trained_on"]:
        found.append(f"{words.plural(facts['trained_on'], 'picture')} of these were trained on: the numbers flatter.")
    if facts["of"] > facts["n"]:
        found.append(f"Drawn from {words.plural(facts['of'], 'labelled picture')} ({facts['split']}).")
    return found


def curve(facts: Json) -> Markup:
    """Certified accuracy (up) against radius (across), a staircase with its 95 % band; dots: accuracy under attack."""
    left, top, wide, high = 48.0, 12.0, 640.0, 300.0
    most = facts["largest"] * 1.04

    def at(r: float, share: float) -> tuple[float, float]:
        return left + wide * min(r / most, 1.0), top + high * (1 - share)

    marks = [tag("title", "Share of pictures with a right and proven answer, against the length of the change")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = at(0, tick)
        marks.append(tag("path", class_="rule", d=f"M{left} {y:.1f}H{left + wide}"))
        marks.append(tag("text", f"{100 * tick:.0f}", class_="tick", x=left - 8, y=y + 4, text_anchor="end"))
    step = 10 ** math.floor(math.log10(most / 3))
    step *= next(times for times in (1, 2, 5, 10) if most / (step * times) <= 7)
    for number in range(int(most / step) + 1):
        x, _ = at(number * step, 0)
        marks.append(tag("text", f"{number * step:g}", class_="tick", x=x, y=top + high + 18, text_anchor="middle"))
    radii, shares = facts["curve"]["radius"], facts["curve"]["certified"]
    lows, highs = facts["curve"]["low"], facts["curve"]["high"]
    ground = at(0, 0)[1]
    above = _stairs([at(r, end) for r, end in zip(radii, highs, strict=True)], ground)
    below = _stairs([at(r, end) for r, end in zip(radii, lows, strict=True)], ground, back=True)
    marks.append(tag("path", class_="band", d=f"{above}{below}Z"))
    line = _stairs([at(r, share) for r, share in zip(radii, shares, strict=True)], ground)
    marks.append(tag("path", class_="step", d=line))
    seen = [(row["radius"], row["attacked"]) for row in facts["rows"] if row["attacked"]]
    if seen:
        points = [at(r, each["value"]) for r, each in seen]
        marks.append(tag("path", class_="seen-line", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)))
        for (r, each), (x, y) in zip(seen, points, strict=True):
            tip = tag(
                "title", f"attack of length {r:.2f}: {words.percent(each['value'])} hold ({words.interval(each)})"
            )
            marks.append(tag("circle", tip, class_="seen", cx=x, cy=y, r=5))
    where = {"x": left + wide / 2, "y": top + high + 38, "text_anchor": "middle"}
    marks.append(tag("text", "length of the change, black to white is 1", class_="axis", **where))
    up = f"translate(12 {top + high / 2}) rotate(-90)"
    marks.append(tag("text", "right and proven, %", class_="axis", transform=up, text_anchor="middle"))
    return tag("svg", *marks, class_="curve", viewBox=f"0 0 {left + wide + 12:.0f} {top + high + 46:.0f}", role="img")


def _stairs(points: list[tuple[float, float]], ground: float, *, back: bool = False) -> str:
    """A falling staircase: each height holds from the radius before up to its own; from the last one it falls to the ground."""
    corners, before = [], points[0][0]
    for x, y in points:
        corners += [(before, y), (x, y)]
        before = x
    corners.append((before, ground))
    steps = corners[::-1] if back else corners
    return ("L" if back else "M") + "L".join(f"{x:.1f} {y:.1f}" for x, y in steps)
