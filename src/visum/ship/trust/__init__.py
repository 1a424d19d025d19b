"""The trust page: what was looked at, what came out, and what to do, made to be shown to a stranger.

Pure: from ``trust.json`` to one self-contained page without script, in the language of the report. ``verdicts`` says what numbers
mean, ``figures`` draws them, ``page.html`` lays them out. Class names, ids and messages are strangers' text; they reach the page
only through ``words.clean`` and Jinja's autoescape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visum.ship.report import words
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json
from visum.ship.trust import figures
from visum.ship.trust.verdicts import VERDICTS, said
from visum.storage import write_atomic

__all__ = ["VERDICTS", "link", "said", "text"]

_HIDDEN, _SHOWN = '<a href="trust.html" hidden>', '<a href="trust.html">'


def text(made: Json, *, report: bool = False) -> str:
    """The page as HTML.

    Args:
        made: ``trust.json``.
        report: whether ``report.html`` lies beside the page.
    """
    return rendered("page.html", "comparison.css", "page.css", folder=__name__, report=report, **view(made))


def view(made: Json) -> dict[str, Any]:
    """Everything that the template names but the style."""
    steps: Mapping[str, Any] = made["steps"]
    looked = {name: block for name, block in steps.items() if "skipped" not in block}
    counts = Counter(block["verdict"] for block in steps.values())
    order = sorted(steps, key=lambda name: VERDICTS.index(steps[name]["verdict"]))
    return {
        "made": made,
        "name": made["bundle"]["name"],
        "headline": headline(counts, len(looked)),
        "lede": lede(made),
        "tiles": [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]],
        "checks": [{"id": name, **steps[name]} for name in order],
        "sections": [
            {"id": name, **block, **figures.of(name, block), "pictures": figures.pictures(block)}
            for name, block in looked.items()
        ],
        "left": [{"id": name, **block} for name, block in steps.items() if "skipped" in block],
        "times": [(name.replace("_", " "), block["seconds"]) for name, block in steps.items()],
    }


def headline(counts: Mapping[str, int], looked: int) -> list[tuple[str, bool]]:
    """What came out, in pieces; True: to be emphasised."""
    bad, watch, good = counts.get("bad", 0), counts.get("watch", 0), counts.get("good", 0)
    if not bad + watch + good:
        return [("Nothing could be said", True)]
    if bad:
        return [
            (f"{bad} of {words.plural(looked, 'check')} ", False),
            ("went badly", True),
        ]
    if watch:
        to_watch = f" {'is' if watch == 1 else 'are'} to be watched"
        return [
            ("Nothing is bad; ", False),
            (f"{watch} of {words.plural(looked, 'check')}", True),
            (to_watch, False),
        ]
    return [("All ", False), (words.plural(good, "check"), True), (" are good", False)]


def lede(made: Json) -> str:
    """What was asked, in a sentence or two."""
    score = made["accuracy"]
    told = (
        f"{made['bundle']['name']} is right {words.percent(score['value'])} of the time ({words.interval(score)}) on "
        f"{words.plural(made['n'], 'labelled image')}. This page asks how far that can be relied on; "
        "ranges are 95\u202f% intervals."
    )
    if made["trained_on"]:
        told += f" {words.count(made['trained_on'])} of them were trained on, so that it flatters."
    return told


def link(report: Path) -> None:
    """Show, on a report that was written before, the link to the trust page beside it."""
    page = report.read_text(encoding="utf-8")
    if _HIDDEN in page:
        write_atomic(report, page.replace(_HIDDEN, _SHOWN, 1))
