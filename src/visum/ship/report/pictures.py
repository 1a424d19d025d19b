"""Thumbnails inside the page: each image once, as a style rule that any number of places can show; and maps of mistakes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from visum.errors import CorruptFile

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


class Map(NamedTuple):
    """Of one mistake: JPEG bytes, what it explains, what it explains it against ("" for none), and its verdict ("": untested)."""

    jpeg: bytes
    target: str
    contrast: str
    verdict: str


MAP = "map of "


def maps(folder: Path, wrong: Sequence[dict[str, Any]]) -> dict[str, Map]:
    """``MAP`` + id → map, of the mistakes whose answer is still the one that was explained; {} without ``explain.json``.

    Raises:
        CorruptFile: it is not what ``visum explain`` writes.
    """
    try:
        listed = json.loads((folder / "explain.json").read_text(encoding="utf-8"))["explanations"]
        told = {(each["id"], each["target"]): each for each in listed}
        found = {}
        for each in wrong:
            if (one := told.get((each["id"], each["answer"]))) is not None:
                jpeg = (folder / Path(f"{one['file']}.jpg").name).read_bytes()
                found[f"{MAP}{each['id']}"] = Map(jpeg, one["target"], one["contrast"], one["verdict"])
        return found
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(
            f"{folder / 'explain.json'} is not what visum explain writes", next="visum explain RUN"
        ) from error
