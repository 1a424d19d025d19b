"""Resampling against Pillow, pass by pass (Pillow 13 changes their order now and then), and its laws.

A pass may differ from Pillow's by 1 of 255, where a sum falls within float32's error of a half. Of reduced photos that is
under 0.1 % of samples (bicubic) or 0.3 % (bilinear); of made-up pictures of 0 and 255 whole areas lie on a half, so that there
only the 1 is asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from visum.data import resample as module
from visum.data.resample import Box, plan, resample
from visum.types import Filter

Picture = NDArray[np.uint8]
FILTERS = get_args(Filter)
METHODS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CAT: Picture = np.asarray(data.chelsea())


def photo(height: int, width: int) -> Picture:
    return np.asarray(Image.fromarray(CAT).resize((width, height)))


def noise(height: int, width: int) -> Picture:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def extremes(height: int, width: int) -> Picture:
    return np.random.default_rng(height * 1000 + width).integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)


def checkerboard(height: int, width: int) -> Picture:
    board = np.indices((height, width)).sum(0) % 2 * 255
    return np.repeat(board.astype(np.uint8)[..., None], 3, axis=2)


CONTENTS = [photo, noise, extremes, checkerboard]


def pillow(pixels: Picture, width: int, height: int, kernel: Filter, box: Box | None = None) -> Picture:
    return np.asarray(Image.fromarray(pixels).resize((width, height), METHODS[kernel], box=box))


def apart(one: Picture, two: Picture) -> int:
    assert one.shape == two.shape
    assert one.dtype == two.dtype == np.uint8
    return int(np.abs(one.astype(int) - two).max())


sides = st.one_of(st.integers(1, 12), st.integers(1, 500))


@settings(max_examples=300, deadline=None)
@given(st.data(), sides, sides, st.sampled_from(CONTENTS), st.sampled_from(FILTERS))
def test_each_pass_is_pillows(
    draw: st.DataObject, old: int, new: int, content: Callable[[int, int], Picture], kernel: Filter
) -> None:
    other = draw.draw(st.integers(1, 40))
    start = draw.draw(st.integers(0, 2 * old - 1)) / 2
    stop = draw.draw(st.integers(int(2 * start) + 1, 2 * old)) / 2
    wide, high = content(other, old), content(old, other)
    assert apart(resample(wide, new, other, kernel), pillow(wide, new, other, kernel)) <= 1
    assert apart(resample(high, other, new, kernel), pillow(high, other, new, kernel)) <= 1
    box = (start, 0.0, stop, float(other))
    assert apart(resample(wide, new, other, kernel, box), pillow(wide, new, other, kernel, box)) <= 1
    box = (0.0, start, float(other), stop)
    assert apart(resample(high, other, new, kernel, box), pillow(high, other, new, kernel, box)) <= 1


@settings(max_examples=100, deadline=None)
@given(sides, sides, sides, sides, st.sampled_from(CONTENTS), st.sampled_from(FILTERS))
def test_columns_come_first_then_rows(
    height: int, width: int, new_height: int, new_width: int, content: Callable[[int, int], Picture], kernel: Filter
) -> None:
    picture = content(height, width)
    columns = resample(picture, new_width, height, kernel)
    whole = resample(picture, new_width, new_height, kernel)
    np.testing.assert_array_equal(whole, resample(columns, new_width, new_height, kernel), strict=True)


@pytest.mark.parametrize("kernel", FILTERS)
def test_a_box_of_both_axes_is_one_of_each(kernel: Filter) -> None:
    left, top, right, bottom = box = (10.5, 3.0, 400.0, 288.5)
    columns = resample(CAT, 100, 300, kernel, (left, 0.0, right, 300.0))
    both = resample(columns, 100, 90, kernel, (0.0, top, 100.0, bottom))
    np.testing.assert_array_equal(resample(CAT, 100, 90, kernel, box), both)
    assert apart(resample(CAT, 100, 90, kernel, box), pillow(CAT, 100, 90, kernel, box)) <= 1


@pytest.mark.parametrize(("kernel", "equal"), [("bicubic", 0.999), ("bilinear", 0.997)])
@pytest.mark.parametrize("size", [(224, 168), (224, 149), (47, 32), (300, 200), (1, 1), (451, 211)])
def test_reduced_photos_equal_pillows(
    photos: dict[str, Picture], kernel: Filter, equal: float, size: tuple[int, int]
) -> None:
    for picture in photos.values():
        wanted = pillow(pillow(picture, size[0], len(picture), kernel), *size, kernel)
        got = resample(picture, *size, kernel)
        assert apart(got, wanted) <= 1
        assert (got == wanted).mean() >= equal


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("ratio", [1 / 8, 1 / 4, 1 / 2, 2, 4])
def test_exact_halves_are_rounded_up_as_pillow_does(
    kernel: Filter, content: Callable[[int, int], Picture], ratio: float
) -> None:
    """Away from the edges all weights are eighths of powers of two: sums are exact, and often halves."""
    picture, (width, height) = content(128, 96), (int(96 * ratio), int(128 * ratio))
    edge = int(max(2 * ratio, 2))
    for size in [(width, 128), (96, height)]:
        got, wanted = resample(picture, *size, kernel), pillow(picture, *size, kernel)
        np.testing.assert_array_equal(got[edge:-edge, edge:-edge], wanted[edge:-edge, edge:-edge])


def test_overshoot_is_clipped_and_does_not_wrap() -> None:
    edge = np.zeros((20, 20, 3), np.uint8)
    edge[:, 10:] = 255
    row = resample(edge, 60, 20, "bicubic")[0, :, 0].astype(int)
    assert row[:27].max() == 0
    assert row[33:].min() == 255
    assert (np.diff(row) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 255), st.sampled_from(FILTERS))
@example(5000, 1, 1, 7, 255, "bicubic")
@example(1, 3, 500, 500, 254, "bilinear")
def test_one_colour_stays_that_colour(
    height: int, width: int, new_height: int, new_width: int, value: int, kernel: Filter
) -> None:
    flat = np.full((height, width, 3), value, np.uint8)
    assert (resample(flat, new_width, new_height, kernel) == value).all()


def test_colours_do_not_mix_and_no_axis_is_swapped() -> None:
    for channel in range(3):
        picture = np.zeros_like(CAT)
        picture[..., channel] = CAT[..., channel]
        small = resample(picture, 97, 51, "bicubic")
        np.testing.assert_array_equal(small[..., channel], resample(CAT, 97, 51, "bicubic")[..., channel])
        assert not np.delete(small, channel, axis=2).any()
    turned = np.ascontiguousarray(CAT.transpose(1, 0, 2))
    assert apart(resample(turned, 51, 97, "bicubic"), resample(CAT, 97, 51, "bicubic").transpose(1, 0, 2)) <= 1


def test_any_view_is_read_and_none_is_written() -> None:
    for view in (
        CAT[::-1],
        CAT[:, ::-1],
        CAT[::2, 5:300:3],
        CAT.transpose(1, 0, 2),
        CAT[..., ::-1],
        np.asfortranarray(CAT),
    ):
        before = view.copy()
        view = view.view()
        view.flags.writeable = False
        for size in [(50, 40), (view.shape[1], 40), (50, view.shape[0]), (700, 500)]:
            np.testing.assert_array_equal(resample(view, *size, "bicubic"), resample(before, *size, "bicubic"))
        np.testing.assert_array_equal(view, before)


def test_what_does_not_change_is_not_copied() -> None:
    assert np.shares_memory(resample(CAT, 451, 300, "bicubic"), CAT)
    part = resample(CAT, 100, 50, "bicubic", (7.0, 20.0, 107.0, 70.0))
    np.testing.assert_array_equal(part, CAT[20:70, 7:107])
    assert np.shares_memory(part, CAT)
    shifted = resample(CAT, 100, 50, "bicubic", (7.5, 20.0, 107.5, 70.0))
    assert (shifted != part).any()


def test_how_the_work_is_cut_moves_no_more_than_what_lies_on_a_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of other shapes are added up in another order by some libraries: float32 errs elsewhere then."""
    picture = photo(533, 400)
    whole = [resample(picture, *size, kernel) for size in [(168, 224), (500, 600)] for kernel in FILTERS]
    monkeypatch.setattr(module, "PRODUCT", 8 * 27 * 50)
    cut = [resample(picture, *size, kernel) for size in [(168, 224), (500, 600)] for kernel in FILTERS]
    for one, two in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one.astype(int), two, atol=1)
        assert (one != two).mean() < 1e-4


