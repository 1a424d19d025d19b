"""PyTorch: a ``torch.export`` program, ``.pt2``, of the whole function; any number of pictures of any size.

The program is the network itself, traced by PyTorch, between the same resizing and the same head as in every other export. Its
file is a zip archive; what PyTorch would unpickle is left out, and an archive that has such a member is not opened.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from visum import safefile
from visum.errors import BundleError, ModelError, UnsafeFile
from visum.models import ensemble as joining
from visum.models import zoo
from visum.models.weights import of_bundle
from visum.ship.export import whole
from visum.ship.export.eager import Eager
from visum.ship.export.onnx import first_line
from visum.types import Bundle, Floats, Pixels

if TYPE_CHECKING:
    import torch

FILE = "model.pt2"
EXAMPLE = (2, 61, 83, 3)
"""A batch to trace with: no two sides alike, and none that means something."""


def export(bundle: Bundle, facts: Mapping[str, Any], make: whole.Network = whole.network) -> dict[str, bytes]:
    """``model.pt2``. Loads torch.

    Args:
        bundle: a probe, or an ensemble of probes.
        facts: of these only ``precision`` matters here: bfloat16 keeps and computes the network in it.
        make: not used: the network is PyTorch's own.

    Raises:
        BundleError: as ``whole.check``.
        ModelError: PyTorch cannot trace this network.
    """
    import torch

    whole.check(bundle)
    program = Whole(bundle, half=facts.get("precision") == "bfloat16")
    dims = {0: torch.export.Dim("images"), 1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
    out = io.BytesIO()
    try:
        with torch.no_grad():
            traced = torch.export.export(
                program, (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=({**dims},), strict=False
            )
        traced.example_inputs = None
        torch.export.save(traced, out)
    except Exception as error:  # of every kind
        raise ModelError(f"PyTorch cannot export this network: {first_line(error)}", next="--to onnx") from error
    return {FILE: out.getvalue()}


def load(files: Mapping[str, bytes]) -> Callable[[Pixels], Floats]:
    """The program on one core.

    Args:
        files: with ``model.pt2``.

    Returns:
        uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Raises:
        BundleError: PyTorch cannot load or run it.
        UnsafeFile: there is a pickle in it.
    """
    import torch

    check(files[FILE])
    try:
        module = torch.export.load(io.BytesIO(files[FILE])).module()
    except Exception as error:
        raise BundleError(f"PyTorch cannot load {FILE}: {first_line(error)}", next="visum export BUNDLE") from error

    def run(batch: Pixels) -> Floats:
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                return np.asarray(module(torch.from_numpy(np.array(batch))).numpy(), np.float32)
        except Exception as error:
            raise BundleError(f"PyTorch cannot run {FILE}: {first_line(error)}", next="visum export BUNDLE") from error

    return run


def Whole(bundle: Bundle, *, half: bool = False) -> torch.nn.Module:
    """The whole function as a module: uint8 ``[N, H, W, 3]`` → probabilities float32 ``[N, K]``.

    Args:
        bundle: a probe, or an ensemble of probes.
        half: whether the network computes in bfloat16; resizing and head never do.
    """
    import torch

    trunks, numbers = list[torch.nn.Module](), dict[Any, int]()
    for part in joining.members_of(bundle) or (bundle,):
        backbone, spec = of_bundle(part), part.preprocess
        key = (backbone.digest, backbone.stages, backbone.pool, spec)
        if key not in numbers:
            numbers[key] = len(trunks)
            trunk = zoo.trunk(backbone.name, backbone.weights, backbone.stages, spec, backbone.pool)
            trunks.append(_Half(trunk) if half else trunk)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunks = torch.nn.ModuleList(trunks)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            def embed(part: Bundle, squares: torch.Tensor, _: int) -> Any:
                backbone = of_bundle(part)
                key = (backbone.digest, backbone.stages, backbone.pool, part.preprocess)
                return self.trunks[numbers[key]](squares).to(torch.float32)

            answers: torch.Tensor = whole.answers(Eager(operators(), torch.from_numpy), bundle, pixels, embed)
            return answers

    return Whole().eval()


def operators() -> dict[str, Callable[..., Any]]:
    """ONNX operator → PyTorch, as far as ``resize`` and ``classify`` use them; sizes of axes stay symbols while it traces."""
    import torch
    from torch.nn import functional as f

    def t(x: Any) -> Any:
        """A size as a tensor, so that nothing is decided while it is traced."""
        return x if isinstance(x, torch.Tensor) else torch.full((), x, dtype=torch.int64)

    def pair(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, b: function(t(a), t(b))

    def divide(a: Any, b: Any) -> Any:
        a, b = t(a), t(b)
        return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="floor")

    def gather(x: Any, index: Any, axis: int = 0) -> Any:
        if isinstance(x, torch.Size | tuple):
            return x[int(index)]  # the size of an axis
        return torch.index_select(x, axis, index)

    def clip(x: Any, low: Any, high: Any) -> Any:
        return torch.minimum(torch.maximum(x, low), high)

    def arange(start: Any, stop: Any, step: Any) -> Any:
        return torch.arange(0, int(stop) if isinstance(stop, torch.Tensor) else stop)

    kinds = {"float32": torch.float32, "uint8": torch.uint8, "int64": torch.int64}
    return {
        "Shape": lambda x: tuple(x.shape),
        "Gather": gather,
        "Cast": lambda x, to: t(x).to(kinds[to]),
        "Transpose": lambda x, perm: x.permute(perm),
        "Unsqueeze": lambda x, axes: x.unsqueeze(int(axes)),
        "Concat": lambda *xs, axis: torch.cat(xs, axis),
        "Range": arange,
        "Slice": lambda x, start, stop, axes: x[:, int(start) :],
        "Where": lambda c, a, b: torch.where(c, t(a), t(b)),
        "Add": pair(torch.add),
        "Sub": pair(torch.sub),
        "Mul": pair(torch.mul),
        "Div": divide,
        "Max": pair(torch.maximum),
        "Min": pair(torch.minimum),
        "Equal": pair(torch.eq),
        "Greater": pair(torch.gt),
        "GreaterOrEqual": pair(torch.ge),
        "Less": pair(torch.lt),
        "And": torch.logical_and,
        "Abs": torch.abs,
        "Neg": torch.neg,
        "Exp": torch.exp,
        "Log": torch.log,
        "Sqrt": torch.sqrt,
        "Round": torch.round,
        "Clip": clip,
        "Sum": lambda *xs: sum(xs[1:], start=xs[0]),
        "MatMul": torch.matmul,
        "ReduceSum": lambda x, axes, keepdims: x.sum(int(axes), keepdim=bool(keepdims)),
        "ReduceMean": lambda x, axes, keepdims: x.mean(axes, keepdim=bool(keepdims)),
        "ReduceLogSumExp": lambda x, axes, keepdims: torch.logsumexp(x, axes, keepdim=bool(keepdims)),
        "ArgMax": lambda x, axis, keepdims: x.argmax(axis, keepdim=bool(keepdims)),
        "Softmax": lambda x, axis: torch.softmax(x, axis),
        "LogSoftmax": lambda x, axis: torch.log_softmax(x, axis),
        "Softplus": partial(f.softplus, threshold=1e9),
        "Sigmoid": torch.sigmoid,
    }


def _Half(trunk: torch.nn.Module) -> torch.nn.Module:
    """The trunk in bfloat16 behind its normalisation, which keeps all eight bits of a pixel."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk.to(torch.bfloat16)
            normalise = self.trunk.get_submodule("normalise").to(torch.float32)
            normalise.register_forward_hook(lambda _, __, x: x.to(torch.bfloat16))

        def forward(self, squares: torch.Tensor) -> Any:
            return self.trunk(squares)

    return Half().eval()


