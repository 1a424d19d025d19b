"""Reading once: broken files are named, order is kept, nothing is decoded twice, damage is repaired, memory stays flat."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visum import storage
from visum.data import decode as decoder
from visum.data import load
from visum.data.pixels import shrink
from visum.errors import CorruptFile, UnreadableImage
from visum.runtime import threads
from visum.types import Manifest, Preprocess, manifest, rows

SPEC = Preprocess(size=32)


def table_of(root: Path, paths: list[str] | None = None) -> Manifest:
    paths = paths or sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return manifest(root, "multiclass", ["a"], paths, [(0,)] * len(paths))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with every picture that is decoded."""
    seen: list[object] = []
    real: Callable[..., decoder.Decoded] = decoder.decode

    def counted(*arguments: Any, **named: Any) -> decoder.Decoded:
        seen.append(None)
        return real(*arguments, **named)

    monkeypatch.setattr(decoder, "decode", counted)
    return seen


@pytest.fixture
def folder(tmp_path: Path, photos: dict[str, NDArray[np.uint8]]) -> Path:
    """Three photos, and files of every kind that cannot be read, between them."""
    root = tmp_path / "photos"
    root.mkdir()
    for name, pixels in photos.items():
        Image.fromarray(pixels).save(root / f"{name}.jpg", quality=90)
    whole = (root / "coffee.jpg").read_bytes()
    (root / "b-empty.jpg").write_bytes(b"")
    (root / "b-page.jpg").write_text("<!DOCTYPE html><title>404</title>")
    (root / "b-cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "d-scan.tif").write_bytes(tiff(photos["chelsea"]))
    os.mkfifo(root / "d-pipe.jpg")
    return root


def tiff(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "TIFF")
    return out.getvalue()


MIXED = [
    "b-cut.jpg", "chelsea.jpg", "b-empty.jpg", "none.jpg", "astronaut.jpg", "b-page.jpg", "d-pipe.jpg", "d-scan.tif",
    "coffee.jpg",
]  # fmt: skip


def test_broken_files_are_named_and_the_rest_is_kept_in_order(fresh_cache: Path, folder: Path) -> None:
    steps: list[int] = []
    kept, bad = load.index(table_of(folder, MIXED), SPEC, step=steps.append)
    assert kept.ids.tolist() == ["chelsea.jpg", "astronaut.jpg", "coffee.jpg"]
    reasons = {error.path: error.reason for error in bad}
    assert list(reasons) == [name for name in MIXED if name not in kept.ids]
    said = {"b-cut.jpg": "truncated", "b-empty.jpg": "empty", "b-page.jpg": "html", "none.jpg": "no such file",
            "d-pipe.jpg": "pipe", "d-scan.tif": "TIFF"}  # fmt: skip
    for name, words in said.items():
        assert words.lower() in reasons[name].lower()
    assert all(str(folder) not in str(error) for error in bad), "ids, not places on this machine"
    assert sum(steps) == len(MIXED)


def test_index_fills_in_the_facts_of_each_file(
    fresh_cache: Path, folder: Path, photos: dict[str, NDArray[np.uint8]]
) -> None:
    kept, _ = load.index(table_of(folder, MIXED), SPEC)
    for row, name in enumerate(kept.ids):
        assert kept.sha256[row] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert (kept.heights[row], kept.widths[row]) == photos[name[:-4]].shape[:2]
    assert kept.formats.tolist() == ["JPEG"] * 3
    assert kept.widths.dtype == kept.heights.dtype == np.int32
    for picture, name in zip(load.pictures(kept, SPEC), kept.ids, strict=True):
        direct = shrink(decoder.decode(folder / name, shortest=32).pixels, SPEC)
        np.testing.assert_array_equal(picture, direct)
        assert max(picture.shape) == 32
        from_pillow = np.asarray(Image.open(folder / name).resize(picture.shape[1::-1], Image.Resampling.BICUBIC))
        assert np.abs(picture.astype(int) - from_pillow).mean() < 3


def test_digits_stay_as_small_as_they_are(fresh_cache: Path, digits: Path) -> None:
    kept, bad = load.index(table_of(digits), Preprocess(size=224))
    assert (len(kept), bad) == (300, [])
    for picture, path in zip(load.pictures(kept, Preprocess(size=224)), kept.paths, strict=True):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(digits / path).convert("RGB")))


