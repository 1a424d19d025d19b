"""Work beside ends when the main block must, and is left alone when that ends well."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import repeat

import pytest

from visum.errors import Interrupted
from visum.runtime import Step
from visum.workflow.beside import ended


def work(step: Step, begun: threading.Event, pictures: int) -> str:
    for _ in range(pictures):
        begun.set()
        time.sleep(0.005)
        step(1)
    return "finished"


def test_an_interrupted_block_waits_for_no_more_than_one_picture() -> None:
    begun, begin = threading.Event(), time.monotonic()
    left: list[Future[str]] = []
    with pytest.raises(Interrupted), ThreadPoolExecutor(1) as pool, ended() as step:  # noqa: PT012
        left.append(pool.submit(work, step, begun, 100_000))
        begun.wait()
        raise Interrupted(2)
    assert time.monotonic() - begin < 5
    with pytest.raises(CancelledError):
        left[0].result()


def test_a_block_that_ends_well_lets_the_work_end_well() -> None:
    with ThreadPoolExecutor(1) as pool, ended() as step:
        done = list(pool.map(work, repeat(step, 2), repeat(threading.Event(), 2), (3, 5)))
    assert done == ["finished", "finished"]
