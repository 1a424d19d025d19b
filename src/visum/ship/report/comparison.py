"""The page of ``visum compare``: which classifier is best on the same images, how sure that is, and what more images would tell.

Pure: from the comparison as plain JSON to one self-contained page, without script, like the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from visum.ship.report import charts, words
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json

IDS = 300
"""Names of images listed for each run."""


def text(made: Json, notes: Sequence[str] = ()) -> str:
    """The page as HTML.

    Args:
        made: ``judge.compare.Comparison`` as JSON.
        notes: what a reader has to know besides.
    """
    return rendered("comparison.html", "comparison.css", **view(made), notes=list(notes))


def view(made: Json) -> dict[str, Any]:
    """Everything that the template names but notes and style."""
    best, metric = made["best"], made["metric"]
    wanted = list(made["scores"][best])

    def place(name: str) -> float:
        return -(words.value(made["scores"][name][metric]) or 0.0)

    others = sorted(made["others"], key=lambda each: place(each["name"]))
    return {
        "n": made["n"],
        "best": best,
        "headline": headline(made),
        "lede": lede(made),
        "pairs": made["pairs"],
        "metrics": [words.metric_name(name) for name in wanted],
        "runs": [
            {"name": name, "best": name == best, "cells": [_cell(each, scores[each], name == best) for each in wanted]}
            for name, scores in sorted(made["scores"].items(), key=lambda one: place(one[0]))
        ],
        "plots": [_plot(each, others) for each in wanted],
        "shown": [_shown(made, each) for each in others],
        "apart": [_apart(best, each) for each in others],
    }


def different(other: Json, metric: str) -> bool:
    """Whether a run differs from the best one beyond chance."""
    return bool(_of(other, metric)["different"])


def headline(made: Json) -> list[tuple[str, bool]]:
    """What came out, in pieces; True: to be emphasised."""
    best, others = made["best"], made["others"]
    beaten = [each["name"] for each in others if different(each, made["metric"])]
    if len(beaten) == len(others):
        against = words.short(beaten[0], 40) if len(others) == 1 else f"all {len(others)} others"
        return [(words.short(best, 40), True), (f" is better than {against}", False)]
    if not beaten:
        them = f"{words.short(best, 40)} and {words.short(others[0]['name'], 40)}" if len(others) == 1 else "them"
        return [(f"{words.plural(made['n'], 'image')} ", False), ("cannot tell", True), (f" {them} apart", False)]
    rest = [words.short(each["name"], 40) for each in others if each["name"] not in beaten]
    equal = rest[0] if len(rest) == 1 else f"{len(rest)} others"
    return [(words.short(best, 40), True), (f" scores highest; {equal} may be as good", False)]


def lede(made: Json) -> str:
    """The comparison with the runner-up in a sentence or two."""
    metric = made["metric"]
    runner = max(made["others"], key=lambda each: words.value(made["scores"][each["name"]][metric]) or 0)
    score, second = (made["scores"][name][metric]["value"] for name in (made["best"], runner["name"]))
    found = _of(runner, metric)
    said = (
        f"{words.metric_name(metric)} of {words.short(made['best'], 60)} is {words.percent(score)}, of "
        f"{words.short(runner['name'], 60)}, the next best, {words.percent(second)}: {_points(-found['value'])} points apart "
        f"({_points(-found['high'], sign=True)} to {_points(-found['low'], sign=True)})."
    )
    if found["different"]:
        return f"{said} Two that are equally good would seldom be so far apart: {odds(found['adjusted'])}."
    return f"{said} Two that are equally good may well be as far apart: {odds(found['adjusted'])}."


def odds(p: float) -> str:
    """A p-value in words."""
    if p < 0.001:
        return "less than once in 1,000 such sets of images"
    if p < 0.1:
        return f"about once in {round(1 / p):,} such sets of images"
    return f"in about {min(round(100 * p), 99)} of 100 such sets of images" if p < 1 else "in any such set of images"


def interval(found: Json, extent: float, band: float | None) -> Markup:
    """A difference and its interval around 0, in the middle, as an element that stretches to its cell.

    Args:
        found: a difference.
        extent: what lies at the edges.
        band: half-width of the shaded strip of what these images could not show, where it is known.
    """

    def x(value: float) -> float:
        return 100 + 100 * max(-1.0, min(1.0, value / extent))

    tip = f"{_number(found['metric'], found['value'])} ({_span(found)})"
    marks = [charts.tag("title", tip), charts.tag("rect", class_="track", x=0, y=3, width=200, height=18)]
    if band is not None:
        width = x(band) - x(-band)
        marks.append(charts.tag("rect", class_="unseen", x=x(-band), y=3, width=width, height=18))
    marks.append(charts.tag("path", class_="zero", d="M100 0V24"))
    low, high, at = x(found["low"]), x(found["high"]), x(found["value"])
    kind = "sure" if found["different"] else "unsure"
    marks.append(
        charts.tag("path", class_=f"ends {kind}", d=f"M{low:.2f} 12H{high:.2f}M{low:.2f} 8V16M{high:.2f} 8V16")
    )
    marks.append(charts.tag("path", class_=f"point {kind}", d=f"M{at:.2f} 12h.01"))
    return charts.tag(
        "svg", *marks, class_="spread", viewBox="0 0 200 24", preserveAspectRatio="none", aria_hidden="true"
    )


def shares(other: Json) -> Markup:
    """How many images both, one and none get right, as one stretched bar."""
    counts = [(key, other[key]) for key in ("both", "only_best", "only_this", "neither")]
    total, left, marks = sum(number for _, number in counts) or 1, 0.0, []
    for key, number in counts:
        width = 100.0 * number / total
        if number:
            marks.append(charts.tag("rect", class_=f"part {key}", x=left, y=0, width=max(width - 0.3, 0.1), height=14))
        left += width
    return charts.tag("svg", *marks, class_="bar", viewBox="0 0 100 14", preserveAspectRatio="none", aria_hidden="true")


def _of(other: Json, metric: str) -> Json:
    found: Json = next(each for each in other["differences"] if each["metric"] == metric)
    return found


def _points(share: float, *, sign: bool = False) -> str:
    """A difference of shares in points."""
    return f"{100 * share:{'+' if sign else ''}.1f}".replace("-", "\u2212")


def _number(metric: str, value: float) -> str:
    if words.is_share(metric):
        return f"{_points(value, sign=True)} points"
    return f"{value:+.3f}".replace("-", "\u2212")


def _span(found: Json) -> str:
    if words.is_share(found["metric"]):
        return f"{_points(found['low'], sign=True)} to {_points(found['high'], sign=True)}"
    return f"{found['low']:+.3f} to {found['high']:+.3f}".replace("-", "\u2212")


def _cell(metric: str, score: Json, best: bool) -> dict[str, Any]:
    share = words.is_share(metric)
    shown = words.percent(score["value"]) if share else words.decimal(score["value"])
    svg = charts.bar(score["value"], score["low"], score["high"], chosen=best, tip=shown) if share else None
    return {
        "svg": svg,
        "text": shown,
        "interval": words.interval(score, share=share),
        "name": words.metric_name(metric),
    }


def _plot(metric: str, others: Sequence[Json]) -> dict[str, Any]:
    found = [(each, _of(each, metric)) for each in others]
    furthest = max(abs(one[key]) for _, one in found for key in ("low", "high"))
    extent = _round_up(max(furthest, 1e-6))
    half, share = extent / 2, words.is_share(metric)
    lower = "lower is better" in words.metric_name(metric)
    return {
        "name": words.metric_name(metric).split(" (")[0],
        "unit": "points" if share else "",
        "left": "better than the best" if lower else "worse than the best",
        "right": "worse than the best" if lower else "better than the best",
        "ticks": [(50 + 50 * at / extent, _tick(at, share)) for at in (-extent, -half, 0.0, half, extent)],
        "rows": [
            {
                "name": each["name"],
                "svg": interval(one, extent, each["smallest"] if metric == "accuracy" else None),
                "text": _number(metric, one["value"]),
                "range": _span(one),
                "verdict": "beyond chance" if one["different"] else "could be chance",
                "different": one["different"],
                "p": f"p\u00a0=\u00a0{one['adjusted']:.3f}" if one["adjusted"] >= 0.0005 else "p\u00a0<\u00a00.001",
            }
            for each, one in found
        ],
        "shaded": metric == "accuracy",
    }


def _tick(value: float, share: bool) -> str:
    shown = round(100 * value if share else value, 9)
    return f"{shown:+g}".replace("-", "\u2212") if shown else "0"


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 10 times a power of ten."""
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(step * power for step in (1, 2, 4, 6, 10) if step * power >= value * (1 - 1e-9))


def _shown(made: Json, other: Json) -> dict[str, Any]:
    n, need = made["n"], other["needed"]
    seen = abs(other["only_best"] - other["only_this"]) / n
    if need is None:
        said = "there is no difference to settle"
    elif need <= n:
        said = "these are enough"
    else:
        said = f"{words.count(need - n)} more"
    return {
        "name": other["name"],
        "seen": f"{_points(seen)} points",
        "smallest": "none" if other["smallest"] >= 1 else f"{_points(other['smallest'])} points",
        "more": said,
        "apart": words.percent((other["only_best"] + other["only_this"]) / n),
    }


def _apart(best: str, other: Json) -> dict[str, Any]:
    keys = {
        "both": "both right",
        "only_best": f"only {words.short(best, 30)}",
        "only_this": f"only {words.short(other['name'], 30)}",
        "neither": "both wrong",
    }
    lists: Mapping[str, Sequence[str]] = {keys["only_best"]: other["apart"][0], keys["only_this"]: other["apart"][1]}
    return {
        "name": other["name"],
        "svg": shares(other),
        "parts": [(key, said, other[key]) for key, said in keys.items()],
        "lists": [(said, list(ids[:IDS]), max(0, len(ids) - IDS)) for said, ids in lists.items() if ids],
    }
