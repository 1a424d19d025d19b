"""Garment photos as the store would hold them: at most 224 px, upright RGB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visum.types import Integers, Pixels


@dataclass(frozen=True)
class Garments:
    """Pictures with their class numbers; ``train`` marks those of the train folder, the rest are validation."""

    pictures: list[Pixels]
    labels: Integers
    train: np.ndarray
    classes: tuple[str, ...]


@pytest.fixture(scope="session")
def garments(clothing: Path) -> Garments:
    """Every fourth training photo and all validation photos."""
    classes = sorted(folder.name for folder in (clothing / "train").iterdir())
    files = [*sorted(clothing.glob("train/*/*.jpg"))[::4], *sorted(clothing.glob("validation/*/*.jpg"))]
    pictures = []
    for file in files:
        image = Image.open(file)
        image.draft("RGB", (224, 224))
        image.thumbnail((224, 224), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(image.convert("RGB")))
    labels = np.array([classes.index(file.parent.name) for file in files])
    train = np.array([file.parts[-3] == "train" for file in files])
    return Garments(pictures, labels, train, tuple(classes))
