"""The page of ``visum attack``: how often it worked, and pictures before and after.

Pure: from the facts as plain JSON and some pictures to one self-contained page, without script, like the report.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from visum.ship.report import charts, words
from visum.ship.report.frame import rendered
from visum.ship.report.words import Json
from visum.types import Pixels


def text(facts: Json, pictures: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML.

    Args:
        facts: what attack.json holds.
        pictures: ``{"id", "before", "change", "after": uint8 [S, S, 3], "label", "answer", "by"}``.
    """
    return rendered("attack.html", "attack.css", **view(facts), pictures=[_picture(each) for each in pictures])


def view(facts: Json) -> dict[str, Any]:
    """Everything that the template names but pictures and style."""
    rows = [_row("none", "no attack", facts["clean"], facts["clean"], chosen=False)]
    rows += [
        _row(each["attack"], each["words"], each["alone"], each["worst"], chosen=False) for each in facts["attacks"]
    ]
    rows.append(_row("all", "the worst of all, picture by picture", None, facts["robust"], chosen=True))
    return {
        "facts": facts,
        "headline": headline(facts),
        "lede": lede(facts),
        "rows": rows,
        "notes": notes(facts),
        "masking": facts.get("masking"),
    }


def headline(facts: Json) -> tuple[str, str]:
    """What came out; the second piece is to be emphasised."""
    clean, robust = facts["clean"]["value"], facts["robust"]["value"]
    if clean and robust <= 0.05 * clean:
        return ("Right on ordinary pictures, wrong on", "made ones")
    return ("Under attack it is right on", words.percent(robust, 0))


def lede(facts: Json) -> str:
    """The result in two sentences."""
    clean, robust = facts["clean"], facts["robust"]
    return (
        f"{allowed(facts)} brings it from {words.percent(clean['value'])} of {words.plural(facts['n'], 'picture')} right "
        f"({words.interval(clean)}) to {words.percent(robust['value'])} ({words.interval(robust)})."
    )


def allowed(facts: Json) -> str:
    """What the attacker may do, in words."""
    if facts["norm"] == "linf":
        return f"A change of at most {facts['radius']:.3g} of 255 at each value, made to deceive it,"
    each = facts["radius"] / (3 * facts["size"] ** 2) ** 0.5
    return (
        f"A change of length {facts['radius'] / 255:.3g} (black to white is 1), {each:.2g} of 255 a value if spread evenly, "
        "made to deceive it,"
    )


def notes(facts: Json) -> list[str]:
    """What a reader has to know besides."""
    found, saved = [], facts["engine"]
    if saved["n"]:
        share = words.percent(saved["fooled"] / saved["n"], 0)
        found.append(
            f"Of {words.plural(saved['n'], 'picture')} that deceive, {share} still do once they are rounded to whole pixel "
            "values and asked of the engine that is shipped."
        )
    if facts["trained_on"]:
        found.append(f"{words.plural(facts['trained_on'], 'picture')} of these were trained on: the accuracy flatters.")
    if facts["of"] > facts["n"]:
        found.append(f"Drawn from {words.plural(facts['of'], 'labelled picture')} ({facts['split']}).")
    return found


def _row(name: str, said: str, alone: Json | None, worst: Json, *, chosen: bool) -> dict[str, Any]:
    tip = f"{name}: {words.percent(worst['value'])} right ({words.interval(worst)})"
    return {
        "name": name,
        "words": said,
        "alone": words.percent(alone["value"]) if alone else "",
        "alone_range": words.interval(alone),
        "worst": words.percent(worst["value"]),
        "worst_range": words.interval(worst),
        "svg": charts.bar(worst["value"], worst["low"], worst["high"], chosen=chosen, tip=tip),
        "chosen": chosen,
    }


def _picture(each: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: picture(each[key]) for key in ("before", "change", "after")}
    return {**shown, **{key: words.short(str(each[key]), 60) for key in ("id", "label", "answer", "by")}}


def picture(pixels: Pixels) -> str:
    """A ``data:`` URI; small pictures are enlarged in whole steps. PNG where it is small: JPEG adds changes of its own."""
    import cv2
    import numpy as np

    times = max(1, 140 // max(pixels.shape[:2]))
    large = np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1)[..., ::-1])
    kind, options = ("png", []) if len(pixels) <= 64 else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, 92])
    data = cv2.imencode(f".{kind}", large, options)[1].tobytes()
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")
