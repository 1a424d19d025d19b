"""What a bundle is judged by: a split of a data set, and how much of it the bundle has seen before."""

from __future__ import annotations

from pathlib import Path

from visum.types import Manifest, Split, in_split, rows
from visum.workflow import origin


def split_of(table: Manifest, split: Split | None) -> tuple[Manifest, Split]:
    """The rows to judge by, and the split that they are; "" for all rows.

    Args:
        split: None: test where the table has one, else all.
    """
    chosen: Split = split if split is not None else ("test" if in_split(table, "test").any() else "")
    return (rows(table, in_split(table, chosen)) if chosen else table), chosen


def trained_on(bundle: Path, table: Manifest) -> int:
    """How many indexed rows a bundle was trained on, as far as the run around it tells."""
    seen = origin.trained(origin.table(bundle))
    return sum(digest in seen for digest in table.sha256.tolist())
