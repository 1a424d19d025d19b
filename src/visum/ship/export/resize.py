"""What ``data.pixels.fit`` does, as nodes of a graph: from pictures of any size to the square that a network sees.

The rules are those of ``data.resample``: columns first, rounded to uint8, then rows; antialiased when reducing. An axis is a
matrix ``[outputs, inputs]`` whose weights are computed from the picture's size in the graph. The distance between an output and
an input, in units of the filter, is a fraction of two whole numbers, so that float32 loses nothing on the way to it. The canvas
has always ``size`` lines: those in the padding are rows of zeros, and no shape depends on what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visum.data.resample import HALF_UP
from visum.ship.export.graph import Graph
from visum.types import Filter, Preprocess


@dataclass(frozen=True)
class Axis:
    """How one axis is resampled; names of int64 scalars.

    Attributes:
        inputs: length of the axis.
        canvas: outputs.
        offset, length: outputs ``offset … offset + length - 1`` hold the picture, the others are padding.
        start_twice, extent: which part of the axis is taken, in pixels; the start, which may lie in the middle of one, times two.
        low, high: inputs ``low … high - 1`` may be looked at; None for all.
    """

    inputs: str
    canvas: str
    offset: str
    length: str
    start_twice: str
    extent: str
    low: str | None = None
    high: str | None = None


def fitted(g: Graph, pixels: str, spec: Preprocess) -> str:
    """Nodes for ``fit``: uint8 ``[N, H, W, 3]`` → uint8 ``[N, S, S, 3]``."""
    shape = g.add("Shape", pixels)
    height, width = (g.add("Gather", shape, axis, axis=0) for axis in (1, 2))
    x = g.add("Transpose", g.cast(pixels, np.float32), perm=[0, 3, 1, 2])
    x = {"pad": _pad, "crop": _crop, "squash": _squash}[spec.fit](g, x, height, width, spec)
    return g.cast(g.add("Transpose", x, perm=[0, 2, 3, 1]), np.uint8)


def _pad(g: Graph, x: str, height: str, width: str, spec: Preprocess) -> str:
    size = g.constant(spec.size)
    side = g.add("Max", height, width)
    axes = []
    for inputs in (height, width):
        length = g.add("Max", _ratio(g, g.add("Mul", inputs, size), side), 1)
        offset = g.add("Div", g.add("Sub", size, length), 2)
        axes.append(Axis(inputs, size, offset, length, g.constant(0), inputs))
    down, across = axes
    x = lines(g, columns(g, x, across, spec.filter), down, spec.filter)
    rows, cells = (_within(g, axis, index) for axis, index in ((down, 1), (across, 0)))
    background = np.array(spec.background, np.float32).reshape(3, 1, 1)
    return g.add("Where", g.add("And", rows, cells), x, background)


def _ratio(g: Graph, product: str, side: str) -> str:
    """``round(product / side)`` of whole numbers, halves to even, in whole numbers."""
    twice = g.add("Mul", side, 2)
    sum_ = g.add("Add", g.add("Mul", product, 2), side)
    up = g.add("Div", sum_, twice)
    half = g.add("Equal", g.add("Mul", up, twice), sum_)
    odd = g.add("Equal", g.add("Sub", up, g.add("Mul", g.add("Div", up, 2), 2)), 1)
    return g.add("Sub", up, g.cast(g.add("And", half, odd), np.int64))


def _crop(g: Graph, x: str, height: str, width: str, spec: Preprocess) -> str:
    size, zero = g.constant(spec.size), g.constant(0)
    side = g.add("Min", height, width)
    reduces = g.add("Greater", side, size)
    axes = []
    for inputs in (height, width):
        twice = g.add("Sub", inputs, side)
        first = g.add("Div", twice, 2)
        # a square that is not reduced is cut at whole pixels, and what lies beyond it is not seen when it is enlarged
        start = g.add("Where", reduces, twice, g.add("Mul", first, 2))
        low = g.add("Where", reduces, zero, first)
        high = g.add("Where", reduces, inputs, g.add("Add", first, side))
        axes.append(Axis(inputs, size, zero, size, start, side, low, high))
    return lines(g, columns(g, x, axes[1], spec.filter), axes[0], spec.filter)


def _squash(g: Graph, x: str, height: str, width: str, spec: Preprocess) -> str:
    """Columns, rows; but where rows are reduced and columns enlarged, what is reduced comes first.

    The first pass then leaves the columns as they are, on a canvas that is too wide for them, and the last one enlarges them.
    """
    size, zero = g.constant(spec.size), g.constant(0)
    late = g.add("And", g.add("Less", width, size), g.add("Greater", height, size))
    between = g.add("Where", late, width, size)
    x = columns(g, x, Axis(width, size, zero, between, zero, width), spec.filter)
    x = lines(g, x, Axis(height, size, zero, size, zero, height), spec.filter)
    return columns(g, x, Axis(size, size, zero, size, zero, between, zero, between), spec.filter)


def columns(g: Graph, x: str, axis: Axis, kernel: Filter) -> str:
    """The last axis of float32 ``[N, 3, H, W]`` resampled and rounded."""
    return _rounded(g, g.add("MatMul", x, g.add("Transpose", matrix(g, axis, kernel), perm=[1, 0])))


def lines(g: Graph, x: str, axis: Axis, kernel: Filter) -> str:
    """The axis before the last of float32 ``[N, 3, H, W]`` resampled and rounded."""
    return _rounded(g, g.add("MatMul", matrix(g, axis, kernel), x))


def matrix(g: Graph, axis: Axis, kernel: Filter) -> str:
    """Weights float32 ``[outputs, inputs]``; each row sums to 1, or is 0 in the padding."""
    at = g.add("Range", g.constant(0), axis.inputs, g.constant(1))
    row = g.add("Unsqueeze", _outputs(g, axis), np.array([1]))
    seen = g.add("Mul", g.add("Sub", g.add("Add", g.add("Mul", at, 2), 1), axis.start_twice), axis.length)
    made = g.add("Mul", g.add("Add", g.add("Mul", row, 2), 1), axis.extent)
    reach = g.add("Mul", g.add("Max", axis.extent, axis.length), 2)
    distance = g.add("Div", g.cast(g.add("Sub", seen, made), np.float32), g.cast(reach, np.float32))
    weights = {"bicubic": _cubic, "bilinear": _triangle}[kernel](g, g.add("Abs", distance))
    inside = _within(g, axis, 1)
    if axis.low is not None and axis.high is not None:
        low = g.add("GreaterOrEqual", at, axis.low)
        inside = g.add("And", inside, g.add("And", low, g.add("Less", at, axis.high)))
    weights = g.add("Where", inside, weights, 0.0)
    total = g.add("ReduceSum", weights, np.array([1]), keepdims=1)
    return g.add("Div", weights, g.add("Where", g.add("Greater", total, 0.0), total, 1.0))


def _outputs(g: Graph, axis: Axis) -> str:
    """Numbers of the outputs, counted from the first that holds the picture: int64 ``[outputs]``."""
    return g.add("Sub", g.add("Range", g.constant(0), axis.canvas, g.constant(1)), axis.offset)


def _within(g: Graph, axis: Axis, index: int) -> str:
    """Which outputs hold the picture: bool ``[outputs]`` with an axis of 1 inserted at ``index``."""
    output = _outputs(g, axis)
    inside = g.add("And", g.add("GreaterOrEqual", output, 0), g.add("Less", output, axis.length))
    return g.add("Unsqueeze", inside, np.array([index]))


def _cubic(g: Graph, x: str) -> str:
    """Keys 1981 with a = -0.5, of a distance >= 0."""
    square = g.add("Mul", x, x)
    near = g.add("Add", g.add("Mul", g.add("Sub", g.add("Mul", x, 1.5), 2.5), square), 1.0)
    far = g.add("Mul", g.add("Sub", g.add("Mul", g.add("Add", g.add("Mul", x, -0.5), 2.5), x), 4.0), x)
    far = g.add("Add", far, 2.0)
    beyond = g.add("Where", g.add("Less", x, 2.0), far, 0.0)
    return g.add("Where", g.add("Less", x, 1.0), near, beyond)


def _triangle(g: Graph, x: str) -> str:
    return g.add("Max", g.add("Sub", 1.0, x), 0.0)


def _rounded(g: Graph, x: str) -> str:
    """As uint8 would hold it; halves go up, as in ``data.resample``."""
    return g.add("Clip", g.add("Round", g.add("Add", x, HALF_UP)), 0.0, 255.0)
