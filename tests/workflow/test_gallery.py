"""The training pictures of a real run as a file for a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from visum.errors import UsageError
from visum.ship import gallery
from visum.types import Manifest, in_split
from visum.workflow import gallery as making
from visum.workflow import origin

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


def test_holds_train_alone_and_is_made_once(network_run: Run) -> None:
    path = making.prepared(network_run.folder)
    held, table = gallery.read(path), Manifest.load(network_run.folder / "manifest.parquet")
    assert set(held.digests) == set(table.sha256[in_split(table, "train")].tolist())
    assert held.space == gallery.space_of(origin.opened(network_run.folder))
    np.testing.assert_allclose(np.linalg.norm(held.vectors, axis=1), 1, atol=2e-3)
    assert all(jpeg[:2] == b"\xff\xd8" for jpeg in held.jpegs.values())
    stamp = path.stat().st_mtime_ns
    assert making.prepared(network_run.folder) == path
    assert path.stat().st_mtime_ns == stamp


def test_a_bundle_alone_has_no_training_pictures(network_run: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(network_run.folder / "bundle", tmp_path / "alone")
    with pytest.raises(UsageError, match="not the folder of a run"):
        making.prepared(tmp_path / "alone")