def test_a_pool_gives_what_one_thread_gives() -> None:
    jobs = [(CAT[at:, at : at + 300], 100 + at % 7, 60 + at % 5, FILTERS[at % 2]) for at in range(120)]
    serial = [resample(*job) for job in jobs]
    module._plan_cached.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for one, two in zip(serial, pool.map(lambda job: resample(*job), jobs), strict=True):
            np.testing.assert_array_equal(one, two)


ALONE = """
    import time
    import cv2
    import numpy as np
    from visum.data.resample import resample
    cv2.setNumThreads(1)
    others = []
    for height, width in [(533, 400), (1000, 750), (3000, 2000), (600, 9000)]:
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        resample(picture, 224, 168, "bicubic")
        for _ in range(100):  # threads that OpenBLAS has just started, or used, spin for a while before they sleep
            before = time.process_time()
            time.sleep(0.02)
            if time.process_time() - before < 0.001:
                break
        all_threads, this_thread = time.process_time(), time.thread_time()
        for _ in range(3):
            resample(picture, 224, 168, "bicubic")
        all_threads, this_thread = time.process_time() - all_threads, time.thread_time() - this_thread
        others.append(1 - this_thread / all_threads)
    print(max(others))
"""


@pytest.mark.parametrize("processor", ["", "Haswell"])
def test_products_stay_on_the_thread_of_their_caller(processor: str) -> None:
    asked = {"OPENBLAS_NUM_THREADS": "4"} | ({"OPENBLAS_CORETYPE": processor} if processor else {})
    command = [sys.executable, "-c", textwrap.dedent(ALONE)]
    share = float(subprocess.check_output(command, text=True, env={**os.environ, **asked}))
    assert share < 0.1, f"{share:.0%} of the processor time was spent by other threads"


