"""The page of ``visum explain --visualise`` and ``--filters``: what is drawn beside what is real. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from markupsafe import Markup

from visum.explain import filters
from visum.explain.examples_page import Thumbnail, framed, row
from visum.explain.panels import Page, Panel, clean, image, short, tag
from visum.types import Floats, Pixels

MOST_FILTERS = 128


class Visualised(Protocol):
    """One channel or class; see ``workflow.features``."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def picture(self) -> Pixels: ...
    @property
    def activation(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def top(self) -> Sequence[tuple[str, float]]: ...
    @property
    def n(self) -> int: ...


class Features(Protocol):
    """What the page is about."""

    @property
    def first(self) -> str: ...
    @property
    def kernels(self) -> Floats: ...
    @property
    def found(self) -> Sequence[Visualised]: ...


def page(features: Features, subject: str, picture: Thumbnail | None) -> Page:
    """Everything that the template names.

    Args:
        features: found.
        subject: the bundle's name.
        picture: small real pictures by id; None where there are none.
    """
    found = features.found
    panels = []
    if found:
        shown = tag("div", *(_feature(each, picture) for each in found), class_="features")
        panels.append(Panel("Channels and classes", (_verdict(found),), shown))
    if features.first:
        panels.append(_filters(features))
    if found:
        name = short(clean(found[0].name), 40)
        headline = [("What ", False), (name, True), (f" and {len(found) - 1} more" if len(found) > 1 else "", False)]
        headline.append((" answer to" if len(found) > 1 else " answers to", False))
        lede = (
            "The large picture was drawn by the network itself: pixels were changed, step by step, until the channel answered as "
            "strongly as could be. Beside it are the real pictures that it answers to most. Where the two have nothing in "
            "common, the channel looks for something else than a person would think."
        )
    else:
        headline = [("What the network ", False), ("looks for first", True)]
        lede = f"The {len(features.kernels)} filters of {features.first}, the first layer over the picture."
    alone = "No run lies around this bundle, so there are no real pictures beside: name some, or --data."
    notes = (alone,) if picture is None and found else ()
    foot = "Feature visualisation after Olah, Mordvintsev and Schubert 2017: Fourier waves, uncorrelated colours, random moves."
    return Page("features", subject, headline, lede, panels, notes, foot if found else "")


def _verdict(found: Sequence[Visualised]) -> str:
    """How far the drawings succeeded."""
    real = [each for each in found if each.top]
    if not real:
        beat = sum(each.activation > each.noise for each in found)
        return f"{beat} of {len(found)} drawings activate their channel more than random pixels do."
    beat = sum(each.activation > each.top[0][1] for each in real)
    return (
        f"{beat} of {len(real)} drawings activate their channel more than every one of {real[0].n:,} real pictures. "
        "Numbers are mean activations over the picture; of a class, its logit."
    )


def _feature(each: Visualised, picture: Thumbnail | None) -> Markup:
    words = f"drawn {each.activation:.3g}, random pixels {each.noise:.3g}".replace("-", "\u2212")
    own = tag(
        "div",
        image(each.picture, f"what activates {each.name} most", least=224, quality=90),
        tag("p", tag("b", short(clean(each.name), 40)), Markup("<br>"), tag("span", words, class_="range")),
        class_="asked",
    )
    if not each.top or picture is None:
        return tag("div", own)
    cells = [
        (framed(picture(name), name), tag("span", f"{value:.3g}".replace("-", "\u2212"), class_="range"))
        for name, value in each.top
    ]
    return tag(
        "div", own, tag("div", row(f"Real pictures, of {each.n:,}", cells), class_="examples"), class_="question"
    )


def _filters(features: Features) -> Panel:
    order = filters.ordered(features.kernels)
    tiles = filters.picture(features.kernels)[order[:MOST_FILTERS]]
    cells = [
        tag("li", image(tile, f"filter {number}", least=64, quality=95, title=f"filter {number}"))
        for number, tile in zip(order, tiles, strict=False)
    ]
    side = features.kernels.shape[1]
    text = (
        f"All {len(order)} filters of {features.first}, {side} x {side} pixels each: those that look for colour first, then from "
        "coarse to fine. Middle grey is no weight; each is shown by its own largest weight."
    )
    if len(order) > MOST_FILTERS:
        text = text.replace("All", f"{MOST_FILTERS} of")
    return Panel("The first layer", (text,), tag("ul", *cells, class_="tiny"))
