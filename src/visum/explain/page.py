"""One self-contained page of explanations: each picture, its map, and in words what the map says and whether to believe it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from importlib import resources

import numpy as np

from visum.explain.attribution import EXPLAINERS
from visum.types import Explanation, Pixels, overlay

MOST = 200
"""Pictures on the page; more would make it too large to mail."""
WORDS = {
    "trustworthy": "The marked parts decide the answer: it comes back with them first and falls without them first.",
    "weak": "The map knows something, but not clearly more than a map that was put elsewhere.",
    "meaningless": "The map tells no more than one that was put elsewhere. Do not read anything into it.",
    "": "Not measured.",
}


def text(found: Sequence[Explanation], style: str, title: str) -> str:
    """The page as HTML.

    Args:
        found: in order.
        style: CSS of the house.
        title: what was explained, e.g. the bundle's name.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    files = resources.files("visum.explain")
    own = files.joinpath("page.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    verdicts = Counter(each.verdict for each in found)
    return template.from_string(files.joinpath("page.html").read_text(encoding="utf-8")).render(
        style=Markup(style + own),
        title=_shown(title),
        items=[_item(each) for each in found[:MOST]],
        left=max(0, len(found) - MOST),
        verdicts=[(name, verdicts[name]) for name in ("trustworthy", "weak", "meaningless") if verdicts[name]],
        total=len(found),
        methods=[(name, EXPLAINERS[name].words) for name in dict.fromkeys(each.method for each in found)],
        signed=any(float(each.heat.min()) < 0 for each in found),
    )


def _item(each: Explanation) -> dict[str, object]:
    numbers = each.faithfulness
    return {
        "id": _shown(each.id),
        "picture": _data(each.square),
        "map": _data(overlay(each.square, each.heat)),
        "target": _shown(each.target),
        "contrast": _shown(each.contrast),
        "percent": f"{100 * each.probability:.0f}",
        "method": each.method,
        "verdict": each.verdict,
        "words": WORDS[each.verdict],
        "gain": f"{numbers['gain']:+.2f}" if numbers else "",
        "baseline": f"{numbers['baseline']:+.2f}" if numbers else "",
        "insertion": f"{numbers['insertion']:.2f}" if numbers else "",
        "deletion": f"{numbers['deletion']:.2f}" if numbers else "",
    }


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[-80:]


def _data(pixels: Pixels) -> str:
    """A ``data:`` URI; small pictures are enlarged in whole steps, so that their pixels show."""
    import simplejpeg

    times = max(1, 224 // max(pixels.shape[:2]))
    large = np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    return "data:image/jpeg;base64," + base64.b64encode(simplejpeg.encode_jpeg(large, 84)).decode("ascii")
