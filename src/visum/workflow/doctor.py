"""``visum doctor``: what this installation is and can do, or what a model really sees of one file."""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from visum import __version__, runtime, storage
from visum.data import decode as decoder
from visum.data.pixels import fit, tensor
from visum.errors import VisumError
from visum.models import compiled, weights
from visum.models.embed import Network
from visum.ship import bundle as bundles
from visum.types import Preprocess
from visum.workflow import plan, ready
from visum.workflow.checked import checked
from visum.workflow.record import VERSIONED


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, what was found, whether that is well, and what to do if not."""

    name: str
    found: str
    well: bool
    next: str = ""


@dataclass(frozen=True)
class Seen:
    """What becomes of one file.

    Attributes:
        path, format, width, height: of the upright original.
        alterations: every step between the file and the network, in words.
        picture: PNG that shows the square that enters the network.
        shape, low, high, mean: of the tensor float32 ``[1, 3, S, S]`` behind it.
    """

    path: Path
    format: str
    width: int
    height: int
    alterations: tuple[str, ...]
    picture: Path
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float


@checked
def doctor(
    image: Path | None = None,
    *,
    bundle: Path | None = None,
    out: Path | None = None,
    size: int | None = None,
    extra_formats: tuple[str, ...] = (),
) -> tuple[Check, ...] | Seen:
    """Look at the installation (no image), or at what a model sees of an image.

    Args:
        image: a file.
        bundle: whose preprocessing to use; the packaged network's if omitted.
        out: where the PNG goes; ``NAME.seen.png`` in the working folder if omitted.
        size: input side in pixels; the preprocessing's own if omitted.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.

    Raises:
        UnreadableImage: the file is no picture that is read; says why.
    """
    ready.check_settings("doctor", size=size, extra_formats=extra_formats)
    return _installation() if image is None else _see(image, bundle, out, size, extra_formats)


def _installation() -> tuple[Check, ...]:
    machine = runtime.machine()
    found = [
        Check("visum", __version__, True),
        Check("python", f"{machine['python']} on {machine['system']}", True),
        Check("processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB", True),
    ]
    versions = runtime.versions(*VERSIONED)
    found += [
        Check(name, versions.get(name, "not installed"), name in versions, "pip install -U visum") for name in VERSIONED
    ]
    found.append(_cache())
    here = weights.installed()
    found.append(Check("weights", ", ".join(here) or "none", bool(here), "pip install -U visum"))
    found += [_engine(name) for name in compiled.installed()] if here else []
    return tuple(found)


def _cache() -> Check:
    folder = storage.cache_folder()
    try:
        storage.check_writable(folder)
    except VisumError as error:
        return Check("cache", str(error), False, "VISUM_CACHE=/a/folder/that/you/may/write/to")
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    text = f"{folder}: {held / 1e9:.1f} of at most {storage.cache_limit() / 1e9:.0f} GB held, {free / 1e9:.0f} GB free"
    return Check("cache", text, free > 2e9, "free some space, or set VISUM_CACHE to a larger disk")


def _engine(name: str) -> Check:
    base = weights.find()
    network = Network(base, base.preprocess, name)
    try:
        begin = time.perf_counter()
        precision = network.engine.precision
        ready = time.perf_counter() - begin
        text = (
            f"{precision}, {1 / plan.speed(network):.0f} images/s at {base.preprocess.size} px, ready in {ready:.1f} s"
        )
    except Exception as error:  # whatever an engine raises on a strange machine is the finding
        return Check(f"engine {name}", f"{type(error).__name__}: {error}", False, f"pip install -U {name}")
    return Check(f"engine {name}", text, True)


def _see(image: Path, bundle: Path | None, out: Path | None, size: int | None, extra_formats: tuple[str, ...]) -> Seen:
    from dataclasses import replace

    from PIL import Image

    spec = bundles.read(bundle).preprocess if bundle is not None else Preprocess()
    spec = replace(spec, size=size or spec.size)
    found = decoder.decode(image, background=spec.background, shortest=spec.size, extra_formats=extra_formats)
    square = fit(found.pixels, spec)
    steps = [*found.notes, *_scaled(found, spec)]
    x = tensor(square[None], spec)
    steps.append(f"(x - {spec.mean[0]:g}) / {spec.std[0]:g} per channel, {spec.channels}")
    blob = io.BytesIO()
    Image.fromarray(square).save(blob, "PNG")
    target = out or Path(f"{image.stem}.seen.png")
    storage.write_atomic(target, blob.getvalue())
    return Seen(
        image,
        found.format,
        found.width,
        found.height,
        tuple(steps),
        target,
        x.shape,
        float(x.min()),
        float(x.max()),
        float(x.mean()),
    )


def _scaled(found: decoder.Decoded, spec: Preprocess) -> list[str]:
    """The way from the original's size to the square, in words."""
    steps = []
    height, width = found.pixels.shape[:2]
    if (width, height) != (found.width, found.height):
        steps.append(f"decoded at {width} x {height} instead of {found.width} x {found.height} (JPEG scaling)")
    size = spec.size
    if spec.fit == "pad":
        ratio = size / max(width, height)
        inner = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        verb = "enlarged" if ratio > 1 else "reduced"
        if ratio != 1:
            steps.append(f"{verb} to {inner[0]} x {inner[1]} ({spec.filter})")
        if inner[0] != inner[1]:
            steps.append(f"padded to {size} x {size} with colour {','.join(map(str, spec.background))}")
    elif spec.fit == "crop":
        side = min(width, height)
        if width != height:
            steps.append(f"{max(width, height) - side} of {max(width, height)} px cut off the longer side")
        steps.append(f"resized to {size} x {size} ({spec.filter})")
    elif (width, height) != (size, size):
        steps.append(f"squashed to {size} x {size} ({spec.filter}); proportions change")
    return steps
