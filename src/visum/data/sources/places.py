"""Where the cells of a path column lead: to a regular file inside the table's folder, or to a reason why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from visum.data.sources.walk import link

OUTSIDE, MISSING, SPECIAL = "outside", "missing", "special"


def locate(folder: str, cells: Sequence[str]) -> list[tuple[str, str]]:
    """For each cell the normalised path below ``folder`` and "", or the cell itself and a reason.

    A cell may be relative to ``folder`` or absolute but inside it. Nothing outside is ever looked at: a path that leads out,
    by ``..``, from the root or through a link, is ``OUTSIDE`` whether or not something is there. A cell that leads nowhere is
    tried again without the spaces around it and with ``\\`` read as ``/``.

    Args:
        folder: absolute path of an existing folder.
    """
    inside = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - hot path
    parents: dict[str, bool] = {}
    return [_first(folder, inside, parents, cell) for cell in cells]


def _first(folder: str, inside: str, parents: dict[str, bool], cell: str) -> tuple[str, str]:
    path, why = _place(folder, inside, parents, cell)
    if why == MISSING:
        for other in (cell.strip(), cell.strip().replace("\\", "/")):
            if other != cell and not (found := _place(folder, inside, parents, other))[1]:
                return found
    return path, why


def _place(folder: str, inside: str, parents: dict[str, bool], cell: str) -> tuple[str, str]:
    if not cell or "\0" in cell:
        return cell, MISSING
    path = os.path.normpath(cell)
    if cell.startswith("/"):
        bases = (os.path.join(folder, ""), inside)  # noqa: PTH118
        base = next((each for each in bases if path.startswith(each)), None)
        if base is None:
            return cell, OUTSIDE
        path = path[len(base) :]
    if path == ".." or path.startswith("../"):
        return cell, OUTSIDE
    full = os.path.join(folder, path)  # noqa: PTH118
    try:
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent not in parents:  # before anything below it is looked at
            parents[parent] = os.path.join(os.path.realpath(os.path.join(folder, parent)), "").startswith(inside)  # noqa: PTH118
        if not parents[parent]:
            return cell, OUTSIDE
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            why = link(full, inside)
            return (path, "") if not why else (cell, why if why in (OUTSIDE, SPECIAL) else MISSING)
    except (OSError, ValueError):  # ValueError: text that no path can be made of
        return cell, MISSING
    return (path, "") if stat.S_ISREG(mode) else (cell, SPECIAL)
