"""A stream cut into windows, judged so that false alarms are counted over all of them and not in each."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visum.errors import UsageError
from visum.judge.drift import exchange, separate
from visum.judge.drift.sample import Reference, Sample, pick
from visum.judge.drift.separate import Findings
from visum.types import Integers

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
MOST = 400
"""Windows that are judged: beyond, no p that can be drawn in time is small enough."""
ALLOWED = (
    f"a number of pictures (200), or a time ({', '.join(f'1{unit}' for unit in UNITS)}: minutes, hours, days, weeks)"
)


@dataclass(frozen=True, eq=False)
class Window:
    """Part of a stream.

    Attributes:
        start, end: seconds since 1970, end not included; NaN where windows are numbers of pictures without times.
        rows: positions in the stream, in the order of time.
    """

    start: float
    end: float
    rows: Integers


def length(text: str) -> int | float:
    """``200`` → 200 pictures; ``1d`` → 86400.0 seconds.

    Raises:
        UsageError: neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw]?)", text.strip())
    number = float(found[1]) if found else 0.0
    if not found or number <= 0 or (not found[2] and not number.is_integer()):
        raise UsageError(f"--window {text}", allowed=ALLOWED, next="--window 1d")
    return number * UNITS[found[2]] if found[2] else int(number)


def cut(times: NDArray[np.float64], size: int | float) -> list[Window]:
    """Windows in the order of time; those of a time may be empty, and begin at whole multiples of it (UTC).

    Args:
        times: seconds since 1970, ``[N]``; NaN where unknown: such pictures come last, in their order.
        size: int: pictures a window, the last window has the rest and at least half of that, or is part of the one before; float:
            seconds.

    Raises:
        UsageError: more than ``MOST`` windows, or a time window and pictures without a time.
    """
    order = np.argsort(times, kind="stable")
    if isinstance(size, int):
        count = max(1, round(len(order) / size))
        _check(count, str(size))
        edges = [*range(0, size * count, size), len(order)]
        parts = [order[a:b] for a, b in pairwise(edges)]
        return [Window(*span(times[part]), part) for part in parts]
    if np.isnan(times).any():
        raise UsageError(
            f"{int(np.isnan(times).sum()):,} of {len(times):,} pictures have no time, so that windows of time are none",
            allowed="--window with a number of pictures, or a time for each picture",
            next="--window 200",
        )
    at = np.floor(times[order] / size).astype(np.int64)
    first, last = int(at[0]), int(at[-1])
    _check(last - first + 1, f"of {size:g} seconds")
    return [Window(number * size, (number + 1) * size, order[at == number]) for number in range(first, last + 1)]


def span(times: NDArray[np.float64]) -> tuple[float, float]:
    """First and last time that is known; NaN without any."""
    known = times[np.isfinite(times)]
    return (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)


def _check(windows: int, words: str) -> None:
    if windows > MOST:
        raise UsageError(f"{windows:,} windows {words}", allowed=f"at most {MOST}", next="a longer --window")


def draws(alpha: float) -> int:
    """Splits to draw, so that a p well below ``alpha`` can come out."""
    return max(exchange.DRAWS, math.ceil(4 / alpha) - 1)


def judge(
    reference: Reference, stream: Sample, windows: Sequence[Window], *, alpha: float = 0.05, seed: int = 0
) -> list[Findings]:
    """Every window on its own, at ``alpha`` / (number of windows that are not empty).

    So that, of streams without drift, at most ``alpha`` have any false alarm of a kind, however many windows they have and
    however these hang together (Bonferroni; all are compared with one reference, so that they are not independent).
    Many draws are made only where a few of them do not already say that nothing is there.
    """
    full = sum(len(window.rows) > 0 for window in windows)
    each = alpha / max(full, 1)
    found = []
    for number, window in enumerate(windows):
        part = pick(stream, window.rows)
        told = separate.judge(reference, part, alpha=each, gate=alpha, seed=seed + number)
        if draws(each) > exchange.DRAWS and any(v.p <= 10 / exchange.DRAWS for v in told.verdicts.values()):
            told = separate.judge(reference, part, alpha=each, gate=alpha, draws=draws(each), seed=seed + number)
        found.append(told)
    return found
