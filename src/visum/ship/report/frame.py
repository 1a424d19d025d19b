"""What all pages have in common: one file, no script, the style of the house; strangers' text stays text."""

from __future__ import annotations

from importlib import resources
from typing import Any

from markupsafe import Markup

from visum.ship.report import words

_HOUSE = "visum.ship.report"


def house() -> dict[str, str]:
    """``frame.html``, which every page extends, and ``style.css``, for pages of other rooms."""
    return {name: _text(_HOUSE, name) for name in ("frame.html", "style.css")}


def rendered(template: str, *styles: str, folder: str = _HOUSE, rules: str = "", **values: Any) -> str:
    """A page.

    Args:
        template: file that extends ``frame.html``.
        styles: files behind ``style.css``; those that ``folder`` has not are those of the house.
        folder: package with the template.
        rules: more style, for pictures.
        values: that the template names.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    common = house()
    environment = Environment(
        loader=DictLoader({"frame.html": common["frame.html"], "page": _text(folder, template)}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=words.shown,
    )
    environment.filters.update(words.FILTERS)
    more = (_text(folder if resources.files(folder).joinpath(name).is_file() else _HOUSE, name) for name in styles)
    style = Markup("".join((common["style.css"], *more, rules)))
    return environment.get_template("page").render(style=style, **values)


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
