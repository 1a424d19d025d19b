"""Which of several exports is written."""

from __future__ import annotations

import numpy as np
import pytest

from visum.errors import UsageError
from visum.workflow.candidate import OWN, WHOLE, Measured, check_precision, choice, frontier, milliseconds


def one(change: float, megabytes: float, spent: float) -> Measured:
    return Measured("int8", 64, WHOLE, OWN, megabytes, spent, 0.9 + change, change, change - 0.01, change + 0.01, 100)


TRIED = (one(0, 14, 10), one(0, 7, 10), one(-0.003, 4, 6), one(-0.02, 4, 5), one(-0.03, 5, 7))


def test_the_frontier_is_what_nothing_beats() -> None:
    assert [each.best for each in frontier(TRIED)] == [False, True, True, True, False]
    assert [each.best for each in frontier((one(0, 1, 1), one(0, 1, 1)))] == [True, True]  # equals beat each other not
    assert [each.best for each in frontier(TRIED[:1])] == [True]


@pytest.mark.parametrize(
    ("drop", "limit", "chosen"),
    [(0.005, None, 2), (0.02, None, 3), (0, None, 0), (0.005, 12, 1), (0.005, 8, 2), (0.03, 5.5, 3), (0.001, 8, None)],
)
def test_the_fastest_or_the_most_accurate_that_is_fast_enough(
    drop: float, limit: float | None, chosen: int | None
) -> None:
    assert choice(TRIED, drop, limit) == chosen


def test_time_is_a_median() -> None:
    import time

    waits = iter([0.05, *[0.001] * 20])
    spent = milliseconds(lambda _: np.zeros(time.sleep(next(waits)) or 1, np.float32), np.zeros((2, 2, 3), np.uint8))
    assert 1 <= spent < 20


def test_precisions_that_a_target_lacks_are_refused() -> None:
    check_precision("onnx", "int8")
    with pytest.raises(UsageError, match="--to onnx --int8"):
        check_precision("torch", "int8")
