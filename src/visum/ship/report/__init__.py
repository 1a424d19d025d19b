"""The report: one self-contained page about a run, made to be shown to a stranger.

``write`` reads the run folder and nothing else; ``words`` turns numbers into text, ``advice`` into sentences that say what
they mean and what to do next, ``charts`` and ``climb`` into inline SVG, ``pictures`` into thumbnails that are embedded once
each, and ``sections`` lays out what ``page.html`` and ``style.css`` show. The page has no script and fetches nothing: it
reads the same from a mail attachment, on a phone and on paper. Class names, ids and messages are strangers' text; they
reach the page only through ``words.clean`` and Jinja's autoescape.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from visum.errors import CorruptFile, UsageError
from visum.ship.report import pictures, sections
from visum.ship.report.frame import rendered
from visum.storage import write_atomic

__all__ = ["write"]


def write(run: Path, *, thumbnail: Callable[[str], bytes | None]) -> Path:
    """Write ``RUN/report.html`` from ``run.json``, ``metrics.json``, ``findings.json`` (may be missing: no audit) and
    ``history.csv`` (may be missing, too). Where ``visum explain RUN`` has been, ``explained/`` holds maps of the worst mistakes.

    Args:
        run: the run folder.
        thumbnail: JPEG bytes of the image with that id, 96 to 160 px on its longer side, or None where there is none.
            It is asked once for each image that the page shows, about 150 at most.

    Returns:
        The path of the page: UTF-8, under 3 MB, the same bytes for the same folder.

    Raises:
        UsageError: the folder has no finished run.
        CorruptFile: one of the files is not what a run writes.
        StorageError: the page cannot be written; an older page is left as it was.
    """
    run = Path(run)
    evidence = {name: _read(run, name) for name in ("run", "metrics", "findings")}
    for name, kind in (("run", dict), ("metrics", dict), ("findings", (list, type(None)))):
        if not isinstance(evidence[name], kind):
            raise CorruptFile(f"{run / name}.json does not hold what a run writes", next="visum train again")
    unlike = f"a file of {run} lacks a field or has one of another kind"
    with _mapped(unlike):
        view = sections.view(evidence["run"], evidence["metrics"], evidence["findings"], _history(run))
    maps = pictures.maps(run / "explained", view["wrong"])
    wanted = [*view.pop("wanted"), *maps]

    def jpeg(name: str) -> bytes | None:
        return maps[name].jpeg if name in maps else thumbnail(name)

    album, rules = pictures.album(wanted, jpeg)
    with _mapped(unlike):
        trust = (run / "trust.html").is_file()
        page = rendered("page.html", rules=rules, **view, trust=trust, album=album, maps=maps)
    target = run / "report.html"
    write_atomic(target, page)
    return target


@contextlib.contextmanager
def _mapped(got: str) -> Iterator[None]:
    """Turns what a wrong shape of the files raises, here or inside the template, into one kind of error."""
    from jinja2 import UndefinedError

    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, UndefinedError) as error:
        raise CorruptFile(f"{got}: {error!r}", next="visum train again with this version") from error


def _read(run: Path, name: str) -> Any:
    path = run / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (FileNotFoundError, NotADirectoryError) as error:
        if name == "findings":
            return None
        raise UsageError(
            f"{path} does not exist", allowed="the folder of a finished run", next="visum train DATA --out RUN"
        ) from error
    except ValueError as error:
        raise CorruptFile(f"{path} is not JSON: {error}", next="visum train again") from error


def _history(run: Path) -> list[dict[str, str]]:
    """Rows of ``history.csv`` by column."""
    try:
        text = (run / "history.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise CorruptFile(f"{run / 'history.csv'} is not CSV: {error}", next="visum train again") from error
