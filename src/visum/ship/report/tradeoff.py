"""The page of ``visum tradeoff``: plain accuracy against accuracy under attack.

Pure: from the facts as plain JSON to one self-contained page, without script, like the report.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from visum.ship.report import words
from visum.ship.report.charts import tag
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json

LEFT, TOP, WIDE, HIGH = 52.0, 12.0, 600.0, 340.0
DASHES = ("none", "7 4", "2 4", "12 4 2 4")
"""Of lines, so that they differ without colour."""


def text(facts: Json) -> str:
    """The page as HTML; ``facts``: what tradeoff.json holds."""
    return rendered("tradeoff.html", "attack.css", **view(facts))


def view(facts: Json) -> dict[str, Any]:
    """Everything that the template names but the style."""
    return {
        "facts": facts,
        "lede": lede(facts),
        "notes": notes(facts),
        "plane": plane(facts),
        "curves": curves(facts),
        "rows": [
            {
                "number": number,
                "name": model["name"],
                "clean": words.percent(model["clean"]["value"]),
                "clean_range": words.interval(model["clean"]),
                "robust": words.percent(model["robust"]["value"]),
                "robust_range": words.interval(model["robust"]),
                "key": key(number),
            }
            for number, model in enumerate(facts["models"], 1)
        ],
    }


def lede(facts: Json) -> str:
    """What came out in a sentence or two."""
    models = facts["models"]
    plain, tough = max(models, key=lambda m: m["clean"]["value"]), max(models, key=lambda m: m["robust"]["value"])
    of = f"of {words.plural(facts['n'], 'picture')}, when each value may change by {facts['epsilon']} of black to white"
    found = f"{words.short(tough['name'], 40)} stays right on {words.percent(tough['robust']['value'])} {of}"
    if plain is tough:
        return (
            f"{found}, and on {words.percent(tough['clean']['value'])} as they are. Nothing here is better at either."
        )
    cost = 100 * (plain["clean"]["value"] - tough["clean"]["value"])
    gain = 100 * (tough["robust"]["value"] - plain["robust"]["value"])
    return (
        f"{found}. Against {words.short(plain['name'], 40)}, which is right most often on plain ones, that is {gain:.1f} points "
        f"more under attack, for {cost:.1f} points less on plain pictures."
    )


def notes(facts: Json) -> list[str]:
    """What a reader has to know besides."""
    found = []
    if seen := [model["name"] for model in facts["models"] if model["trained_on"]]:
        found.append(f"Some of these pictures were trained on, so that the numbers flatter: {', '.join(seen)}.")
    if facts["of"] > facts["n"]:
        of = words.plural(facts["of"], "labelled picture")
        found.append(f"Drawn from {of}{' (' + facts['split'] + ')' if facts['split'] else ''}.")
    return found


def plane(facts: Json) -> Markup:
    """Each bundle as a point: right on plain pictures (across), right under attack (up), with 95 % intervals."""
    marks = [tag("title", "Accuracy under attack against accuracy on plain pictures")]
    marks += _rules()
    for tick in (0, 25, 50, 75, 100):
        x, _ = _at(tick / 100, 0)
        marks.append(tag("text", f"{tick}", class_="tick", x=x, y=TOP + HIGH + 18, text_anchor="middle"))
    low, high = _at(0, 0), _at(1, 1)
    marks.append(tag("path", class_="equal", d=f"M{low[0]:.1f} {low[1]:.1f}L{high[0]:.1f} {high[1]:.1f}"))
    for number, model in enumerate(facts["models"], 1):
        clean, robust = model["clean"], model["robust"]
        x, y = _at(clean["value"], robust["value"])
        across, up = (
            (_at(clean[end], 0)[0] for end in ("low", "high")),
            (_at(0, robust[end])[1] for end in ("low", "high")),
        )
        (x0, x1), (y0, y1) = across, up
        marks.append(tag("path", class_="cross", d=f"M{x0:.1f} {y:.1f}H{x1:.1f}M{x:.1f} {y0:.1f}V{y1:.1f}"))
        tip = tag(
            "title",
            f"{model['name']}: {words.percent(clean['value'])} plain, {words.percent(robust['value'])} attacked",
        )
        marks.append(tag("circle", tip, class_="seen", cx=x, cy=y, r=9))
        marks.append(tag("text", f"{number}", class_="inside", x=x, y=y + 4, text_anchor="middle"))
    return _framed(marks, "right on plain pictures, %", f"right under changes of {facts['epsilon']}, %")


def curves(facts: Json) -> Markup:
    """Accuracy (up) against the size of the change (across), a line for each bundle."""
    most = facts["models"][0]["curve"][-1]["radius"] or 1.0
    marks = [tag("title", "Accuracy against the largest change of a value"), *_rules()]
    for point in facts["models"][0]["curve"]:
        x, _ = _at(point["radius"] / most, 0)
        marks.append(tag("text", f"{point['radius']:.3g}", class_="tick", x=x, y=TOP + HIGH + 18, text_anchor="middle"))
    for number, model in enumerate(facts["models"], 1):
        seen = [(_at(p["radius"] / most, p["accuracy"]["value"]), p) for p in model["curve"]]
        line = "L".join(f"{x:.1f} {y:.1f}" for (x, y), _ in seen)
        dash = DASHES[(number - 1) % len(DASHES)]
        marks.append(tag("path", class_="step", d=f"M{line}", stroke_dasharray=dash))
        for (x, y), point in seen:
            said = f"{model['name']}, {point['radius']:.3g}: {words.percent(point['accuracy']['value'])}"
            tip = tag("title", f"{said} ({words.interval(point['accuracy'])})")
            marks.append(tag("circle", tip, class_="dot", cx=x, cy=y, r=3.5))
    return _framed(marks, "largest change of a value, black to white is 1", "right, %")


def key(number: int) -> Markup:
    """A piece of the line of a bundle."""
    line = tag("path", class_="step", d="M0 6H34", stroke_dasharray=DASHES[(number - 1) % len(DASHES)])
    return tag("svg", line, class_="line-key", viewBox="0 0 34 12", aria_hidden="true")


def _at(across: float, up: float) -> tuple[float, float]:
    return LEFT + WIDE * across, TOP + HIGH * (1 - up)


def _rules() -> list[Markup]:
    marks = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = _at(0, tick)
        marks.append(tag("path", class_="rule", d=f"M{LEFT} {y:.1f}H{LEFT + WIDE}"))
        marks.append(tag("text", f"{100 * tick:.0f}", class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"))
    return marks


def _framed(marks: list[Markup], across: str, up: str) -> Markup:
    middle = {"x": LEFT + WIDE / 2, "y": TOP + HIGH + 40, "text_anchor": "middle"}
    marks.append(tag("text", across, class_="axis", **middle))
    turned = f"translate(13 {TOP + HIGH / 2}) rotate(-90)"
    marks.append(tag("text", up, class_="axis", transform=turned, text_anchor="middle"))
    box = f"0 0 {LEFT + WIDE + 24:.0f} {TOP + HIGH + 48:.0f}"
    return tag("svg", *marks, class_="curve", viewBox=box, role="img")
