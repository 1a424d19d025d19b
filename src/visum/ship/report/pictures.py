"""Thumbnails inside the page: each image once, as a style rule that any number of places can show."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

from markupsafe import Markup

MOST = 150
MOST_BYTES = 1_900_000  # base64 makes 2.5 MB of them, so that the page stays under 3 MB


def album(wanted: Iterable[str], thumbnail: Callable[[str], bytes | None]) -> tuple[dict[str, str], Markup]:
    """Ask once for each id, in order of importance, until 150 pictures or 1.9 MB are in.

    Returns:
        The style class of each id that has a picture, and the style rules that hold the pictures as ``data:`` URIs.
    """
    classes: dict[str, str] = {}
    rules: list[str] = []
    room = MOST_BYTES
    for name in dict.fromkeys(wanted):
        if len(rules) >= MOST:
            break
        picture = thumbnail(name)
        if not picture or len(picture) > room:
            continue
        room -= len(picture)
        classes[name] = f"p{len(rules)}"
        data = base64.b64encode(picture).decode("ascii")
        rules.append(f".p{len(rules)}{{background-image:url(data:image/jpeg;base64,{data})}}")
    return classes, Markup("\n".join(rules))
