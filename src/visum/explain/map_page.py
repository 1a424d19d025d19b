"""The page of ``visum explain --map``: pictures where the network puts them. Pure, without script."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from visum.explain import projection
from visum.explain.examples_page import Thumbnail, framed, row
from visum.explain.panels import Page, Panel, clean, percent, short, tag

_SIDE = 40.0
_GAP = 4.0
COLOURS = 10
"""Classes that have a colour of their own (in ``panels.css``); the others share grey."""
ODD = 8
METHODS = {
    "tsne": "t-SNE: what lies side by side is alike; how far groups lie apart, and how large they are, means nothing",
    "pca": "PCA: the two directions in which the pictures differ most",
}


class Map(Protocol):
    """Where pictures lie; see ``workflow.atlas``."""

    @property
    def ids(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def method(self) -> str: ...
    @property
    def places(self) -> projection.Array: ...
    @property
    def kept(self) -> float: ...
    @property
    def agreed(self) -> projection.Array: ...


def page(found: Map, subject: str, picture: Thumbnail) -> Page:
    """Everything that the template names.

    Args:
        found: places and labels.
        subject: the bundle's name.
        picture: small pictures by id.
    """
    n = len(found.ids)
    counts = {k: int((found.labels == k).sum()) for k in range(len(found.classes))}
    present = [k for k, count in sorted(counts.items(), key=lambda one: -one[1]) if count]
    colour = {k: f"c{at}" if at < COLOURS else "c" for at, k in enumerate(present)}
    per_class = {k: float(found.agreed[found.labels == k].mean()) for k in present}
    panels = [
        Panel(
            "The map",
            (f"By {METHODS[found.method]}. The frame of a picture tells its label.",),
            tag("div", _key(found, present, colour), tag("div", _sheet(found, colour, picture), class_="scroll")),
        )
    ]
    odd = [at for at in np.argsort(found.agreed, kind="stable")[:ODD] if found.agreed[at] < 0.5]
    if odd:
        cells = [
            (
                framed(picture(found.ids[at]), found.ids[at]),
                tag(
                    "span", _name(found, at), Markup(" "), tag("span", percent(float(found.agreed[at])), class_="range")
                ),
            )
            for at in odd
        ]
        text = (
            "The share is that of their ten neighbours on the map that have their label. Rare views, or wrong labels."
        )
        panels.append(Panel("Among strangers", (text,), tag("div", row("", cells), class_="examples")))
    lede = (
        f"{n:,} pictures, laid out by the numbers that the bundle's head sees. "
        f"Of a picture's ten neighbours on the map {percent(float(found.agreed.mean()))} have its label; "
        f"{percent(found.kept)} of its ten nearest in all columns are still beside it."
    )
    ranked = sorted(present, key=lambda k: -per_class[k])
    names = [short(clean(found.classes[k]), 24) for k in (ranked[0], ranked[-1])]
    headline: list[tuple[str, bool]] = [("How the network ", False), ("sorts pictures", True)]
    if len(ranked) > 1:
        headline = [("Closest together: ", False), (names[0], True), ("; most scattered: ", False), (names[1], True)]
    foot = "Each picture has a cell of its own, as near to its place as all together allow."
    return Page("map", subject, headline, lede, panels, (), foot)


def _name(found: Map, at: int) -> str:
    k = int(found.labels[at])
    return short(clean(found.classes[k]), 22) if k >= 0 else "none"


def _key(found: Map, present: Sequence[int], colour: dict[int, str]) -> Markup:
    items = [
        tag(
            "span",
            tag("span", class_=f"key {colour[k]}"),
            Markup(" "),
            short(clean(found.classes[k]), 24),
            class_="option",
        )
        for k in present
    ]
    return tag("p", *[Markup(f"{item} ") for item in items], class_="keys")


def _sheet(found: Map, colour: dict[int, str], picture: Thumbnail) -> Markup:
    columns = max(2, math.ceil(math.sqrt(1.9 * 1.35 * len(found.ids))))
    rows = max(2, math.ceil(1.9 * len(found.ids) / columns))
    where = projection.cells(found.places * [1, -1], columns, rows)
    step = _SIDE + _GAP
    marks = [tag("title", f"Map of {len(found.ids)} pictures")]
    for at, (x, y) in enumerate(where.tolist()):
        k = int(found.labels[at])
        tip = tag("title", f"{found.ids[at]}: {_name(found, at)}")
        box = {"x": x * step + 1, "y": y * step + 1, "width": _SIDE, "height": _SIDE}
        jpeg = picture(found.ids[at])
        inside = [tag("rect", tip, class_=f"tile {colour.get(k, 'c')}", **box)]
        if jpeg is not None:
            data = Markup('href="data:image/jpeg;base64,{}"').format(base64.b64encode(_smaller(jpeg)).decode("ascii"))
            place = f'x="{box["x"] + 2.5:g}" y="{box["y"] + 2.5:g}" width="{_SIDE - 5:g}" height="{_SIDE - 5:g}"'
            inside.append(Markup(f'<image {data} {place} preserveAspectRatio="xMidYMid slice"></image>'))
        marks.append(tag("g", *inside))
    return tag("svg", *marks, class_="sheet", viewBox=f"0 0 {columns * step:.0f} {rows * step:.0f}", role="img")


def _smaller(jpeg: bytes) -> bytes:
    """Half the side of a thumbnail is enough here."""
    import cv2
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(jpeg)
    height, width = pixels.shape[:2]
    ratio = min(1.0, 72 / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return bytes(
        simplejpeg.encode_jpeg(np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), 80)
    )
