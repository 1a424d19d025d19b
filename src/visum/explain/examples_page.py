"""The pages of ``visum explain --neighbours`` and ``--prototypes``: rows of pictures with few words. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Protocol

from markupsafe import Markup

from visum.explain.panels import Page, Panel, clean, percent, short, tag

Thumbnail = Callable[[str], "bytes | None"]
"""Id of a picture → a small JPEG, or None."""


class Like(Protocol):
    """A training picture beside another one; see ``workflow.examples``."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def distance(self) -> float: ...
    @property
    def effect(self) -> float: ...


class Examples(Protocol):
    """Examples for one picture."""

    @property
    def id(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def nearest(self) -> Sequence[Like]: ...
    @property
    def helped(self) -> Sequence[Like]: ...
    @property
    def hurt(self) -> Sequence[Like]: ...


class Typical(Protocol):
    """A class by its pictures."""

    @property
    def name(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def prototypes(self) -> Sequence[str]: ...
    @property
    def criticisms(self) -> Sequence[str]: ...


def neighbours(
    found: Sequence[Examples], total: int, subject: str, n: int, picture: Thumbnail, training: Thumbnail
) -> Page:
    """Each picture with its rows of training pictures.

    Args:
        found: those that are shown, of ``total``.
        n: training pictures that were searched.
        picture, training: small pictures by id.
    """
    agreed = [_agreement(each) for each in found]
    share = sum(agreed) / max(1, len(agreed))
    panels = [Panel(_titled(each), (), _neighbours(each, picture, training)) for each in found]
    left = [f"{total - len(found):,} more pictures were looked up; --json has them all."] if total > len(found) else []
    headline = [("The nearest training pictures ", False), (f"agree {percent(share)}", True), (" of the time", False)]
    lede = (
        f"For each picture, what is nearest to it among {n:,} training pictures as the network sees them, labelled as in "
        "the data; and those without which a linear probe would be less sure of the answer (helped), or surer (hurt). A wrong "
        "label in these rows is worth mending."
    )
    foot = (
        "Distance: cosine of standardised embeddings. Helped and hurt: influence functions of a logistic probe (Koh and Liang "
        "2017), in thousandths of a nat of the log loss of the answer."
    )
    return Page("examples", subject, headline, lede, panels, left, foot)


def prototypes(found: Sequence[Typical], total: int, subject: str, n: int, picture: Thumbnail) -> Page:
    """Each class with the pictures that stand for it and those that fall out of it."""
    panels = [
        Panel(
            f"{short(clean(each.name), 60)}, {each.n:,} pictures",
            (),
            tag(
                "div",
                row("These stand for it", [(framed(picture(name), name), "") for name in each.prototypes]),
                row("These are otherwise", [(framed(picture(name), name), "") for name in each.criticisms]),
                class_="examples",
            ),
        )
        for each in found
    ]
    left = [f"{total - len(found):,} more classes are in --json."] if total > len(found) else []
    headline = [("What each class ", False), ("looks like", True), (" to the network", False)]
    lede = (
        f"Out of {n:,} training pictures, those that together come closest to all pictures of their class (prototypes), and "
        "those where the class differs most from them (criticisms): rare kinds, odd views, and often wrong labels."
    )
    foot = "MMD-critic (Kim, Khanna and Koyejo 2016) on standardised embeddings."
    return Page("prototypes", subject, headline, lede, panels, left, foot)


def _agreement(each: Examples) -> float:
    """Share of the nearest that are labelled as was answered."""
    return sum(like.label == each.answer for like in each.nearest) / max(1, len(each.nearest))


def _titled(each: Examples) -> str:
    return f"It says {short(clean(each.answer), 60)}, {percent(each.probability)}"


def _neighbours(each: Examples, picture: Thumbnail, training: Thumbnail) -> Markup:
    def shown(likes: Sequence[Like], words: Callable[[Like], str]) -> list[tuple[Markup, Markup]]:
        return [
            (
                framed(training(like.id), like.id),
                tag(
                    "span",
                    tag("span", short(clean(like.label), 22), class_="same" if like.label == each.answer else "unlike"),
                    Markup(" "),
                    tag("span", words(like), class_="range"),
                ),
            )
            for like in likes
        ]

    rows = [row("Nearest", shown(each.nearest, lambda like: f"{like.distance:.2f}"))]
    if each.helped:
        rows.append(row("Helped", shown(each.helped, lambda like: f"{1000 * like.effect:+.2g}")))
    if each.hurt:
        rows.append(row("Hurt", shown(each.hurt, lambda like: f"{1000 * like.effect:+.2g}".replace("-", "\u2212"))))
    words = tag("p", short(clean(each.id), 80), class_="range")
    own = tag("div", framed(picture(each.id), each.id), words, class_="asked")
    return tag("div", own, tag("div", *rows, class_="examples"), class_="question")


def row(title: str, cells: Sequence[tuple[Markup, str]]) -> Markup:
    """Pictures side by side, each with its words below."""
    items = [tag("li", image, words) if words else tag("li", image) for image, words in cells]
    return tag("div", tag("h3", title), tag("ul", *items, class_="films"))


def framed(jpeg: bytes | None, name: str) -> Markup:
    """A small picture, or its name where there is none."""
    if jpeg is None:
        return tag("span", short(clean(name), 40), class_="pic none")
    made = Markup('<img src="data:image/jpeg;base64,{}" alt="{}" title="{}" loading="lazy">')
    return made.format(base64.b64encode(jpeg).decode("ascii"), clean(name), clean(name))
