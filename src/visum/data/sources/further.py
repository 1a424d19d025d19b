"""Columns that a data set's own table has besides paths, labels and splits: a camera, a place, a hospital.

A ``Manifest`` does not carry them, since nothing is trained on them; whoever wants to judge by them reads them here once more.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from visum.data.sources import places
from visum.data.sources.layouts import METADATA, TABLES
from visum.data.sources.rows import PATH, cell_text, path_name
from visum.data.sources.tables import Table
from visum.errors import DataError
from visum.types import Column, Manifest, column

MOST = 40
"""Columns beyond which a table is taken to hold features, of which the first ones are kept."""


def further(
    data: str | Path, table: Manifest, *, path_column: str = PATH, taken: Collection[str] = ()
) -> dict[str, Column]:
    """Name → cells as text, str ``[N]`` in the order of ``table``, "" where a cell is empty or an image is in no row.

    Tables, and folders (or split folders) with a table of Hugging Face's; anything else has no further columns.

    Args:
        data: as for ``read``.
        table: what ``read`` made of it, or some rows of that.
        taken: columns that mean something already; the paths, and those named like a class (one-hot), are taken as well.
    """
    given = os.path.abspath(os.fspath(data))  # noqa: PTH100 - as ``read``
    cells: dict[str, dict[str, str]] = {}
    for place in _tables(given):
        try:
            found = TABLES[place.rpartition(".")[2].lower()](place, (path_column, "file_name"))
        except DataError:
            continue  # JSON that is no table; ``read`` has said what it is
        if not isinstance(found, Table) or path_name(found, path_column) not in found.columns:
            continue
        folder = os.path.dirname(place)  # noqa: PTH120
        below = os.path.relpath(folder, table.root)
        located = places.locate(
            folder, [cell_text(c, strip=False) for c in found.columns[path_name(found, path_column)]]
        )
        paths = [os.path.normpath(os.path.join(below, path)) for path, _ in located]  # noqa: PTH118
        strange = {path_name(found, path_column), *taken, *table.classes}
        for name in [name for name in found.columns if name and name not in strange][:MOST]:
            told = cells.setdefault(name, {})
            for path, cell in zip(paths, found.columns[name], strict=True):
                if not isinstance(cell, list):
                    told[path] = cell_text(cell)
    columns = {name: column([told.get(path, "") for path in table.paths]) for name, told in cells.items()}
    return {name: values for name, values in columns.items() if (values != "").any()}


def _tables(given: str) -> list[str]:
    """Files that may be tables of this data set."""
    if os.path.isfile(given):  # noqa: PTH113
        return [given] if given.rpartition(".")[2].lower() in TABLES else []
    if not os.path.isdir(given):  # noqa: PTH112
        return []
    folders = [given, *sorted(f"{given}/{top}" for top in os.listdir(given) if os.path.isdir(f"{given}/{top}"))]  # noqa: PTH112, PTH208
    at = [f"{folder}/{name}" for folder in folders for name in METADATA]
    return [path for path in at if os.path.isfile(path)]  # noqa: PTH113
