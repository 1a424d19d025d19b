"""Columns of a data set's own table that nothing is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visum.data import sources
from visum.types import rows


@pytest.fixture
def listed(tmp_path: Path, photos: dict[str, np.ndarray]) -> Path:
    lines = ["path,label,split,camera,age"]
    for at, name in enumerate(("astronaut", "chelsea", "coffee")):
        Image.fromarray(photos[name][:40, :40]).save(tmp_path / f"{name}.png")
        lines.append(f"{name}.png,{'cat' if name == 'chelsea' else 'other'},test,{'AB'[at % 2]},{at + 1}.0")
    lines.append("missing.png,cat,test,B,9")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    return tmp_path / "all.csv"


def test_columns_follow_the_rows_of_the_table(listed: Path) -> None:
    table = sources.read(listed).manifest
    back = rows(table, np.arange(len(table))[::-1])
    found = sources.further(listed, back, taken=("label", "split"))
    assert {name: cells.tolist() for name, cells in found.items()} == {
        "camera": ["A", "B", "A"][::-1],
        "age": ["3.0", "2.0", "1.0"],
    }


def test_metadata_in_split_folders(tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    for split, camera in (("train", "A"), ("test", "B")):
        (tmp_path / split).mkdir()
        Image.fromarray(photos["coffee"][:40, :40]).save(tmp_path / split / "one.png")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,label,camera\none.png,cup,{camera}\n")
    table = sources.read(tmp_path).manifest
    found = sources.further(tmp_path, table, taken=("label", "split"))
    assert dict(zip(table.splits, found["camera"], strict=True)) == {"train": "A", "test": "B"}


def test_folders_have_none(tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    (tmp_path / "cup").mkdir()
    Image.fromarray(photos["coffee"][:40, :40]).save(tmp_path / "cup" / "one.png")
    assert sources.further(tmp_path, sources.read(tmp_path).manifest) == {}


def test_one_hot_columns_are_classes(tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    for name in ("one", "two"):
        Image.fromarray(photos["coffee"][:40, :40]).save(tmp_path / f"{name}.png")
    (tmp_path / "all.csv").write_text("path,cup,cat\none.png,1,0\ntwo.png,0,1\n")
    table = sources.read(tmp_path / "all.csv").manifest
    assert sources.further(tmp_path / "all.csv", table) == {}
