"""Settings of augmentations, checked: what is out of range is said in one sentence before a pixel is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence

from visum.errors import UsageError


def number(name: str, value: float, low: float, high: float) -> float:
    """``value`` where low <= value <= high. Raises ``UsageError`` for anything else."""
    if not _is_number(value) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", allowed=f"a number from {low:g} to {high:g}")
    return float(value)


def whole(name: str, value: int, low: int, high: int) -> int:
    """``value`` where it is a whole number and low <= value <= high. Raises ``UsageError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", allowed=f"a whole number from {low} to {high}")
    return value


def span(name: str, value: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Two numbers from ``low`` to ``high``, the smaller one first. Raises ``UsageError`` for anything else."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not all(map(_is_number, pair)) or not low <= pair[0] <= pair[1] <= high:
        allowed = f"two numbers from {low:g} to {high:g}, the smaller one first"
        raise UsageError(f"{name} is {value!r}", allowed=allowed)
    return float(pair[0]), float(pair[1])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
