"""One server for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from served import Server, jpeg, network, start, written

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="session")
def bundle(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a network in it."""
    return written(network(), tmp_path_factory.mktemp("bundles") / "things", photos)


@pytest.fixture(scope="session")
def images(photos: Photos) -> dict[str, bytes]:
    """The photos as JPEG files."""
    return {name: jpeg(photo) for name, photo in photos.items()}


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves ``bundle`` under its own name, things."""
    made = start(tmp_path_factory.mktemp("server") / "log", bundle)
    yield made
    assert made.end() == 0