def test_a_second_look_decodes_nothing(fresh_cache: Path, digits: Path, decoded: list[object]) -> None:
    first, _ = load.index(table_of(digits), SPEC)
    assert len(decoded) == len(set(first.sha256))
    again, bad = load.index(table_of(digits), SPEC)
    other, _ = load.index(table_of(digits), Preprocess(size=32, mean=(0.0, 0.0, 0.0)))
    list(load.pictures(again, SPEC))
    assert len(decoded) == len(set(first.sha256))
    assert bad == []
    for name in ("ids", "sha256", "widths", "heights", "formats", "notes"):
        assert getattr(again, name).tolist() == getattr(first, name).tolist() == getattr(other, name).tolist()
    load.index(table_of(digits), Preprocess(size=16))
    assert len(decoded) == 2 * len(set(first.sha256)), "another size is another picture"


def test_copies_are_stored_once(fresh_cache: Path, tmp_path: Path, digits: Path) -> None:
    (tmp_path / "c").mkdir()
    source = next(digits.rglob("*.png"))
    for at in range(20):
        shutil.copy(source, tmp_path / "c" / f"{at}.png")
    kept, _ = load.index(table_of(tmp_path / "c"), SPEC)
    assert len(kept) == 20
    assert len(load.pixel_space(SPEC)) == len(set(kept.sha256)) == 1


def test_a_format_allowed_once_is_not_allowed_for_ever(fresh_cache: Path, folder: Path) -> None:
    scan = table_of(folder, ["d-scan.tif"])
    kept, bad = load.index(scan, SPEC, extra_formats=("TIFF",))
    assert (kept.formats.tolist(), bad) == (["TIFF"], [])
    _, bad = load.index(scan, SPEC)
    assert "TIFF" in bad[0].reason
    assert len(load.index(scan, SPEC, extra_formats=("TIFF",))[0]) == 1


def test_a_changed_or_vanished_file_is_reported(fresh_cache: Path, folder: Path) -> None:
    kept, _ = load.index(table_of(folder, ["chelsea.jpg", "coffee.jpg"]), SPEC)
    storage.evict(0)
    shutil.copy(folder / "astronaut.jpg", folder / "chelsea.jpg")
    (folder / "coffee.jpg").unlink()
    space = load.pixel_space(SPEC)
    with pytest.raises(CorruptFile, match=r"^chelsea\.jpg has changed since it was indexed"):
        load.picture(kept, 0, space, SPEC)
    with pytest.raises(UnreadableImage, match="no such file"):
        load.picture(kept, 1, space, SPEC)
    again, _ = load.index(table_of(folder, ["chelsea.jpg"]), SPEC)
    assert again.sha256[0] != kept.sha256[0]


def test_an_evicted_picture_is_decoded_again(fresh_cache: Path, folder: Path) -> None:
    kept, _ = load.index(table_of(folder, MIXED), SPEC, extra_formats=("TIFF",))
    before = [picture.copy() for picture in load.pictures(kept, SPEC)]
    storage.evict(0)
    for one, two in zip(before, load.pictures(kept, SPEC), strict=True):
        np.testing.assert_array_equal(one, two)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))


@pytest.mark.parametrize("kind", ["pixels", "facts"])
def test_a_byte_flipped_in_the_store_costs_a_second_look(
    fresh_cache: Path, digits: Path, decoded: list[object], kind: str
) -> None:
    table = rows(table_of(digits), np.arange(20))
    kept, _ = load.index(table, SPEC)
    before = [picture.copy() for picture in load.pictures(kept, SPEC)]
    (blob,) = (fresh_cache / "store").glob(f"{kind}-*/*.data")
    count = len(decoded)
    flip(blob, 5)
    if kind == "pixels":
        for one, two in zip(before, load.pictures(kept, SPEC), strict=True):
            np.testing.assert_array_equal(one, two)
        assert len(decoded) > count
    again, bad = load.index(table, SPEC)
    assert bad == []
    assert len(decoded) > count
    for name in ("sha256", "widths", "heights", "formats", "notes"):
        assert getattr(again, name).tolist() == getattr(kept, name).tolist()
    load.index(table, SPEC)  # what stood beside the damage is made anew, too
    count = len(decoded)
    for one, two in zip(before, load.pictures(load.index(table, SPEC)[0], SPEC), strict=True):
        np.testing.assert_array_equal(one, two)
    assert len(decoded) == count, "repaired"
    assert sum(p.stat().st_size for p in (fresh_cache / "store").rglob("pixels-*/*.data")) == 20 * 8 * 8 * 3


