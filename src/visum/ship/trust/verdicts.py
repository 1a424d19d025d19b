"""What the numbers of a step mean: a verdict, one plain sentence, and what to do about it. Pure functions of its block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from visum.ship.report.words import Json, percent, plural

VERDICTS = ("bad", "watch", "good", "not enough data", "skipped")
"""Worst first."""
QUESTIONS: Mapping[str, str] = {
    "calibration": "Can its confidence be believed?",
    "slices": "Is it as good on every kind of picture?",
    "shortcut": "Does the border give the class away?",
    "background": "Does it look at the subject?",
}
"""What each step asks; a step that is not here is called by its name."""
ECE = {"watch": 0.05, "bad": 0.1}
"""Calibration error from which on confidence is to be watched; from this lower end on it is not to be believed."""
WORSE = 0.1
"""How far below the whole the upper end of the worst group must lie to be bad."""
KEPT = 0.5
"""Share of the gain over chance that may be left with the outer half."""


class Said(NamedTuple):
    """What a block means.

    Attributes:
        verdict: of ``VERDICTS``.
        sentence: what was found, with its number and its support.
        todo: what to do about it; "" where nothing has to be done.
    """

    verdict: str
    sentence: str
    todo: str = ""


def said(name: str, block: Json) -> dict[str, str]:
    """``title``, ``verdict``, ``sentence`` and ``todo`` of a step's block.

    A block that was left out has ``skipped`` (the reason), ``lacks`` (data, time or means) and ``next``.
    """
    title = QUESTIONS.get(name, name.replace("_", " ").capitalize())
    if "skipped" in block:
        verdict = "not enough data" if block.get("lacks") == "data" else "skipped"
        reason = str(block["skipped"])
        return {
            "title": title,
            "verdict": verdict,
            "sentence": reason[:1].upper() + reason[1:] + ".",
            "todo": _next(block),
        }
    found = SENTENCES[name](block)
    return {"title": title, **found._asdict()}


def _next(block: Json) -> str:
    told = str(block.get("next") or "")
    return f"To have it: {told}." if told else ""


def _calibration(block: Json) -> Said:
    ece = block["ece"]
    value, low, high = ece["value"], ece["low"], ece["high"]
    told = f"What it says and how often it is right differ by {percent(value)} on average ({_range(low, high)}; {_n(block)})"
    if low is None or high is None:
        return Said(
            "not enough data", f"{told}; there are too few answers for an interval.", "Judge it on more images."
        )
    if low >= ECE["bad"]:
        return Said(
            "bad",
            f"{told}: its percentages cannot be believed.",
            "Do not act on its percentages. Fit the temperature on validation images like the ones it will see, or train again.",
        )
    if value >= ECE["watch"]:
        return Said(
            "watch",
            f"{told}: its percentages are roughly right.",
            "Leave a margin where you act on a percentage, or calibrate on more validation images.",
        )
    return Said("good", f"{told}: its percentages can be taken at their word.")


def _slices(block: Json) -> Said:
    judged, at = block["judged"], block["worst"]
    if not judged:
        return Said("not enough data", "No group has enough images to be judged.", "Judge it on more images.")
    rare = ((block.get("representation") or {}).get("rare")) or 0
    more = (
        f" {plural(rare, 'kind')} of picture {'is' if rare == 1 else 'are'} rarer in training than here."
        if rare
        else ""
    )
    looked = f"of {plural(judged, 'group')}"
    if at is None or block["groups"][at]["p"] > 0.05:
        which = "" if at is None else f" The lowest, {called(block['groups'][at])}, could be chance."
        return Said(
            "watch" if rare else "good",
            f"None {looked} is worse than chance would make it.{which}{more}",
            _collect(rare),
        )
    worst = block["groups"][at]
    told = (
        f"The worst {looked} is {called(worst)}: right {percent(worst['accuracy'])} of the time "
        f"({_range(worst['all_low'], worst['all_high'])}, allowing for all groups; {plural(worst['n'], 'image')}), "
        f"overall {percent(block['accuracy'])}. That is more than chance (p {_p(worst['p'])}).{more}"
    )
    verdict = "bad" if worst["all_high"] < block["accuracy"] - WORSE else "watch"
    return Said(
        verdict,
        told,
        f"Look at its mistakes below, collect more training images of this kind, and watch it in use.{_also(rare)}",
    )


def _collect(rare: int) -> str:
    return "Collect training images of the rare kinds listed below." if rare else ""


def _also(rare: int) -> str:
    return " The rare kinds are listed below." if rare else ""


def called(group: Json) -> str:
    """A group in running text."""
    return f"“{group['name']}”" if group["by"] == "class" else f"{group['by']} “{group['name']}”"


def _shortcut(block: Json) -> Said:
    border, real, most = (block[key]["value"] for key in ("border", "real", "majority"))
    told = (
        f"From the border alone one can be right {percent(border)} of the time "
        f"({_range(block['border']['low'], block['border']['high'])}; {_n(block)}); the model is right {percent(real)}, "
        f"the most frequent class {percent(most)}"
    )
    kinds = {alarm["kind"]: alarm["severity"] for alarm in block["alarms"]}
    if kinds.get("border_shortcut") == "serious":
        return Said(
            "bad",
            f"{told}: the border gives the classes away.",
            "Photograph every class in every place, or crop to the subject, and train again; scores on such images flatter.",
        )
    if kinds:
        what = "border" if "border_shortcut" in kinds else "mean colour"
        return Said(
            "watch",
            f"{told}: the {what} tells much of the class.",
            "Make sure that this is what the classes are about, and judge it on photos from other places.",
        )
    return Said("good", f"{told}: the border does not give the classes away.")


def _background(block: Json) -> Said:
    outer, inner, whole = (block[key] for key in ("outer", "inner", "whole"))
    told = (
        f"Shown only the outer half of each picture it is right {percent(outer['value'])} of the time "
        f"({_range(outer['low'], outer['high'])}), shown only the inner half {percent(inner['value'])} "
        f"({_range(inner['low'], inner['high'])}), the whole {percent(whole['value'])} ({_n(block)})"
    )
    if block["kept"] is None:
        return Said("not enough data", f"{told}; it is no better than chance, so that nothing can be said.")
    above = outer["low"] > block["chance"]
    if above and block["difference"]["high"] < 0:
        return Said(
            "bad",
            f"{told}: the surroundings tell it more than the subject.",
            "Look at explanations (visum explain), vary backgrounds in training, and judge it on photos from other places.",
        )
    if above and block["kept"] > KEPT:
        return Said(
            "watch",
            f"{told}: the surroundings alone carry much of its answer.",
            "Where subjects fill the picture this is natural; else vary backgrounds in training.",
        )
    return Said("good", f"{told}: it depends on the middle, where subjects are.")


def _n(block: Json) -> str:
    n, of = block["n"], block.get("of")
    return f"{n:,} of {of:,} images" if of and of > n else plural(n, "image")


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "no interval"
    return f"{100 * low:.1f} to {percent(high)}"


def _p(p: float) -> str:
    return f"= {p:.3f}" if p >= 0.0005 else "< 0.001"


SENTENCES: dict[str, Callable[[Any], Said]] = {
    "calibration": _calibration,
    "slices": _slices,
    "shortcut": _shortcut,
    "background": _background,
}
