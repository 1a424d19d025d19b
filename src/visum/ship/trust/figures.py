"""The pictures of the trust page: inline SVG from a step's block, each a pure function of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from visum.ship.report import charts, words
from visum.ship.report.words import Json, percent, plural
from visum.ship.trust import plots

GROUPS = 14
"""Groups that are drawn, worst first; the others are in a table behind a fold."""


def calibration(block: Json) -> dict[str, Any]:
    """The reliability diagram."""
    return {
        "figure": charts.reliability(block["reliability"]),
        "key": "On the dashed line, confidence can be taken at its word; below it the model is too sure, above it too modest. "
        "Lines are 95\u202f% intervals.",
    }


def abstention(block: Json) -> dict[str, Any]:
    """Risk against coverage."""
    best = block["measures"][0]
    points = [(coverage, risk, low, high) for coverage, risk, low, high in best["curve"]]
    whole = block["risk"]["value"]
    top = max(0.1, min(1.0, 1.6 * max(whole, *(risk for _, risk, _, _ in points[len(points) // 10 :]))))
    ticks = [(share / 4, f"{25 * share}") for share in range(5)]
    drawn = plots.lines(
        [plots.Line("surest first", points)],
        title="Share of wrong answers at each share of answered images",
        across="how many of the images it answers, %",
        up="wrong among them, %",
        ticks=ticks,
        high=top,
        level=(whole, "in any order"),
    )
    return {
        "figure": drawn,
        "key": "Images are answered surest first, from left to right. The further the line stays below the dashed one, the "
        "more its doubts are worth; the shade is a 95\u202f% interval.",
    }


def drift(block: Json) -> dict[str, Any]:
    """The four questions of ``visum monitor``, and how small a drift as many pictures would show."""
    words_ = {
        "alarm": "changed",
        "quiet": "as before",
        "unclear": "unclear",
        "too_few": "too few",
        "not_judged": "not judged",
    }
    power = block["power"]
    listed = [
        {
            "name": each["question"],
            "mark": words_.get(each["status"], each["status"]),
            "kind": "watch" if each["status"] == "alarm" else "good" if each["status"] == "quiet" else "none",
            "text": f"{each['says']} {_seen(each['kind'], power.get(each['kind']))}".strip(),
        }
        for each in block["kinds"]
    ]
    return {"listed": listed, "key": f"Asked of {plural(block['n'], 'judged image')} as visum monitor would."}


SEEN = {
    "covariate": "pictures that move by {} of the distance between two classes",
    "label": "{} of the pictures replaced by pictures of one class",
    "concept": "{} of the right answers called otherwise",
    "unknown": "{} of the pictures unlike anything known",
}


def _seen(kind: str, power: Json | None) -> str:
    if power is None or kind not in SEEN:
        return ""
    what = SEEN[kind]
    if power["size"] is None:
        return f"{power['n']} pictures would not even show {what.format('half')}, four times out of five."
    return f"Four times out of five, {power['n']} pictures would show {what.format(percent(power['size'], 0))}."


def conformal(block: Json) -> dict[str, Any]:
    """Promised and kept, for each coverage."""
    rows = [
        {
            "name": f"{percent(each['promised'], 0)} promised",
            "note": f"{each['size']:.2f} classes on average; one class alone in {percent(each['single'], 0)} of the sets",
            "svg": kept(each, each["promised"], (each["low_law"], each["high_law"]), 0.05 / len(block["levels"])),
            "text": percent(each["value"]),
            "range": words.interval(each),
            "verdict": "fewer than promised, beyond chance" if each["p"] <= 0.05 / len(block["levels"]) else "",
        }
        for each in block["levels"]
    ]
    worst = min(
        (each["worst"] for each in block["levels"] if each["worst"] and abs(each["promised"] - 0.9) < 0.06),
        key=lambda each: each["value"],
        default=None,
    )
    more = ""
    if worst is not None:
        more = (
            f" The promise is for all images together, not for each class: least often covered is {worst['class']} "
            f"({percent(worst['value'])} of {worst['n']}, {words.interval(worst)} allowing for all classes)."
        )
    return {
        "dots": rows,
        "key": f"The scale begins at 50\u202f%. The line is the promise, the shade what {block['calibrated_on']:,} validation "
        f"images can promise (95\u202f%), the dot what these images show.{more}",
    }


def unknown(block: Json) -> dict[str, Any]:
    """Bars: what passes and what is caught."""
    passes = bar("Known images that pass", block["kept"], True)
    caught = [
        bar(
            f"Called unknown: {each['words']}",
            {"value": each["caught"], "low": each["low"], "high": each["high"]},
            False,
        )
        for each in block["strangers"]
    ]
    return {
        "bars": [passes, *caught],
        "key": f"Detector: {block['detector'].replace('_', ' ')}, fitted on training images alone.",
    }


def corruptions(block: Json) -> dict[str, Any]:
    """Accuracy against severity: all kinds together, and each family."""
    severities = block["severities"]
    clean = (0.0, *(block["clean"][key] for key in ("value", "low", "high")))
    mean = [
        (float(s), each["value"], each["low"], each["high"]) for s, each in zip(severities, block["mean"], strict=True)
    ]
    families: dict[str, list[Json]] = {}
    for each in block["kinds"]:
        families.setdefault(each["family"], []).append(each)
    drawn = [plots.Line("all kinds", [clean, *mean], "main", dots=True)]
    for name, kinds in families.items():
        values = [sum(_curve(each)[at] for each in kinds) / len(kinds) for at in range(len(severities))]
        points = [
            (clean[0], clean[1], None, None),
            *((float(s), v, None, None) for s, v in zip(severities, values, strict=True)),
        ]
        drawn.append(plots.Line(name, points, "other"))
    table = [(each["kind"].replace("_", " "), *(percent(value) for value in _curve(each))) for each in block["kinds"]]
    return {
        "figure": plots.lines(
            drawn,
            title="Accuracy at each severity of 15 kinds of corruption",
            across="severity",
            up="right, %",
            ticks=[(0.0, "none"), *((float(s), str(s)) for s in severities)],
        ),
        "key": "Severity 5 is as strong as the benchmark goes (ImageNet-C); the pictures below are at 3.",
        "table": {"title": "All 15 kinds", "head": ("Kind", *(f"severity {s}" for s in severities)), "rows": table},
    }


def _curve(kind: Json) -> list[float]:
    """Accuracy of a kind at each severity."""
    return [each["accuracy"]["value"] for each in kind["curve"] if each["severity"]]


def attacks(block: Json) -> dict[str, Any]:
    """Accuracy against the size of the change."""
    clean = (0.0, *(block["clean"][key] for key in ("value", "low", "high")))
    names = {"fgsm": "one step (FGSM)", "pgd10": "ten steps (PGD)"}
    drawn = []
    for attack in dict.fromkeys(row["attack"] for row in block["rows"]):
        rows = [row for row in block["rows"] if row["attack"] == attack]
        points = [clean, *((row["epsilon"], row["value"], row["low"], row["high"]) for row in rows)]
        drawn.append(plots.Line(names.get(attack, attack), points, "main" if attack != "fgsm" else "other", dots=True))
    radii = sorted({row["epsilon"] for row in block["rows"]})
    return {
        "figure": plots.lines(
            drawn,
            title="Accuracy under attack",
            across="largest change of a pixel, of 255",
            up="right, %",
            ticks=[(0.0, "0"), *((radius, f"{radius:g}") for radius in radii)],
        ),
        "key": "The attacker knows the network. The shade is a 95\u202f% interval.",
    }


def kept(score: Json, promised: float, law: tuple[float, float], level: float, low: float = 0.5) -> Markup:
    """A share with its interval, beside what was promised; marked where its p-value is at most ``level``."""

    def x(share: float) -> float:
        return 200 * (max(low, min(1.0, share)) - low) / (1 - low)

    kind = "low" if score["p"] <= level else "usual"
    marks = [
        charts.tag("title", f"{percent(score['value'])} ({words.interval(score)})"),
        charts.tag("rect", class_="track", x=0, y=3, width=200, height=18),
        charts.tag("rect", class_="promise", x=x(law[0]), y=3, width=x(law[1]) - x(law[0]), height=18),
        charts.tag("path", class_="zero", d=f"M{x(promised):.2f} 0V24"),
        charts.tag("path", class_=f"own {kind}", d=f"M{x(score['low']):.2f} 12H{x(score['high']):.2f}"),
        charts.tag("path", class_=f"point {kind}", d=f"M{x(score['value']):.2f} 12h.01"),
    ]
    return charts.tag(
        "svg", *marks, class_="spread", viewBox="0 0 200 24", preserveAspectRatio="none", aria_hidden="true"
    )


def slices(block: Json) -> dict[str, Any]:
    """Groups as dots with intervals, farthest below their share first."""
    order = sorted(block["groups"], key=lambda each: -each["z"])
    rows = [
        {
            "name": each["name"],
            "note": f"{each['by']}, {plural(each['n'], 'image')}",
            "svg": ranged(each, block["accuracy"]),
            "text": percent(each["accuracy"]),
            "range": words.interval({"low": each["all_low"], "high": each["all_high"]}),
            "marked": each["p"] <= 0.05,
            "verdict": _chance(each),
        }
        for each in order
    ]
    rare = [
        {
            "name": each["name"],
            "note": each["by"],
            "train": percent(each["train_share"]),
            "here": percent(each["share"]),
        }
        for each in (block.get("representation") or {}).get("rows", ())
        if each["rare"]
    ]
    return {
        "dots": rows[:GROUPS],
        "rest": rows[GROUPS:],
        "key": f"The line is all images together, {percent(block['accuracy'])}. Thick: the 95\u202f% interval of the group "
        f"alone; thin, and in numbers: the one that holds for all {len(rows)} groups at once.",
        "rare": rare,
        "few": [f"{each['name']} ({each['by']}, {each['n']})" for each in block["few"]],
    }


def _chance(each: Json) -> str:
    if each["p"] > 0.05:
        return ""
    within = each.get("p_within")
    if within is not None and within > 0.05:
        return "below the rest, as its classes are"
    return "below the rest, beyond chance"


def shortcut(block: Json) -> dict[str, Any]:
    """Bars of who is right how often."""
    names = {
        "real": "The model, whole picture",
        "border": "A classifier that sees the border only",
        "colour": "A classifier that sees the mean colour only",
        "majority": "Always the most frequent class",
    }
    how = (
        f"trained on {words.count(block['trained_on'])} images"
        if block["trained_on"]
        else "cross-validated on these images"
    )
    return {
        "bars": [bar(words_, block[key], key == "real") for key, words_ in names.items()],
        "key": f"The two small classifiers were {how}.",
    }


def background(block: Json) -> dict[str, Any]:
    """Bars of who is right how often."""
    names = {"whole": "Whole picture", "inner": "Inner half only", "outer": "Outer half only"}
    bars = [bar(told, block[key], key == "whole") for key, told in names.items()]
    chance = {"value": block["chance"], "low": None, "high": None}
    return {
        "bars": [*bars, bar("Always the most frequent class", chance, False)],
        "key": "Both halves have the same area; what is hidden is grey.",
    }


def bar(name: str, score: Json, chosen: bool) -> dict[str, Any]:
    """A row of a table of bars."""
    shown = percent(score["value"])
    svg = charts.bar(score["value"], score["low"], score["high"], chosen=chosen, tip=f"{name}: {shown}")
    return {"name": name, "svg": svg, "text": shown, "range": words.interval(score)}


def ranged(group: Json, line: float) -> Markup:
    """A share with two intervals, and a line that it is compared with, as an element that stretches to its cell."""

    def x(share: float) -> float:
        return 200 * max(0.0, min(1.0, share))

    kind = "low" if group["p"] <= 0.05 else "usual"
    tip = f"{percent(group['accuracy'])} ({words.interval({'low': group['all_low'], 'high': group['all_high']})})"
    ends = [x(group[key]) for key in ("all_low", "low", "high", "all_high")]
    marks = [
        charts.tag("title", tip),
        charts.tag("rect", class_="track", x=0, y=3, width=200, height=18),
        charts.tag("path", class_="zero", d=f"M{x(line):.2f} 0V24"),
        charts.tag("path", class_=f"ends {kind}", d=f"M{ends[0]:.2f} 12H{ends[3]:.2f}"),
        charts.tag("path", class_=f"own {kind}", d=f"M{ends[1]:.2f} 12H{ends[2]:.2f}"),
        charts.tag("path", class_=f"point {kind}", d=f"M{x(group['accuracy']):.2f} 12h.01"),
    ]
    return charts.tag(
        "svg", *marks, class_="spread", viewBox="0 0 200 24", preserveAspectRatio="none", aria_hidden="true"
    )


FIGURES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "calibration": calibration,
    "abstention": abstention,
    "conformal": conformal,
    "unknown": unknown,
    "slices": slices,
    "shortcut": shortcut,
    "background": background,
    "drift": drift,
    "corruptions": corruptions,
    "attacks": attacks,
}
"""Step → what the template lays out: ``figure`` (SVG), ``dots``, ``bars``, ``key`` (how to read it) …"""


def of(name: str, block: Json) -> dict[str, Any]:
    """The pictures of a step; nothing where it was left out."""
    empty: dict[str, Any] = {
        "figure": None,
        "dots": [],
        "rest": [],
        "bars": [],
        "key": "",
        "rare": [],
        "few": [],
        "listed": [],
        "table": None,
        "more": [],
    }
    if "skipped" in block or name not in FIGURES:
        return empty
    return {**empty, **FIGURES[name](block)}


def pictures(block: Json) -> Sequence[Json]:
    """Example pictures that a step kept: ``image`` (a ``data:`` URI of a JPEG) and ``caption``."""
    kept = block.get("pictures") or ()
    return [each for each in kept if str(each["image"]).startswith("data:image/jpeg;base64,")]
