"""JAX: a function on a tree of parameters, kept as data; nothing of JAX is needed to write it.

    from visum.ship.export import jax as exported

    function, parameters = exported.function(files)     # jax.jit, jax.vmap, jax.grad … as ever
    function(parameters, pixels)                         # uint8 [N, H, W, 3] → probabilities float32 [N, K]

``model.json`` lists the operators, ``model.safetensors`` holds the parameters by name: see ``program``. A jitted function is
compiled anew for every size of picture, as JAX does it; ``load`` compiles the network once and resizes outside of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from visum.errors import BundleError
from visum.models import ensemble as joining
from visum.ship.export import onnx, program, whole
from visum.ship.export.onnx import first_line
from visum.ship.export.operators import OPERATORS
from visum.types import Bundle, Floats, Pixels

TARGET = "jax"


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.json`` and ``model.safetensors``. Arguments and errors as of ``whole.model``, and:

    Raises:
        ModelError: an operator that ``operators`` lacks, by name.
    """
    return program.files(described(bundle, facts, make, TARGET))


def described(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network, target: str) -> program.Program:
    """A bundle as a program, for a target that runs ``operators``."""
    parts = joining.members_of(bundle) or (bundle,)
    ways = {(s.size, s.fit, s.filter, s.background): s.size for s in (part.preprocess for part in parts)}
    return program.of_model(whole.model(bundle, facts, make), list(ways.values()), OPERATORS, target)


def function(files: Mapping[str, bytes]) -> tuple[Callable[[Mapping[str, Any], Any], Any], dict[str, Any]]:
    """``(parameters, pixels) -> probabilities`` and the parameters.

    Args:
        files: with ``model.json`` and ``model.safetensors``.

    Raises:
        BundleError: JAX is not installed, or these are no such files.
        UnsafeFile: a malformed safetensors file.
    """
    jnp = _jax().numpy
    made = program.read(files)
    run = program.function(made, OPERATORS, framework())

    def apply(parameters: Mapping[str, Any], pixels: Any) -> Any:
        arrays = {name: jnp.asarray(value) for name, value in parameters.items()}
        return run(arrays, {made.entrance: jnp.asarray(pixels)}, (made.exit,))[made.exit]

    return apply, dict(made.parameters)


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The program on JAX's default device.

    Args:
        files: with ``model.json`` and ``model.safetensors``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: JAX is not installed, or cannot run it.
        UnsafeFile: a malformed safetensors file.
    """
    jax = _jax()
    made = program.read(files)
    run = program.function(made, OPERATORS, framework())
    parameters = {name: jax.numpy.asarray(value) for name, value in made.parameters.items()}
    squares = tuple(made.squares)
    classify = jax.jit(lambda parameters, seen: run(parameters, seen, (made.exit,))[made.exit])

    def answer(batch: Pixels) -> Floats:
        try:
            seen = run(parameters, {made.entrance: jax.numpy.asarray(batch)}, squares)
            return np.asarray(classify(parameters, seen), np.float32)
        except Exception as error:  # of every kind: a description may ask for anything
            raise BundleError(f"JAX cannot run {program.FILE}: {first_line(error)}", next=program.AGAIN) from error

    return answer


def stand_in(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """As ``load`` where JAX is not installed: what was written, read again and run by ONNX Runtime."""
    return onnx.load({onnx.FILE: program.to_model(program.read(files)).SerializeToString()})


def framework() -> SimpleNamespace:
    """JAX for ``operators``: the whole shape of an array is known while it is traced, so that shapes are NumPy's."""
    jax = _jax()
    jnp, lax = jax.numpy, jax.lax
    exact = lax.Precision.HIGHEST

    def cast(x: Any, to: str) -> Any:
        return x.astype(jax.dtypes.canonicalize_dtype(to))

    def depthwise(x: Any, w: Any, strides: Any, pads: Any, dilations: Any) -> Any:
        """A sum of shifted maps: XLA's own way takes twenty times as long on a CPU (240 maps of 28 x 28, a kernel of 5 x 5)."""
        x = jnp.pad(x, ((0, 0), (0, 0), *pads))
        rows, cells = (
            (x.shape[2 + axis] - dilations[axis] * (w.shape[2 + axis] - 1) - 1) // strides[axis] + 1 for axis in (0, 1)
        )

        def shifted(i: int, j: int) -> Any:
            top, left = i * dilations[0], j * dilations[1]
            down, across = strides
            part = x[:, :, top : top + (rows - 1) * down + 1 : down, left : left + (cells - 1) * across + 1 : across]
            return part * w[None, :, 0, i, j, None, None]

        return sum(shifted(i, j) for i in range(w.shape[2]) for j in range(w.shape[3]))

    def convolve(x: Any, w: Any, b: Any, strides: Any, pads: Any, dilations: Any, group: int) -> Any:
        if group > 1 and w.shape[:2] == (group, 1):
            y = depthwise(x, w, strides, pads, dilations)
            return y if b is None else y + b.reshape(1, -1, 1, 1)
        y = lax.conv_general_dilated(
            x,
            w,
            strides,
            pads,
            rhs_dilation=dilations,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=group,
            precision=exact,
        )
        return y if b is None else y + b.reshape(1, -1, 1, 1)

    def pool(start: float, join: Any) -> Callable[..., Any]:
        return lambda x, kernel, strides, pads: lax.reduce_window(
            x, np.float32(start), join, (1, 1, *kernel), (1, 1, *strides), ((0, 0), (0, 0), *pads)
        )

    names = (name for name in np.__all__ if hasattr(jnp, name))
    return SimpleNamespace(
        **{
            **{name: getattr(jnp, name) for name in names},
            "shape": lambda x: np.array(x.shape, np.int64),
            "kind": lambda x: x.dtype.name,
            "cast": cast,
            "matmul": lambda a, b: jnp.matmul(a, b, precision=exact),
            "concatenate": lambda parts, axis: jnp.concatenate([jnp.asarray(each) for each in parts], axis),
            "convolve": convolve,
            "max_pool": pool(-np.inf, lax.max),
            "sum_pool": pool(0, lax.add),
            "softmax": jax.nn.softmax,
            "log_softmax": jax.nn.log_softmax,
            "logsumexp": jax.scipy.special.logsumexp,
            "softplus": jax.nn.softplus,
            "sigmoid": jax.nn.sigmoid,
            "erf": jax.scipy.special.erf,
        }
    )


def _jax() -> Any:
    try:
        import jax
        import jax.numpy
    except ImportError as error:
        raise BundleError("JAX is not installed", next='pip install "visum[jax]"') from error
    return jax
