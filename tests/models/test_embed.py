"""Once through the network, and once only: counted at the engine, and held to what the engine itself says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum.data import load
from visum.data.decode import decode
from visum.data.pixels import fit, fit_batch
from visum.data.sources import images
from visum.errors import ModelError
from visum.models import compiled, weights
from visum.models.embed import VIEWS, Network, describe, embed, mirror, missing, plain, stored
from visum.types import Floats, Manifest, Pixels, rows

SIZE = 64


@pytest.fixture
def folder(photos: dict[str, Pixels], tmp_path: Path) -> Path:
    """Eleven JPEGs: nine parts of three photos, one of them three times under other names."""
    root = tmp_path / "photos"
    root.mkdir()
    for name, photo in photos.items():
        for number in range(3):
            Image.fromarray(photo[50 * number :][:150, :200]).save(root / f"{name}{number}.jpg")
    for copy in ("again", "and again"):
        shutil.copy(root / "chelsea1.jpg", root / f"{copy}.jpg")
    return root


@pytest.fixture
def network() -> Network:
    backbone = weights.find(size=SIZE)
    return Network(backbone, backbone.preprocess, "onnxruntime")


@pytest.fixture
def table(folder: Path, network: Network, fresh_cache: Path) -> Manifest:
    found, bad = load.index(images([folder]), network.preprocess)
    assert not bad
    return found


@pytest.fixture(scope="module")
def engine(cache: Path) -> compiled.Engine:
    backbone = weights.find(size=SIZE)
    return compiled.engine(backbone, backbone.preprocess, "onnxruntime")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, engine: compiled.Engine) -> list[int]:
    """Sizes of all batches that any engine is given."""
    sizes: list[int] = []

    def build(*_: Any) -> compiled.Engine:
        def run(batch: Pixels) -> Floats:
            sizes.append(len(batch))
            return engine.run(batch)

        return replace(engine, run=run)

    monkeypatch.setitem(compiled.ENGINES, "onnxruntime", build)
    return sizes


def squares(table: Manifest, network: Network) -> Pixels:
    """From the files, past the store."""
    return fit_batch([decode(load.location(table, row)).pixels for row in range(len(table))], network.preprocess)


def direct(engine: compiled.Engine, pictures: Pixels) -> Floats:
    return np.concatenate([engine.run(pictures[at : at + 8]) for at in range(0, len(pictures), 8)])


@pytest.mark.usefixtures("seen")
def test_embeddings_are_what_the_engine_says(table: Manifest, network: Network, engine: compiled.Engine) -> None:
    found = embed(table, network, views=("plain", "mirror"))
    pictures = squares(table, network)
    for view, made in found.items():
        assert made.vectors.dtype == np.float16
        assert made.vectors.shape == (11, 1904)
        assert made.ids.tolist() == table.ids.tolist()
        expected = direct(engine, VIEWS[view](pictures))
        np.testing.assert_allclose(np.asarray(made.vectors, np.float32), expected, rtol=2e-3, atol=2e-3)
    assert np.abs(found["plain"].vectors - found["mirror"].vectors).max() > 0.1


def test_each_file_once_and_copies_not_at_all(table: Manifest, network: Network, seen: list[int]) -> None:
    assert missing(table, network) == 9
    steps: list[int] = []
    first = embed(table, network, step=steps.append)["plain"].vectors
    assert sorted(seen) == [1, 8]  # two threads: either may come first
    assert sum(steps) == len(table)
    copies = [
        row for row, digest in enumerate(table.sha256) if digest == table.sha256[list(table.ids).index("again.jpg")]
    ]
    assert len(copies) == 3
    np.testing.assert_array_equal(first[copies], np.repeat(first[copies[:1]], 3, axis=0))
    assert missing(table, network) == 0
    again = Network(network.backbone, network.preprocess, "onnxruntime")
    np.testing.assert_array_equal(embed(table, again)["plain"].vectors, first)
    assert sorted(seen) == [1, 8]
    assert "engine" not in again.__dict__  # nothing was compiled
    embed(table, again, views=("plain", "mirror"))
    assert sorted(seen) == [1, 1, 8, 8]


def test_rows_in_any_order(table: Manifest, network: Network, seen: list[int]) -> None:
    whole = embed(table, network)["plain"].vectors
    order = np.random.default_rng(0).permutation(len(table))
    np.testing.assert_array_equal(embed(rows(table, order), network)["plain"].vectors, whole[order])
    assert sorted(seen) == [1, 8]


def test_only_new_files_are_looked_at(table: Manifest, network: Network, seen: list[int]) -> None:
    some = embed(rows(table, np.arange(4)), network)["plain"].vectors
    calls = len(seen)
    whole = embed(table, network)["plain"].vectors
    np.testing.assert_array_equal(whole[:4], some)
    assert sum(seen[:calls]) + sum(seen[calls:]) == 9


def test_an_interrupted_run_keeps_what_it_had(table: Manifest, network: Network, seen: list[int]) -> None:
    def stop(count: int) -> None:
        if seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(table, network, step=stop)
    assert missing(table, network) == 1
    embed(table, network)
    assert sum(seen) <= 8 + 1 + 1


def test_no_rows(table: Manifest, network: Network, seen: list[int]) -> None:
    assert len(embed(rows(table, np.zeros(0, np.int64)), network)["plain"]) == 0
    assert seen == []


def test_what_an_embedding_depends_on_is_in_its_key(network: Network) -> None:
    def digest(**changes: Any) -> str:
        return replace(network, **changes).digest

    spec, backbone = network.preprocess, network.backbone
    others = [
        digest(preprocess=replace(spec, size=96)),
        digest(preprocess=replace(spec, fit="crop")),
        digest(preprocess=replace(spec, mean=(0.0, 0.0, 0.0))),
        digest(backbone=replace(backbone, digest="0" * 64)),
        digest(backbone=replace(backbone, stages=())),
        digest(engine_name="torch"),
    ]
    assert len({network.digest, *others}) == 7
    assert digest(engine_name="auto") == digest(engine_name=compiled.installed()[0])  # one cache, not two
    with pytest.raises(ModelError, match="no engine 'cuda' here"):
        digest(engine_name="cuda")


def test_a_mirror_twice_is_plain(table: Manifest, network: Network) -> None:
    pictures = squares(table, network)
    np.testing.assert_array_equal(mirror(mirror(pictures)), plain(pictures))
    np.testing.assert_array_equal(mirror(pictures)[0], np.fliplr(pictures[0]))
    assert mirror(pictures).flags.c_contiguous
    assert set(VIEWS) == {"plain", "mirror"}


@pytest.mark.usefixtures("seen")
def test_the_mirror_view_is_the_plain_view_of_mirrored_files(
    table: Manifest, network: Network, photos: dict[str, Pixels], tmp_path: Path
) -> None:
    root = tmp_path / "turned"
    root.mkdir()
    for row in range(3):  # PNG, so that nothing is lost; a width that pads evenly, so that both sides are alike
        pixels = decode(load.location(table, row)).pixels
        Image.fromarray(pixels[:, ::-1]).save(root / f"{row}.png")
    turned, _ = load.index(images([root]), network.preprocess)
    ours = embed(rows(table, np.arange(3)), network, views=("mirror",))["mirror"].vectors
    theirs = embed(turned, network)["plain"].vectors
    difference = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs, np.float32))
    assert difference.max() < 0.05 * np.abs(ours).max()  # resampling is not quite symmetric


def test_what_lies_beyond_half_precision_becomes_its_end() -> None:
    vectors = np.array([[1e6, -1e6, 65504.0, 1e-9, 0.1]], np.float32)
    found: NDArray[np.float16] = stored(vectors)
    assert found.dtype == np.float16
    assert found.tolist() == [[65504.0, -65504.0, 65504.0, 0.0, float(np.float16(0.1))]]


def test_descriptions_are_made_once(table: Manifest, network: Network) -> None:
    calls: list[tuple[int, ...]] = []

    def mean(picture: Pixels) -> Floats:
        calls.append(picture.shape)
        return picture.mean((0, 1)).astype(np.float32)

    spec = network.preprocess
    steps: list[int] = []
    first = describe(table, "mean1", mean, spec, step=steps.append)
    assert first.shape == (11, 3)
    assert len(calls) == 9
    assert sum(steps) == 11
    expected = [mean(load.picture(table, row, load.pixel_space(spec), spec)) for row in range(11)]
    np.testing.assert_array_equal(first, expected)
    calls.clear()
    np.testing.assert_array_equal(describe(table, "mean1", mean, spec), first)
    assert calls == []
    fitted = describe(table, "mean1-square", mean, spec, square=True)
    assert set(calls) == {(SIZE, SIZE, 3)}
    np.testing.assert_allclose(fitted[0], fit(decode(load.location(table, 0)).pixels, spec).mean((0, 1)), rtol=1e-6)


def test_memory_does_not_grow_with_the_table(
    table: Manifest, network: Network, monkeypatch: pytest.MonkeyPatch, photos: dict[str, Pixels]
) -> None:
    """Peak of what Python and NumPy hold while pictures pass, many more than may be under way at a time."""
    import tracemalloc

    from visum.types import column

    def wide(batch: Pixels) -> Floats:
        return np.zeros((len(batch), 4), np.float32)

    monkeypatch.setitem(compiled.ENGINES, "onnxruntime", lambda *_: compiled.Engine("onnxruntime", "float32", wide))
    large = replace(network, preprocess=replace(network.preprocess, size=256))
    count, under_way = 64 * (compiled.threads() + 1), 4 * compiled.threads() + 4  # pictures, batches
    keys = [f"{number:064x}" for number in range(count)]
    with load.pixel_space(large.preprocess).writer() as writer:
        for key in keys:
            writer.add(key, photos["coffee"][:256, :256])
    many = replace(rows(table, np.zeros(count, np.int64)), sha256=column(keys))
    tracemalloc.start()
    assert embed(many, large)["plain"].vectors.shape == (count, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < under_way * compiled.BATCH * 256 * 256 * 3 < count * 256 * 256 * 3
