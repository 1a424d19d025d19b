"""One self-contained page of explanations: each picture, its map, and in words what the map says and whether to believe it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visum.explain.attribution import EXPLAINERS
from visum.explain.panels import rendered
from visum.explain.randomised import CHANCE
from visum.types import Explanation, Floats, Pixels, overlay

MOST = 200
"""Pictures on the page; more would make it too large to mail."""
WORDS = {
    "trustworthy": "Where the map is strong, hiding costs the answer.",
    "weak": "It beats random maps, but not those that point anywhere near the middle.",
    "meaningless": "It foretells no better than random maps. Read nothing into it.",
}
SHORT = {
    "trustworthy": "better than 95 % of maps that know nothing",
    "weak": "better than random, not than the middle",
    "meaningless": "no better than random",
}


def text(found: Sequence[Explanation], house: Mapping[str, str], title: str, randomised: Mapping[str, float]) -> str:
    """The page as HTML.

    Args:
        found: in order.
        house: as for ``panels.rendered``.
        title: what was explained, e.g. the bundle's name.
        randomised: of ``explain.randomised.cascade``; {} where it was not measured.
    """
    verdicts = Counter[str](each.verdict for each in found if each.verdict)
    return rendered(
        "page",
        house,
        title=_shown(title),
        headline=headline(verdicts, len(found)),
        items=[_item(each) for each in found[:MOST]],
        left=max(0, len(found) - MOST),
        verdicts=[(name, verdicts[name], SHORT[name]) for name in SHORT] if len(found) > 1 and verdicts else [],
        methods=[
            (name, EXPLAINERS[name].words, layer) for name, layer in dict.fromkeys((e.method, e.layer) for e in found)
        ],
        signed=any(float(each.heat.min()) < 0 for each in found),
        classes=any(EXPLAINERS[each.method].classes for each in found),
        proven=bool(verdicts),
        randomised=[(stage, f"{like:+.2f}", round(100 * abs(like))) for stage, like in randomised.items()],
        looks=bool(randomised) and abs(list(randomised.values())[-1]) < CHANCE,
    )


def headline(verdicts: Mapping[str, int], total: int) -> tuple[str, str]:
    """Two parts of a sentence: what is counted, and what is said of it."""
    if not verdicts:
        return "Why it says so", ""
    good = verdicts.get("trustworthy", 0)
    if total == 1:
        return "This map is", next(iter(verdicts))
    count = "None" if not good else "All" if good == total else str(good)
    return f"{count} of {total} maps" if count != "All" else f"All {total} maps", (
        "is trustworthy" if good == 1 else "are trustworthy"
    )


def _item(each: Explanation) -> dict[str, Any]:
    return {
        "id": _shown(each.id),
        "picture": _data(each.square),
        "map": _data(overlay(each.square, each.heat)),
        "heads": [_data(overlay(each.square, head)) for head in _upright(each.heads, len(each.square))],
        "target": _shown(each.target),
        "contrast": _shown(each.contrast),
        "percent": f"{100 * each.probability:.0f}",
        "verdict": each.verdict,
        "words": WORDS.get(each.verdict, ""),
        "numbers": {name: f"{value:.2f}" for name, value in each.faithfulness.items()},
        "beats": [
            f"{100 * each.faithfulness[name]:.0f}" for name in ("beats_random", "beats_middle") if each.faithfulness
        ],
    }


def _upright(heads: Floats | None, size: int) -> list[Floats]:
    """Each head's map as large as the picture."""
    import cv2

    if heads is None:
        return []
    return [np.asarray(cv2.resize(head, (size, size), interpolation=cv2.INTER_LINEAR)) for head in heads]


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[-80:]


def _data(pixels: Pixels) -> str:
    """A ``data:`` URI; small pictures are enlarged in whole steps, so that their pixels show."""
    import simplejpeg

    times = max(1, 224 // max(pixels.shape[:2]))
    large = np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    return "data:image/jpeg;base64," + base64.b64encode(simplejpeg.encode_jpeg(large, 84)).decode("ascii")
