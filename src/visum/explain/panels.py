"""Pages about the inside of a network: a headline, and panels that each hold a picture made of numbers. Pure, without script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from visum.types import Pixels

_HELD = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Panel:
    """A section.

    Attributes:
        heading: its title.
        text: paragraphs above the body.
        body: what is shown.
    """

    heading: str
    text: tuple[str, ...]
    body: Markup


@dataclass(frozen=True)
class Page:
    """What ``text`` makes HTML of.

    Attributes:
        title: what kind of page it is.
        subject: what it is about, e.g. the bundle's name.
        headline: what came out, in pieces; True: to be emphasised.
        lede: one or two sentences below.
        panels: in order.
        notes: what a reader has to know first.
        foot: how it was made, in a sentence.
    """

    title: str
    subject: str
    headline: Sequence[tuple[str, bool]]
    lede: str
    panels: Sequence[Panel]
    notes: Sequence[str] = ()
    foot: str = ""


def text(page: Page, house: Mapping[str, str]) -> str:
    """The page as HTML; ``house`` as for ``rendered``."""
    return rendered("panels", house, page=page)


def rendered(name: str, house: Mapping[str, str], **values: Any) -> str:
    """A template of this room with its style.

    Args:
        name: of ``NAME.html`` and ``NAME.css``.
        house: ``frame.html``, which pages extend, and ``style.css``.
        values: that the template names.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    own, css = (resources.files("visum.explain").joinpath(f"{name}.{kind}") for kind in ("html", "css"))
    environment = Environment(
        loader=DictLoader({"frame.html": house["frame.html"], "page": own.read_text(encoding="utf-8")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finished,
    )
    style = Markup(house["style.css"] + css.read_text(encoding="utf-8"))
    return environment.get_template("page").render(style=style, **values)


def _finished(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else clean(value)


def clean(name: str) -> str:
    """Without control characters: names come from strangers' files."""
    return "".join(c if c.isprintable() or c == _HELD else "\N{REPLACEMENT CHARACTER}" for c in name)


def short(name: str, letters: int) -> str:
    """At most so many letters."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def tag(name: str, *inside: str, **attributes: Any) -> Markup:
    """One element; ``_`` in attribute names becomes ``-``, a trailing one is dropped; numbers keep two decimals."""
    parts = [name]
    for key, value in attributes.items():
        said = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else clean(str(value))
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(said)}"')
    body = "".join(str(part if isinstance(part, Markup) else escape(clean(part))) for part in inside)
    return Markup(f"<{' '.join(parts)}>{body}</{name}>")


def image(pixels: Pixels, words: str, *, least: int = 0, quality: int = 86, **attributes: Any) -> Markup:
    """A picture uint8 ``[h, w, 3]`` as an ``<img>`` with its data inside.

    Args:
        words: what it shows, for those who cannot see it.
        least: pixels of the longer side that smaller ones are enlarged to, in whole steps, so that their pixels show.
    """
    made = Markup('<img src="{}" alt="{}"{}>')
    more = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items())
    return made.format(Markup(uri(pixels, least=least, quality=quality)), clean(words), Markup(more))


def uri(pixels: Pixels, *, least: int = 0, quality: int = 86) -> str:
    """A ``data:`` URI of a JPEG."""
    import simplejpeg

    times = max(1, -(-least // max(pixels.shape[:2])))
    large = np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    coded = simplejpeg.encode_jpeg(large, quality)
    return "data:image/jpeg;base64," + base64.b64encode(coded).decode("ascii")


def percent(value: float | None) -> str:
    """A share as people say it."""
    return "–" if value is None or value != value else f"{100 * value:.0f}{_HELD}%"
