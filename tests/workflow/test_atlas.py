"""A map of real digits, its page, and what is said of too few."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from visum.errors import NotEnoughData, UsageError
from visum.workflow.atlas import explain_map

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_like_digits_lie_together(network_run: Run, split_digits: Path, tmp_path: Path, method: str) -> None:
    found = explain_map(network_run.folder, split_digits, method=method, out=tmp_path)
    assert len(found.ids) == len(list((split_digits / "valid").rglob("*.png")))
    assert found.agreed.mean() > 0.25  # one in ten by chance
    assert json.dumps(found.as_json())
    page = (tmp_path / "map.html").read_text()
    assert page.count("<image ") == len(found.ids)


def test_too_few_and_no_such_method(network_run: Run, split_digits: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"9 labelled images, too few for a map. Allowed: 20 or more"):
        explain_map(network_run.folder, split_digits, most=9)
    with pytest.raises(UsageError, match="tsne, pca"):
        explain_map(network_run.folder, split_digits, method="umap")
