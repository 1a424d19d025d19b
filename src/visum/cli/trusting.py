"""What ``visum evaluate --trust`` prints: one line a step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visum.cli import show


def show_steps(made: Mapping[str, Any], page: Path | None) -> None:
    """Verdict, question and sentence of each step, in the order in which they were taken; then where the page is."""
    rows = [
        (block["verdict"], block["title"], block["sentence"].replace("\u202f", " "), f"{block['seconds']:.1f} s")
        for block in made["steps"].values()
    ]
    title = f"Can it be trusted? {made['n']:,} images, {made['seconds']:.0f} s"
    show.table(("verdict", "question", "what was found", "took"), rows, title, right=(3,))
    if page is not None:
        print(f"page    {show.name(str(page))}")