def test_an_interrupted_look_goes_on_where_it_stopped(fresh_cache: Path, digits: Path, decoded: list[object]) -> None:
    seen: list[int] = []

    def stop(count: int) -> None:
        seen.append(count)
        if len(seen) == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load.index(table_of(digits), SPEC, step=stop)
    assert len(load.pixel_space(SPEC)) == 99
    assert len(decoded) < 150
    decoded.clear()
    kept, _ = load.index(table_of(digits), SPEC)
    assert len(kept) == 300
    assert len(decoded) == len(set(kept.sha256)) - 99


def test_an_empty_table(fresh_cache: Path, tmp_path: Path) -> None:
    kept, bad = load.index(manifest(tmp_path, "multiclass", ["a"], [], []), SPEC)
    assert (len(kept), bad, list(load.pictures(kept, SPEC))) == (0, [], [])


def test_in_order_keeps_order_and_takes_no_more_than_it_needs() -> None:
    taken: list[int] = []

    def items() -> Any:
        for at in itertools.count():
            taken.append(at)
            yield at

    def slow(at: int) -> int:
        time.sleep(0.002 if at % 3 else 0.01)
        return at * at

    results = load.in_order(slow, items(), ahead=2)
    for at in range(30):
        assert next(results) == at * at
        assert len(taken) <= at + 2 * threads() + 1
    results.close()
    assert threading.active_count() < 20


def test_ahead_gives_the_same_in_order_and_makes_few_too_many() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    assert list(load.ahead(items())) == list(range(1000))
    made.clear()
    some = load.ahead(items(), 3)
    assert [next(some) for _ in range(5)] == [0, 1, 2, 3, 4]
    before = threading.active_count()
    some.close()
    assert threading.active_count() < before
    assert len(made) <= 9
    assert list(load.ahead([])) == []


def test_ahead_makes_the_next_item_while_the_caller_is_busy() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        yield 1

    some = load.ahead(items(), 1)
    assert next(some) == 0
    assert begun.wait(10)
    assert list(some) == [1]


def test_ahead_passes_an_error_on_at_its_place() -> None:
    got: list[float] = []
    with pytest.raises(ZeroDivisionError):
        got.extend(load.ahead(1 / (3 - number) for number in range(9)))
    assert got == [1 / 3, 1 / 2, 1]


def test_in_order_passes_an_error_on_at_its_place() -> None:
    def reciprocal(at: int) -> float:
        return 1 / (at - 5)

    got: list[float] = []
    with pytest.raises(ZeroDivisionError):
        got.extend(load.in_order(reciprocal, range(1000)))
    assert list(load.in_order(str, [])) == []
    results = load.in_order(reciprocal, range(1000))
    assert [next(results) for _ in range(5)] == [1 / (at - 5) for at in range(5)]


MEMORY = """
    import io, sys
    from pathlib import Path
    from PIL import Image
    from skimage import data
    from visum.data import load
    from visum.runtime import peak_memory
    from visum.types import Preprocess, manifest
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    out = io.BytesIO()
    Image.fromarray(data.astronaut()).save(out, "JPEG", quality=80)
    for at in range(count):  # the same photo, but another file: a comment with its number
        comment = bytes([255, 254, 0, 7]) + b"%05d" % at
        (root / f"{at:05d}.jpg").write_bytes(out.getvalue()[:2] + comment + out.getvalue()[2:])
    names = [f"{at:05d}.jpg" for at in range(count)]
    def look(names):
        kept, bad = load.index(manifest(root, "multiclass", ["a"], names, [(0,)] * len(names)), Preprocess())
        assert not bad and len(set(kept.sha256)) == len(names)
        return peak_memory()
    first = look(names[: count // 5])
    print(first, look(names) - first)
"""


@pytest.mark.parametrize("count", [250, pytest.param(2000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_images(fresh_cache: Path, tmp_path: Path, count: int) -> None:
    (tmp_path / "many").mkdir()
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path / "many"), str(count)]
    first, grown = map(int, subprocess.check_output(command, text=True).split())
    assert first < 300e6
    assert grown < 20e6, f"{count * 4 // 5} more images of 224 px would be {count * 0.12:.0f} MB"
