"""The server's engine: any few pictures at a time, the same numbers as the engine for many, and nothing compiled twice."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.data.pixels import fit_batch
from visum.models import compiled, serving, weights
from visum.types import Floats, Pixels

Photos = Mapping[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def backbone() -> weights.Backbone:
    return weights.find(weights.DEFAULT, size=64)


@pytest.fixture(scope="module")
def engine(backbone: weights.Backbone) -> compiled.Engine:
    return serving.engine(backbone, backbone.preprocess)


@pytest.fixture(scope="module")
def squares(backbone: weights.Backbone, photos: Photos) -> Pixels:
    return fit_batch([*photos.values(), next(iter(photos.values()))[::-1]], backbone.preprocess)


@pytest.fixture(scope="module")
def wanted(backbone: weights.Backbone, squares: Pixels) -> Floats:
    return compiled.engine(backbone, backbone.preprocess, "onnxruntime").run(squares)


@pytest.mark.parametrize("count", range(1, serving.MOST + 1))
def test_any_few_pictures_get_the_numbers_of_the_reference(
    count: int, engine: compiled.Engine, squares: Pixels, wanted: Floats
) -> None:
    found = engine.run(squares[:count])
    assert found.shape == wanted[:count].shape
    assert found.dtype == np.float32
    tolerance = 1e-3 if engine.precision == "float32" else 0.1
    np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=tolerance * np.abs(wanted).max())


def test_threads_get_their_own_answers(engine: compiled.Engine, squares: Pixels) -> None:
    alone = [engine.run(squares[at : at + 1]) for at in range(4)]

    def ask(number: int) -> bool:
        at = number % 4
        return bool(np.array_equal(engine.run(squares[at : at + 1]), alone[at]))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(60)))


def test_an_answer_is_not_changed_by_the_next_one(engine: compiled.Engine, squares: Pixels) -> None:
    first = engine.run(squares[:1])
    kept = first.copy()
    for _ in range(4):
        engine.run(squares[1:2])
    np.testing.assert_array_equal(first, kept)


def test_what_was_compiled_is_kept(engine: compiled.Engine, cache: Path) -> None:
    assert list((cache / "openvino").glob("*.blob"))


def test_other_engines_are_as_they_are(backbone: weights.Backbone, squares: Pixels, wanted: Floats) -> None:
    found = serving.engine(backbone, backbone.preprocess, "onnxruntime")
    assert found.name == "onnxruntime"
    np.testing.assert_allclose(found.run(squares[:3]), wanted[:3], rtol=1e-4, atol=1e-3)
