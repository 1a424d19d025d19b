"""The picture of a learning-rate range test: loss against the logarithm of the rate. Pure: numbers in, an array out."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visum.types import Pixels
from visum.workflow.sheet import ACCENT, FAINT, INK, PAPER, SOFT, face, fitted

WIDTH, HEIGHT = 1120, 700
LEFT, RIGHT, TOP, BOTTOM = 110, 60, 150, 92
"""Pixels of the picture, and of what lies around the plot."""
_FINE = 2  # drawn so many times larger, then reduced, which makes lines smooth
_MOST_LINES = 6


def rate_plot(
    rates: NDArray[np.floating],
    raw: NDArray[np.floating],
    smoothed: NDArray[np.floating],
    suggestion: float | None,
    title: str,
    note: str,
) -> Pixels:
    """Draw it.

    Args:
        rates: ``[n]`` growing, > 0, n >= 2.
        raw, smoothed: ``[n]`` losses, finite. The axis is made for the smoothed ones up to the lowest and a little beyond: what
            lies above it, when the loss breaks, is cut off.
        suggestion: a rate to mark.
        title, note: at the top.

    Returns:
        uint8 ``[700, 1120, 3]``.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), PAPER)
    draw = ImageDraw.Draw(picture)
    first, last = math.log10(rates[0]), math.log10(rates[-1])
    lines = scale(*ends(raw, smoothed))
    low, high = lines[0], lines[-1]

    def x(rate: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(rate) - first) / (last - first)

    def y(loss: float) -> float:
        return max(TOP + (HEIGHT - TOP - BOTTOM) * (high - max(loss, low)) / (high - low), -HEIGHT)

    def line(points: list[tuple[float, float]], colour: str, width: float) -> None:
        draw.line([(_FINE * a, _FINE * b) for a, b in points], colour, round(_FINE * width), joint="curve")

    def write(a: float, b: float, text: str, size: int, colour: str, anchor: str) -> None:
        font = face(text, size * _FINE)
        draw.text((_FINE * a, _FINE * b), fitted(text, font, _FINE * (WIDTH - 80)), colour, font, anchor=anchor)

    bottom = HEIGHT - BOTTOM
    for loss in lines:
        line([(LEFT, y(loss)), (WIDTH - RIGHT, y(loss))], FAINT, 1)
    for power in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1):
        line([(x(10.0**power), bottom), (x(10.0**power), bottom + 6)], SOFT, 1)
        write(x(10.0**power), bottom + 26, rate_text(10.0**power), 14, SOFT, "ms")
    write((LEFT + WIDTH - RIGHT) / 2, bottom + 62, "learning rate", 15, SOFT, "ms")
    line([(x(rate), y(loss)) for rate, loss in zip(rates, raw, strict=True)], "#aab2ba", 1.25)
    line([(x(rate), y(loss)) for rate, loss in zip(rates, smoothed, strict=True)], ACCENT, 3)
    draw.rectangle((0, 0, WIDTH * _FINE, (TOP - 2) * _FINE), PAPER)
    for loss in lines:
        write(LEFT - 14, y(loss), f"{loss:.10g}", 14, SOFT, "rm")
    write(40, 54, title, 26, INK, "ls")
    write(40, 84, note, 15, SOFT, "ls")
    write(40, TOP - 18, "loss of a step (grey), and smoothed", 14, SOFT, "ls")
    if suggestion is not None:
        at = x(suggestion)
        for up in range(TOP, bottom, 12):
            line([(at, up), (at, min(up + 6, bottom))], INK, 1.25)
        level = y(float(np.interp(math.log10(suggestion), np.log10(rates), smoothed)))
        box = [_FINE * v for v in (at - 7, level - 7, at + 7, level + 7)]
        draw.ellipse(box, ACCENT, PAPER, 2 * _FINE)
        side = "ls" if at < WIDTH * 0.7 else "rs"
        write(at + (12 if side == "ls" else -12), TOP + 14, f"suggested: {rate_text(suggestion)}", 16, INK, side)
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.uint8)


def ends(raw: NDArray[np.floating], smoothed: NDArray[np.floating]) -> tuple[float, float]:
    """Lowest loss, and the highest that is of interest: twice the way from the lowest up to where the test came from."""
    before, low = slice(int(smoothed.argmin()) + 1), float(smoothed.min())
    way = max(float(smoothed[before].max()) - low, 0.1 * abs(low))
    return min(low, float(raw[before].min())), min(float(smoothed.max()), low + 2 * way)


def rate_text(rate: float) -> str:
    """``0.0021``, ``7.1e-5``: two digits, no zeros that tell nothing."""
    mantissa, _, power = f"{rate:.2g}".partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa


def scale(low: float, high: float) -> list[float]:
    """Round numbers from just below to just above, evenly apart, at least two and about five."""
    span = max(high - low, 1e-3 * max(abs(low), abs(high), 1e-6))
    size = 10.0 ** math.floor(math.log10(span / _MOST_LINES))
    step = next(size * times for times in (1, 2, 5, 10) if span / (size * times) <= _MOST_LINES)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    found = [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]
    assert all(a < b for a, b in pairwise(found))
    return found
