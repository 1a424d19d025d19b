"""Kinds of pictures: by class, size, brightness, contrast, sharpness, source, format and every further column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from visum.audit.quality import MEASURES
from visum.judge import slices
from visum.types import Column, Floats, Manifest, column

MEASURED = ("brightness", "contrast", "sharpness")


def kinds(
    table: Manifest, looks: Floats, more: Mapping[str, Column], edges: Mapping[str, np.ndarray]
) -> dict[str, Column]:
    """by → str ``[N]``, "" where it is not known.

    Args:
        table: indexed rows.
        looks: ``audit.look`` of them, float32 ``[N, …]``.
        more: further columns; those with numbers are cut into quarters.
        edges: of ``all_edges``.
    """
    found: dict[str, Column] = {}
    for name, values in {**measured(table, looks), **numbers(more)}.items():
        words = slices.WORDS.get(name, ("lowest", "lower", "higher", "highest"))
        found[name] = slices.quarters(values, edges[name], words, "px" if name == "size" else "")
    found |= {name: values for name, values in more.items() if name not in found}
    source = table.groups if (table.groups != "").any() else folders(table)
    return {**found, "source": source, "format": table.formats}


def all_edges(table: Manifest, looks: Floats, more: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """Where the quarters of each measure begin."""
    return {name: slices.edges(values) for name, values in {**measured(table, looks), **numbers(more)}.items()}


def measured(table: Manifest, looks: Floats) -> dict[str, np.ndarray]:
    """What every picture has as a number, float64 ``[N]``: longer side in pixels, and what the audit measured."""
    size = np.maximum(table.widths, table.heights).astype(np.float64)
    size[size == 0] = np.nan
    return {"size": size} | {name: looks[:, MEASURES.index(name)].astype(np.float64) for name in MEASURED}


def numbers(more: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """Those columns that hold numbers of more than ten values, float64 ``[N]``, NaN where a cell is empty."""
    found = {}
    for name, values in more.items():
        try:
            cells = np.array([float(cell) if cell else np.nan for cell in values])
        except ValueError:
            continue
        if len(np.unique(cells[np.isfinite(cells)])) > 10:
            found[name] = cells
    return found


def folders(table: Manifest) -> Column:
    """The folder of each file, which may be its source; a split's or class's own folder tells nothing new and is dropped by
    ``slices.groups``."""
    return column([str(PurePosixPath(name).parent) for name in table.ids])
