"""What the numbers of a step mean: a verdict, one plain sentence, and what to do about it. Pure functions of its block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from visum.ship.report.words import THIN, Json, percent, plural

VERDICTS = ("bad", "watch", "good", "not enough data", "skipped")
"""Worst first."""
QUESTIONS: Mapping[str, str] = {
    "calibration": "Can its confidence be believed?",
    "abstention": "Does it know when it does not know?",
    "conformal": "Do its sets of answers hold the truth?",
    "unknown": "Does it notice what it never learnt?",
    "slices": "Is it as good on every kind of picture?",
    "shortcut": "Does the border give the class away?",
    "background": "Does it look at the subject?",
    "drift": "Are these images like those it was validated with?",
    "corruptions": "Does it stand bad pictures?",
    "attacks": "Can it be deceived on purpose?",
}
"""What each step asks; a step that is not here is called by its name."""
ECE = 0.05
"""Calibration error beyond which confidence is to be watched; if the lower end lies beyond, too, it is not to be believed."""
WORSE = 0.1
"""How far below the whole the upper end of the worst group must lie to be bad."""
CHANCE = 0.05
"""p-value up to which a promise is taken as broken."""
FOUND = 0.8
"""AUROC of strange against known pictures below which a detector tells little."""
KEEPS = {"watch": 0.8, "bad": 0.5}
"""Share of its accuracy that a model keeps over all corruptions; ResNet-50 on ImageNet-C keeps about half."""
STANDS = 0.7
"""Share of its accuracy that a model keeps under attack, from which on it stands."""
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
    told_todo = str((block.get("told") or {}).get("advice") or "")
    if low > ECE:
        return Said(
            "bad",
            f"{told}: its percentages cannot be believed.",
            f"Do not act on its percentages. {told_todo}".strip(),
        )
    if value > ECE:
        return Said(
            "watch",
            f"{told}: its percentages are roughly right.",
            f"Leave a margin where you act on a percentage. {told_todo}".strip(),
        )
    return Said("good", f"{told}: its percentages can be taken at their word.")


def _abstention(block: Json) -> Said:
    best, whole = block["measures"][0], block["risk"]
    some = best["at"]["0.8"]
    if not whole["value"]:
        return Said(
            "good", f"It is wrong on none of these images ({_n(block)}), so that there is nothing to keep silent about."
        )
    told = (
        f"It is wrong on {percent(whole['value'])} of the images ({_range(whole['low'], whole['high'])}; {_n(block)}); "
        f"of the 80{THIN}% that it is surest of, on {percent(some['risk'])} ({_range(some['low'], some['high'])})"
    )
    if some["high"] >= whole["value"]:
        return Said(
            "watch",
            f"{told}: that its doubts are worth something cannot be seen from these images.",
            "Do not let it decide by its own confidence yet; judge it on more images.",
        )
    return Said("good", f"{told}: where it doubts, it is wrong more often.")


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
    if block["difference"]["low"] <= 0:
        return Said(
            "watch",
            f"{told}: these images cannot tell that the middle, where subjects are, counts for more.",
            "Look at explanations (visum explain), and judge it on more images and on photos from other places.",
        )
    return Said("good", f"{told}: it depends on the middle, where subjects are.")


def _drift(block: Json) -> Said:
    says = {each["kind"]: each["says"] for each in block["kinds"]}
    told = f"{plural(block['n'], 'image')} against {block['reference']:,} validation images: "
    alarms = block["alarms"]
    if alarms:
        return Said(
            "bad" if "concept" in alarms else "watch",
            told + " ".join(says[kind] for kind in alarms),
            "Scores on validation images do not hold for such images: believe those on these here, calibrate anew on images "
            "like them, and watch use with visum monitor.",
        )
    judged = sum(each["status"] == "quiet" for each in block["kinds"])
    if not judged:
        return Said("not enough data", f"{told}too few to say anything.", "Judge it on more images.")
    return Said("good", f"{told}none of the {judged} kinds of drift that could be judged.")


def _conformal(block: Json) -> Said:
    levels = block["levels"]
    broken = [each for each in levels if each["p"] <= CHANCE / len(levels)]
    level = min(broken or levels, key=lambda each: abs(each["promised"] - 0.9))
    told = (
        f"Sets of answers that promise to hold the truth {percent(level['promised'], 0)} of the time hold it "
        f"{percent(level['value'])} of the time ({_range(level['low'], level['high'])}; {_n(block)}), "
        f"with {level['size']:.2f} of {block['classes']} classes on average"
    )
    if not broken:
        holds = {1: "the promise holds", 2: "both promises hold"}.get(len(levels), f"all {len(levels)} promises hold")
        return Said("good", f"{told}: {holds}.")
    return Said(
        "bad" if level["p"] <= CHANCE / 50 else "watch",
        f"{told}: fewer than promised, beyond chance (p {_p(level['p'])}).",
        "These images are not like those that the promise was made of. Make it anew on images like them (visum train with "
        "such validation images), or ask for a larger coverage.",
    )


def _unknown(block: Json) -> Said:
    kept, strangers = block["kept"], block["strangers"]
    told = (
        f"Of images of what it knows {percent(kept['value'])} pass ({_range(kept['low'], kept['high'])}; {_n(block)}), "
        f"{percent(block['promised'], 0)} are promised"
    )
    if strangers:
        caught = [f"{percent(each['caught'], 0)} of {each['n']:,} ({each['name']})" for each in strangers]
        told += f"; called unknown: {', '.join(caught)}"
    else:
        return Said(
            "not enough data", f"{told}; nothing strange could be shown to it.", "Try it on pictures of other things."
        )
    if max(each["auroc"] for each in strangers) < FOUND:
        return Said(
            "bad",
            f"{told}. It hardly tells strange pictures from known ones.",
            "Do not rely on it to say unknown: keep pictures of other things away from it, or add a class for them.",
        )
    if kept["p"] <= CHANCE:
        return Said(
            "watch",
            f"{told}. It calls more known images unknown than promised (p {_p(kept['p'])}).",
            "These images are not like those it was made of; make its threshold anew on images like them.",
        )
    if min(each["auroc"] for each in strangers) < FOUND:
        return Said(
            "watch",
            f"{told}. What is near to its classes passes often.",
            "Do not rely on it for things that look like what it knows; add such pictures as a class of their own.",
        )
    return Said("good", f"{told}.")


def _corruptions(block: Json) -> Said:
    clean, worst = block["clean"], block["mean"][-1]
    middle = block["mean"][len(block["mean"]) // 2]
    share = block["kept"]["value"]
    if share is None:
        return Said("not enough data", f"It is right on none of {_n(block)}, so that there is nothing to lose.")
    told = (
        f"Noise, blur, weather and compression bring it from {percent(clean['value'])} to {percent(middle['value'])} "
        f"({_range(middle['low'], middle['high'])}) where they are moderate and to {percent(worst['value'])} "
        f"({_range(worst['low'], worst['high'])}) where they are strong ({_n(block)}); "
        f"{block['worst'][0].replace('_', ' ')} costs most"
    )
    kept = f"it keeps {percent(share, 0)} of its accuracy on average ({_range(block['kept']['low'], block['kept']['high'])})"
    todo = "Keep cameras and files like those in training, or train with --harden augmix; judge it on such pictures of your own."
    if share < KEEPS["bad"]:
        return Said("bad", f"{told}: {kept}.", todo)
    if share < KEEPS["watch"]:
        return Said("watch", f"{told}: {kept}.", todo)
    return Said("good", f"{told}: {kept}.")


def _attacks(block: Json) -> Said:
    clean, last = block["clean"], block["rows"][-1]
    small = [row for row in block["rows"] if row["epsilon"] == block["rows"][0]["epsilon"]][-1]
    told = (
        f"Changes of at most {small['epsilon']:g} of 255 in each pixel, made to deceive it, bring it from "
        f"{percent(clean['value'])} to {percent(small['worst']['value'])} "
        f"({_range(small['worst']['low'], small['worst']['high'])}), changes of {last['epsilon']:g} to "
        f"{percent(last['worst']['value'])} ({_range(last['worst']['low'], last['worst']['high'])}; {_n(block)})"
    )
    todo = (
        "Where nobody gains by deceiving it, leave it so: ordinary networks are like this. Else train with --harden, and let "
        "a person decide what matters (visum attack looks closer)."
    )
    if not clean["value"]:
        return Said("not enough data", f"It is right on none of {_n(block)}, so that there is nothing to attack.")
    if last["worst"]["value"] >= STANDS * clean["value"]:
        return Said("good", f"{told}. These two attacks are weak ones; stronger ones may do more.")
    if small["worst"]["value"] >= STANDS * clean["value"]:
        return Said("watch", f"{told}.", todo)
    return Said("bad", f"{told}.", todo)


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
    "abstention": _abstention,
    "conformal": _conformal,
    "unknown": _unknown,
    "slices": _slices,
    "shortcut": _shortcut,
    "background": _background,
    "drift": _drift,
    "corruptions": _corruptions,
    "attacks": _attacks,
}
