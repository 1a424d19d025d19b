"""What each ONNX operator does, said once for NumPy, JAX and TensorFlow.

``OPERATORS`` maps a name to ``(framework, *inputs, **attributes) -> output``. A framework is a namespace of functions with
NumPy's names and arguments, and of the few that NumPy lacks: ``shape``, ``kind``, ``cast``, ``convolve``, ``max_pool``,
``sum_pool``, ``softmax``, ``log_softmax``, ``logsumexp``, ``softplus``, ``sigmoid``, ``erf``. Maps are ``[N, C, H, W]``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

LAST = 2**31 - 1
"""Ends of slices from here on mean: to the end."""


def _plain(name: str) -> Callable[..., Any]:
    return lambda xp, *inputs: getattr(xp, name)(*inputs)


def _ints(value: Any) -> tuple[int, ...]:
    return tuple(int(each) for each in np.asarray(value).reshape(-1))


def _divide(xp: Any, a: Any, b: Any) -> Any:
    """Of whole numbers, the whole part; they are never below 0 here."""
    return xp.floor_divide(a, b) if np.dtype(xp.kind(a)).kind in "iu" else xp.divide(a, b)


def _gather(xp: Any, x: Any, index: Any, *, axis: int = 0) -> Any:
    if isinstance(index, np.ndarray) and index.size and index.min() < 0:
        index = np.where(index < 0, index + int(xp.shape(x)[axis]), index)
    return xp.take(x, index, axis=axis)


def _slice(xp: Any, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    starts, ends = _ints(starts), _ints(ends)
    where = [slice(None)] * x.ndim
    for at, axis in enumerate(range(len(starts)) if axes is None else _ints(axes)):
        end = None if ends[at] >= LAST else ends[at]
        where[axis] = slice(starts[at], end, 1 if steps is None else _ints(steps)[at])
    return x[tuple(where)]


def _reshape(xp: Any, x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    if isinstance(shape, np.ndarray):
        own = xp.shape(x)
        shape = [own[at] if n == 0 and not allowzero else n for at, n in enumerate(_ints(shape))]
    return xp.reshape(x, shape)


def _flatten(xp: Any, x: Any, *, axis: int = 1) -> Any:
    sizes = xp.shape(x)
    if axis == 1:
        return xp.reshape(x, (sizes[0], int(np.prod([int(n) for n in x.shape[1:]]))))
    return xp.reshape(x, (int(np.prod(_ints(sizes[:axis]))), -1))


def _split(xp: Any, x: Any, sizes: Any = None, *, axis: int = 0, num_outputs: int | None = None) -> Any:
    length = int(x.shape[axis])
    parts = _ints(sizes) if sizes is not None else (length // (num_outputs or 2),) * (num_outputs or 2)
    ends = np.cumsum(parts)
    lead = (slice(None),) * (axis % x.ndim)
    return [x[(*lead, slice(int(end - part), int(end)))] for part, end in zip(parts, ends, strict=True)]


def _clip(xp: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


def _unsqueeze(xp: Any, x: Any, axes: Any) -> Any:
    rank = x.ndim + len(_ints(axes))
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = xp.expand_dims(x, axis)
    return x


def _reduce(name: str) -> Callable[..., Any]:
    def reduced(xp: Any, x: Any, given: Any = None, *, axes: Any = None, keepdims: int = 1, **_: Any) -> Any:
        axes = given if axes is None else axes
        over = tuple(range(x.ndim)) if axes is None else _ints(axes)
        return getattr(xp, name)(x, axis=over, keepdims=bool(keepdims))

    return reduced


def _norm(xp: Any, x: Any, given: Any = None, *, axes: Any = None, keepdims: int = 1) -> Any:
    return xp.sqrt(_reduce("sum")(xp, x * x, given, axes=axes, keepdims=keepdims))


def _gemm(
    xp: Any, a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:
    a, b = (xp.transpose(each, (1, 0)) if turned else each for each, turned in ((a, transA), (b, transB)))
    y = xp.matmul(a, b)
    y = y if alpha == 1 else y * np.float32(alpha)
    return y if c is None else y + (c if beta == 1 else c * np.float32(beta))


def _window(
    x: Any, kernel: Any, strides: Any, pads: Any, dilations: Any = (1, 1), ceil: int = 0, auto: str = "NOTSET"
) -> Any:
    """Padding of the two last axes as pairs; ``ceil`` lets the last window hang over."""
    if len(kernel) != 2 or auto not in ("NOTSET", "VALID", ""):
        raise ValueError(f"a window of {len(kernel)} axes, padded by {auto}")
    pairs = []
    for axis in range(2):
        before, after = int(pads[axis]), int(pads[axis + 2])
        if ceil:
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            room = int(x.shape[2 + axis]) + before + after - reach
            steps = -(-room // strides[axis])
            steps -= steps * strides[axis] >= int(x.shape[2 + axis]) + before  # it must begin inside
            after += max(0, steps * strides[axis] - room)
        pairs.append((before, after))
    return tuple(pairs)


def _conv(
    xp: Any,
    x: Any,
    w: Any,
    b: Any = None,
    *,
    kernel_shape: Any = None,
    strides: Any = (1, 1),
    pads: Any = (0, 0, 0, 0),
    dilations: Any = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Any:
    """Cross-correlation; weights ``[O, C / group, h, w]``."""
    kernel = kernel_shape or [int(n) for n in w.shape[2:]]
    return xp.convolve(
        x, w, b, tuple(strides), _window(x, kernel, strides, pads, auto=auto_pad), tuple(dilations), group
    )


def _max_pool(
    xp: Any,
    x: Any,
    *,
    kernel_shape: Any,
    strides: Any = (1, 1),
    pads: Any = (0, 0, 0, 0),
    dilations: Any = (1, 1),
    ceil_mode: int = 0,
    auto_pad: str = "NOTSET",
    storage_order: int = 0,
) -> Any:
    if tuple(dilations) != (1, 1):
        raise ValueError("dilated pooling")
    edges = _window(x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad)
    return xp.max_pool(x, tuple(kernel_shape), tuple(strides), edges)


def _average_pool(
    xp: Any,
    x: Any,
    *,
    kernel_shape: Any,
    strides: Any = (1, 1),
    pads: Any = (0, 0, 0, 0),
    ceil_mode: int = 0,
    auto_pad: str = "NOTSET",
    count_include_pad: int = 0,
) -> Any:
    kernel, steps = tuple(kernel_shape), tuple(strides)
    edges = _window(x, kernel, steps, pads, (1, 1), ceil_mode, auto_pad)
    total = xp.sum_pool(x, kernel, steps, edges)
    if not any(sum(edges, ())):
        return total * np.float32(1 / np.prod(kernel))
    own = np.ones((1, 1, *(int(n) for n in x.shape[2:])), np.float32)
    asked = ((int(pads[0]), int(pads[2])), (int(pads[1]), int(pads[3]))) if count_include_pad else ((0, 0), (0, 0))
    beyond = [(a - c, b - d) for (a, b), (c, d) in zip(edges, asked, strict=True)]
    counted = np.pad(np.pad(own, ((0, 0), (0, 0), *asked), constant_values=1), ((0, 0), (0, 0), *beyond))
    windows = np.lib.stride_tricks.sliding_window_view(counted, kernel, axis=(2, 3))[:, :, :: steps[0], :: steps[1]]
    return total / windows.sum((4, 5), dtype=np.float32)


def _pad(xp: Any, x: Any, amounts: Any, value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    amounts, over = _ints(amounts), range(x.ndim) if axes is None else _ints(axes)
    widths = [(0, 0)] * x.ndim
    for at, axis in enumerate(over):
        widths[axis] = (amounts[at], amounts[at + len(over)])
    if mode != "constant":
        return xp.pad(x, widths, mode=mode)
    return xp.pad(x, widths, constant_values=0 if value is None else np.asarray(value).item())


def _layer_norm(
    xp: Any, x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    over = tuple(range(axis % x.ndim, x.ndim))
    centred = x - xp.mean(x, axis=over, keepdims=True)
    spread = xp.sqrt(xp.mean(centred * centred, axis=over, keepdims=True) + np.float32(epsilon))
    y = centred / spread * scale
    return y if bias is None else y + bias


def _batch_norm(
    xp: Any, x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5, **_: Any
) -> Any:
    shape = (1, -1, *(1,) * (x.ndim - 2))
    factor = scale / xp.sqrt(variance + np.float32(epsilon))
    return x * xp.reshape(factor, shape) + xp.reshape(bias - mean * factor, shape)


def _filled(xp: Any, shape: Any, *, value: Any = None) -> Any:
    number = value or {"type": "float32", "value": 0}
    return np.full(_ints(shape), number["value"], number["type"])


def _expand(xp: Any, x: Any, shape: Any) -> Any:
    """To a shape in which 1 keeps what is there."""
    if isinstance(shape, np.ndarray):
        own = [1] * (len(shape) - x.ndim) + list(xp.shape(x))
        shape = [a if n == 1 else n for a, n in zip(own, _ints(shape), strict=True)]
    return xp.broadcast_to(x, shape)


def _gelu(xp: Any, x: Any, *, approximate: str = "none") -> Any:
    if approximate == "tanh":
        inner = (x + x * x * x * np.float32(0.044715)) * np.float32(np.sqrt(2 / np.pi))
        return x * np.float32(0.5) * (xp.tanh(inner) + np.float32(1))
    return x * np.float32(0.5) * (xp.erf(x * np.float32(np.sqrt(0.5))) + np.float32(1))


def _hard_sigmoid(xp: Any, x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return _clip(xp, x * np.float32(alpha) + np.float32(beta), np.float32(0), np.float32(1))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _plain("abs"),
    "Add": _plain("add"),
    "And": _plain("logical_and"),
    "ArgMax": lambda xp, x, axis=0, keepdims=1, **_: (
        xp.expand_dims(xp.argmax(x, axis), axis) if keepdims else xp.argmax(x, axis)
    ),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda xp, x, to, **_: xp.cast(x, to),
    "Ceil": _plain("ceil"),
    "Clip": _clip,
    "Concat": lambda xp, *inputs, axis: xp.concatenate(inputs, axis=axis),
    "ConstantOfShape": _filled,
    "Conv": _conv,
    "Div": _divide,
    "Elu": lambda xp, x, alpha=1.0: xp.where(
        xp.greater(x, np.float32(0)), x, (xp.exp(xp.minimum(x, np.float32(0))) - np.float32(1)) * np.float32(alpha)
    ),
    "Equal": _plain("equal"),
    "Erf": _plain("erf"),
    "Exp": _plain("exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _plain("floor"),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda xp, x: xp.mean(x, axis=(2, 3), keepdims=True),
    "Greater": _plain("greater"),
    "GreaterOrEqual": _plain("greater_equal"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda xp, x: x * _hard_sigmoid(xp, x, alpha=1 / 6),
    "Identity": lambda xp, x: x,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda xp, x, alpha=0.01: xp.where(xp.less(x, np.float32(0)), x * np.float32(alpha), x),
    "Less": _plain("less"),
    "LessOrEqual": _plain("less_equal"),
    "Log": _plain("log"),
    "LogSoftmax": lambda xp, x, axis=-1: xp.log_softmax(x, axis),
    "MatMul": _plain("matmul"),
    "Max": lambda xp, a, *rest: a if not rest else _folded(xp.maximum, a, rest),
    "MaxPool": _max_pool,
    "Min": lambda xp, a, *rest: a if not rest else _folded(xp.minimum, a, rest),
    "Mul": _plain("multiply"),
    "Neg": _plain("negative"),
    "Not": _plain("logical_not"),
    "Or": _plain("logical_or"),
    "Pad": _pad,
    "Pow": lambda xp, a, b: xp.power(a, b if xp.kind(b) == xp.kind(a) else xp.cast(b, xp.kind(a))),
    "QuickGelu": lambda xp, x, alpha=1.702: x * xp.sigmoid(x * np.float32(alpha)),
    "Range": _plain("arange"),
    "Reciprocal": lambda xp, x: np.float32(1) / x,
    "ReduceL2": _norm,
    "ReduceLogSumExp": _reduce("logsumexp"),
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Relu": lambda xp, x: xp.maximum(x, np.float32(0)),
    "Reshape": _reshape,
    "Round": _plain("round"),
    "Shape": lambda xp, x, start=0, end=None: xp.shape(x)[start:end],
    "Sigmoid": _plain("sigmoid"),
    "Sign": _plain("sign"),
    "Slice": _slice,
    "Softmax": lambda xp, x, axis=-1: xp.softmax(x, axis),
    "Softplus": _plain("softplus"),
    "Split": _split,
    "Sqrt": _plain("sqrt"),
    "Squeeze": lambda xp, x, axes=None: xp.squeeze(x, None if axes is None else _ints(axes)),
    "Sub": _plain("subtract"),
    "Sum": lambda xp, a, *rest: _folded(xp.add, a, rest),
    "Tanh": _plain("tanh"),
    "Transpose": lambda xp, x, perm=None: xp.transpose(x, tuple(range(x.ndim))[::-1] if perm is None else tuple(perm)),
    "Unsqueeze": _unsqueeze,
    "Where": _plain("where"),
}
"""ONNX operator, opset 17 → what it does."""


def _folded(function: Callable[[Any, Any], Any], a: Any, rest: Any) -> Any:
    for b in rest:
        a = function(a, b)
    return a


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


NUMPY = SimpleNamespace(
    **{
        **{name: getattr(np, name) for name in np.__all__},
        "shape": lambda x: np.array(np.shape(x), np.int64),
        "kind": lambda x: np.asarray(x).dtype.name,
        "cast": lambda x, to: np.asarray(x).astype(to),
        "arange": lambda start, stop, step: np.arange(start, stop, step, dtype=np.asarray(stop).dtype),
        "softmax": _softmax,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    }
)
"""For what depends on constants alone."""