def check(data: bytes) -> None:
    """Refuse an archive in which PyTorch would unpickle something, before PyTorch sees it.

    Raises:
        BundleError: no such archive.
        UnsafeFile: a member that is or may hold a pickle, or is compressed (these never are, and could grow without end).
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                raw = "/data/weights/weight_" in entry.filename or "/data/constants/tensor_" in entry.filename
                head = archive.open(entry).read(4096) if entry.compress_type == zipfile.ZIP_STORED else b""
                words = "" if raw else safefile.carrier(head)
                if entry.compress_type != zipfile.ZIP_STORED or words:
                    what = ascii(entry.filename)[:80]
                    raise UnsafeFile(
                        f"{what} in {FILE} is {words or 'compressed'}", allowed="a program without pickles"
                    )
                if entry.filename.endswith("_config.json"):
                    table = json.loads(archive.read(entry))["config"]
                    if any(not isinstance(each, dict) or each.get("use_pickle") for each in table.values()):
                        raise UnsafeFile(f"{FILE} holds pickled tensors", allowed="a program without pickles")
    except (zipfile.BadZipFile, ValueError, KeyError, AttributeError, TypeError, OSError, NotImplementedError) as error:
        raise BundleError(
            f"{FILE} is not a PyTorch program: {first_line(error)}", next="visum export BUNDLE"
        ) from error
