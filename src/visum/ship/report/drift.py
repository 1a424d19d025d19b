"""The page of ``visum monitor``: what has changed, since when, in which classes, and what to do about it.

Pure: from ``drift.json`` to one self-contained page, without script, like the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from visum.ship.report import charts, pictures, words
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json

NAMES = {
    "covariate": "Pictures",
    "label": "Shares of classes",
    "concept": "Meaning of classes",
    "unknown": "Strangers",
}
HEADLINES = {
    "covariate": "the pictures have changed",
    "label": "classes come in other shares",
    "concept": "classes have another meaning",
    "unknown": "there are strangers among them",
}
STATUS = {
    "alarm": "alarm",
    "quiet": "quiet",
    "unclear": "cannot be told",
    "too_few": "too few pictures",
    "not_judged": "not judged",
}
MOST_CLASSES = 60
_WIDE, _LEFT, _TALL, _GAP = 560.0, 68.0, 58.0, 40.0
_MANY = 20  # windows from which on a narrow screen scrolls


def text(facts: Json, thumbnail: Callable[[str], bytes | None]) -> str:
    """The page as HTML.

    Args:
        facts: as in ``drift.json``.
        thumbnail: JPEG bytes of a picture by id; None where there is none.
    """
    made = view(facts)
    wanted = [name for each in made["classes"] for name in each["examples"][:4]]
    album, rules = pictures.album([*facts["strangest"], *wanted], thumbnail)
    return rendered("drift.html", "drift.css", rules=rules, album=album, **made)


def view(facts: Json) -> dict[str, Any]:
    """Everything that the template names but style and pictures."""
    overall, windows = facts["overall"], facts["windows"]
    kinds = [
        {
            "name": NAMES[kind],
            "kind": kind,
            "status": each["status"],
            "word": STATUS[each["status"]],
            "says": each["says"],
            "do": facts["do"].get(kind, ""),
            "p": f"p = {each['p']:.3f}" if each["p"] is not None else "",
            "when": _when(windows, kind) if len(windows) > 1 else "",
        }
        for kind, each in overall["kinds"].items()
    ]
    return {
        "name": facts["bundle"],
        "n": facts["n"],
        "headline": headline(facts),
        "kinds": kinds,
        "accuracy": overall["accuracy"]["says"],
        "measured": overall["accuracy"]["measured"],
        "windows": windows,
        "chart": windows_chart(windows, facts["alpha"]) if len(windows) > 1 else None,
        "curve": accuracy_chart(windows, facts["reference"]["accuracy"]) if len(windows) > 1 else None,
        "alpha": facts["alpha"],
        "sequential": facts["sequential"],
        "classes": _classes(facts),
        "left": max(0, len(facts["per_class"]) - MOST_CLASSES),
        "strangest": facts["strangest"],
        "reference": facts["reference"],
        "labels": facts["labels"],
        "times": facts["times"],
        "unreadable": facts["unreadable"],
    }


def headline(facts: Json) -> str:
    """The finding in a line."""
    if not facts["alarms"]:
        judged = [each["status"] in ("quiet", "unclear") for each in facts["overall"]["kinds"].values()]
        return "No drift was found" if any(judged) else "Nothing could be judged"
    found = words.listing([HEADLINES[kind] for kind in facts["alarms"]])
    return found[:1].upper() + found[1:]


def _when(windows: Sequence[Json], kind: str) -> str:
    """Which windows have an alarm, in words."""
    at = [number for number, each in enumerate(windows) if each["kinds"][kind]["status"] == "alarm"]
    if not at:
        return "in no window"
    first = windows[at[0]]["start"]
    since = f", first {day(first)}" if first else f", first window {at[0] + 1}"
    return f"in {len(at)} of {words.plural(len(windows), 'window')}{since}"


def day(moment: str) -> str:
    """``2026-11-25 13:00``; midnight goes without its hour."""
    return moment[:10] if moment[11:16] == "00:00" else f"{moment[:10]} {moment[11:16]}"


def _classes(facts: Json) -> list[dict[str, Any]]:
    low, high = facts["overall"]["shares_low"], facts["overall"]["shares_high"]
    names, before, now = facts["classes"], facts["reference"]["shares"], facts["overall"]["shares"]
    rows = []
    for each in facts["per_class"]:
        k = names.index(each["class"])
        p = each["p"]
        rows.append(
            {
                **each,
                "was": before[k],
                "now": now[k],
                "old_bar": charts.bar(before[k], None, None, chosen=False, tip=f"before: {words.percent(before[k])}"),
                "bar": charts.bar(now[k], low[k], high[k], chosen=True, tip=f"now: {words.percent(now[k])}"),
                "range": f"{words.percent(low[k], 0)} to {words.percent(high[k], 0)}",
                "looks": "too few to say" if p is None else "changed" if p <= facts["alpha"] else "as before",
                "changed": p is not None and p <= facts["alpha"],
                "p": "" if p is None else f"p = {p:.3f}",
            }
        )
    return sorted(rows, key=lambda row: (not row["changed"], -abs(row["now"] - row["was"])))[:MOST_CLASSES]


def _at(number: int, count: int) -> float:
    return _LEFT + 14 + (_WIDE - _LEFT - 34) * (number + 0.5) / count


def _ticks(windows: Sequence[Json], y: float) -> list[Markup]:
    """Up to five labels below the windows."""
    count = len(windows)
    step = max(1, math.ceil(count / 5))
    marks = []
    for number in range(0, count, step):
        start = windows[number]["start"]
        label = start[5:10] if start and start[11:16] == "00:00" else start[5:16].replace("T", " ") if start else None
        x = _at(number, count)
        marks.append(charts.tag("text", label or str(number + 1), class_="tick", x=x, y=y, text_anchor="middle"))
    return marks


def windows_chart(windows: Sequence[Json], alpha: float) -> Markup:
    """One row a kind, one dot a window: the higher, the less chance explains it; the dashed line is where an alarm begins."""
    count = len(windows)
    judged = max(sum(each["n"] > 0 for each in windows), 1)
    limit = -math.log10(alpha / judged)
    top = max(limit * 1.6, 3.0)
    marks = [charts.tag("title", "Surprise of each window for each kind of drift, with the line where an alarm begins")]
    for row, kind in enumerate(NAMES):
        base = 26 + row * (_TALL + _GAP) + _TALL
        marks.append(charts.tag("text", NAMES[kind], class_="name", x=0, y=base - _TALL - 12))
        marks.append(charts.tag("path", class_="rule", d=f"M0 {base}H{_WIDE}"))
        y = base - _TALL * min(limit / top, 1)
        marks.append(charts.tag("path", class_="ideal", d=f"M0 {y:.1f}H{_WIDE}"))
        for number, each in enumerate(windows):
            found = each["kinds"][kind]
            x = _at(number, count)
            p = found["p"]
            when = each["start"] or f"window {number + 1}"
            tip = charts.tag("title", f"{when}, {words.plural(each['n'], 'picture')}: {STATUS[found['status']]}")
            if p is None:
                marks.append(charts.tag("path", tip, class_="none", d=f"M{x - 3:.1f} {base - 4}H{x + 3:.1f}"))
                continue
            height = _TALL * min(-math.log10(max(p, 1e-6)) / top, 1)
            radius = 5.0 if found["status"] == "alarm" else 3.5 if count <= 60 else 2.5
            marks.append(charts.tag("circle", tip, class_=f"point {found['status']}", cx=x, cy=base - height, r=radius))
    bottom = 26 + len(NAMES) * (_TALL + _GAP) - _GAP + 20
    marks += _ticks(windows, bottom)
    return _svg(marks, count, bottom + 6)


def accuracy_chart(windows: Sequence[Json], before: float | None) -> Markup | None:
    """Estimated accuracy of each window with its interval, and the measured one where there are labels."""
    found = [(number, _estimate(each), each["accuracy"]["measured"]) for number, each in enumerate(windows)]
    if not any(estimate or measured for _, estimate, measured in found):
        return None
    count, tall = len(windows), 150.0
    low = min([e["low"] for _, e, _ in found if e] + [m["low"] for _, _, m in found if m] + [before or 1.0])
    floor = max(0.0, math.floor(low * 10 - 0.5) / 10)

    def up(value: float) -> float:
        return float(28 + tall * (1 - (value - floor) / (1 - floor)))

    marks = [charts.tag("title", "Accuracy of each window: estimated, and measured where there are labels")]
    marks.append(charts.tag("text", "Accuracy", class_="name", x=0, y=14.0))
    for tick in (floor, (floor + 1) / 2, 1.0):
        marks.append(charts.tag("path", class_="rule", d=f"M{_LEFT} {up(tick):.1f}H{_WIDE}"))
        marks.append(
            charts.tag("text", words.percent(tick, 0), class_="tick", x=_LEFT - 8, y=up(tick) + 4, text_anchor="end")
        )
    if before is not None:
        marks.append(charts.tag("path", class_="ideal", d=f"M{_LEFT} {up(before):.1f}H{_WIDE}"))
    for number, estimate, measured in found:
        x = _at(number, count)
        for shift, one, kind in ((-3.5, estimate, "guess"), (3.5, measured, "truth")):
            if one is None:
                continue
            said = f"{'estimated' if kind == 'guess' else 'measured'} {words.percent(one['value'])}"
            tip = charts.tag("title", f"{said}, {words.percent(one['low'])} to {words.percent(one['high'])}")
            line = f"M{x + shift:.1f} {up(one['low']):.1f}V{up(one['high']):.1f}"
            marks.append(charts.tag("path", class_=f"range {kind}", d=line))
            marks.append(charts.tag("circle", tip, class_=f"point {kind}", cx=x + shift, cy=up(one["value"]), r=3.5))
    marks += _ticks(windows, 28 + tall + 22)
    return _svg(marks, count, 28 + tall + 28)


def _svg(marks: Sequence[Markup], count: int, height: float) -> Markup:
    kind = "windows many" if count > _MANY else "windows"
    return charts.tag("svg", *marks, class_=kind, viewBox=f"0 0 {_WIDE:.0f} {height:.0f}", role="img")


def _estimate(window: Json) -> Json | None:
    return next((each for each in window["accuracy"]["estimates"] if each["method"] == "atc"), None)