def test_memory_is_that_of_a_strip_not_of_the_picture() -> None:
    picture = np.zeros((3000, 6000, 3), np.uint8)
    resample(picture, 64, 64, "bicubic")
    tracemalloc.start()
    resample(picture, 224, 112, "bicubic")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6, f"{peak / 1e6:.0f} MB beside a picture of 54 MB"


def test_kept_weights_stay_small() -> None:
    longest = (module._CACHED, 0, module._CACHED, 224, "bicubic")
    worst = sum(weights.nbytes for weights in plan(*longest).weights)
    assert worst * module._plan_cached.cache_info().maxsize < 40e6
    assert plan(*longest) is plan(*longest)
    longer = (module._CACHED + 1, 0, module._CACHED + 1, 224, "bicubic")
    assert plan(*longer) is not plan(*longer)


@pytest.mark.slow
def test_it_is_faster_than_pillow() -> None:
    picture = photo(533, 400)

    def seconds(work: Callable[[], Picture]) -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    ours, theirs = zip(
        *(
            (
                seconds(lambda: resample(picture, 168, 224, "bicubic")),
                seconds(lambda: pillow(picture, 168, 224, "bicubic")),
            )
            for _ in range(100)
        ),
        strict=True,
    )
    assert min(ours) < 0.75 * min(theirs), f"{min(ours) * 1e3:.2f} ms, Pillow {min(theirs) * 1e3:.2f} ms"
