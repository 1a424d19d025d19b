"""Real pictures for all tests, and a cache of their own so that no test sees another's or the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for the whole test session (networks are compiled into it once); never the user's."""
    folder = tmp_path_factory.mktemp("visum-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUM_CACHE", str(folder))
        yield folder


@pytest.fixture()
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
