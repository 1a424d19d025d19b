"""The contact sheet: tiles keep their pixels, nothing lies on anything else, and strange names do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visum.workflow import sheet
from visum.workflow.sheet import GAP, MARGIN, NAMES, Row, contact_sheet

Photos = dict[str, NDArray[np.uint8]]


def places(page: NDArray[np.uint8], tile: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(top, left) of each place where the page holds exactly this picture."""
    first = (page[: -len(tile) + 1, : -len(tile) + 1] == tile[0, 0]).all(-1)
    side = len(tile)
    at = [(int(y), int(x)) for y, x in zip(*np.nonzero(first), strict=True)]
    return [(y, x) for y, x in at if np.array_equal(page[y : y + side, x : x + side], tile)]


@pytest.fixture(scope="module")
def tiles(photos: Photos) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(photos[name][:100, :100]) for name in ("astronaut", "chelsea", "coffee")]


def test_tiles_are_there_pixel_by_pixel_and_apart(tiles: list[NDArray[np.uint8]]) -> None:
    rows = [Row("a", "x.png", tiles), Row("b", "y.png", tiles[::-1], [("10 % a",), ("2", "lines"), ()])]
    page = contact_sheet("Title", "note", ("plain", "view 1", "view 2"), rows)
    assert page.dtype == np.uint8
    assert page.shape[1] == 2 * MARGIN + NAMES + 3 * 100 + 2 * GAP
    found = [places(page, tile) for tile in tiles]
    assert [len(each) for each in found] == [2, 2, 2]
    left = [MARGIN + NAMES + column * (100 + GAP) for column in range(3)]
    assert [x for _, x in sorted(place for each in found for place in each)] == left * 2
    first, second = sorted(y for y, _ in found[0])
    assert second > first + 100
    # the frame of a page stays empty
    paper = np.array([0xFD, 0xFD, 0xFC])
    for edge in (page[: MARGIN // 2], page[-MARGIN // 2 :], page[:, : MARGIN // 2], page[:, -MARGIN // 2 :]):
        assert (edge == paper).all()
    assert (page[second + 101 : second + 150] != paper).any(), "captions are below their tiles"


def test_small_tiles_are_enlarged_in_whole_steps_and_large_ones_reduced(photos: Photos) -> None:
    small, large = photos["coffee"][:32, :32], photos["coffee"][:300, :300]
    np.testing.assert_array_equal(sheet.shown_size(small), np.kron(small, np.ones((5, 5, 1), np.uint8)))
    assert sheet.shown_size(large).shape == (224, 224, 3)
    assert abs(sheet.shown_size(large).mean() - large.mean()) < 1
    np.testing.assert_array_equal(sheet.shown_size(large[:200, :200]), large[:200, :200])


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m\udcff", "W" * 500, "Kätzchen 猫 кот", ""])
def test_any_name_can_be_drawn(name: str, tiles: list[NDArray[np.uint8]]) -> None:
    page = contact_sheet(name, "", (name,), [Row(name, name, tiles[:1], [(name, name)])])
    top, left = places(page, tiles[0])[0]
    assert left == MARGIN + NAMES
    names = page[top:, : left - 1]
    assert (names[:, NAMES + MARGIN - GAP :] == names[0, 0]).all(), "a long name ends before the tiles"


def test_what_does_not_fit_is_shortened() -> None:
    font = sheet.face("a", 14)
    assert sheet.fitted("short", font, 500) == "short"
    cut = sheet.fitted("a very long name of something", font, 80)
    assert cut.endswith("...")
    assert font.getlength(cut) <= 80 < font.getlength(cut[:-3] + "mmm...")
