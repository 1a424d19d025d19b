"""Real pictures for all tests, and a cache of their own so that no test sees another's or the user's."""

from __future__ import annotations

import os

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    # A processor for each worker: threads of several workers on one processor wait for each other by spinning. Before NumPy is
    # loaded, so that its products are those of the children that tests start, to the last bit.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from visum.workflow.outcome import Run

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for the whole test session and all its workers (networks are built into it once); never the user's."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "visum-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUM_CACHE", str(folder))
        yield folder


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for tests that count what is read and what is made."""
    monkeypatch.setenv("VISUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def clothing() -> Path:
    """Phone photos of garments: train, validation and test folders of ten classes."""
    folder = SHARED / "data" / "clothing"
    if not folder.is_dir():
        pytest.skip("the clothing photos are not beside the checkout (../shared/data/clothing)")
    return folder


@pytest.fixture(scope="session")
def photos() -> dict[str, NDArray[np.uint8]]:
    """scikit-image's packaged photos by name, uint8 RGB ``[H, W, 3]``."""
    from skimage import data

    return {name: np.asarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee")}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 of scikit-learn's real handwritten digits as PNG class folders (8 x 8 grey pixels)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    source, root = load_digits(), tmp_path_factory.mktemp("digits")
    for number, (picture, label) in enumerate(zip(source.images[:300], source.target[:300], strict=True)):
        folder = root / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray((picture * 15.9375).astype(np.uint8)).save(folder / f"{number:04d}.png")
    return root


@pytest.fixture(scope="session")
def split_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same digits in train, valid and test folders; no 9 is in valid, so that a class is missing in one split."""
    root = tmp_path_factory.mktemp("split-digits")
    for number, path in enumerate(sorted(digits.rglob("*.png"), key=lambda each: each.name)):
        part = {0: "valid", 1: "test"}.get(number % 4, "train")
        folder = root / ("train" if (part, path.parent.name) == ("valid", "9") else part) / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).hardlink_to(path)
    return root


LADDER = ("majority", "hog+linear_svm", "embedding+probe")


@pytest.fixture(scope="session")
def run(split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run on ``split_digits``, for all tests that only look."""
    from visum.workflow.train import train

    return train(split_digits, out=tmp_path_factory.mktemp("runs") / "digits", size=64, ladder=LADDER)


@pytest.fixture(scope="session")
def network_run(run: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same where the network's probe has won (a classical model is better on such small digits)."""
    from visum.workflow.train import train

    return train(split_digits, out=tmp_path_factory.mktemp("runs") / "network", size=64, ladder=(LADDER[0], LADDER[2]))
