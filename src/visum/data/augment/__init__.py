"""Augmentation: what a network is shown instead of the same picture again, as a pure function of (seed, epoch, picture).

``augment`` takes fitted squares from the store and runs *steps* over each: a step is an entry of ``AUGMENTATIONS``, how often
it is taken, and its settings. Every decision for a picture is drawn from a generator of its own that is made of the seed, the
epoch and the picture's key, so that batches, their order, threads, workers and resuming change nothing. All of it is OpenCV and
NumPy on one picture at a time, which let the interpreter go: a pool of threads augments while others compute.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.random import Generator, Philox

from visum.data.augment import colour, geometry, policies, texture
from visum.data.augment.geometry import Background
from visum.data.augment.ranges import number
from visum.errors import UsageError
from visum.types import Pixels

VERSION = 1
"""Of what the same steps make of the same picture; views that were stored under an older version are not looked at."""

AUGMENTATIONS: dict[str, Callable[..., Pixels]] = {
    "random_resized_crop": geometry.random_resized_crop,
    "flip": geometry.flip,
    "vertical_flip": geometry.vertical_flip,
    "rotation": geometry.rotation,
    "affine": geometry.affine,
    "elastic": geometry.elastic,
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "saturation": colour.saturation,
    "hue": colour.hue,
    "noise": texture.noise,
    "blur": texture.blur,
    "erasing": texture.erasing,
    "auto_augment": policies.auto_augment,
    "rand_augment": policies.rand_augment,
    "trivial_augment": policies.trivial_augment,
    "aug_mix": policies.aug_mix,
}
"""Name → function of (pixels uint8 ``[S, S, 3]``, generator, settings) → pixels of the same shape. No input is written to.
mixup and cutmix, which mix rows of a batch and their targets, are in ``data.mix``."""

USUAL = {"flip": 0.5, "vertical_flip": 0.5, "blur": 0.5, "erasing": 0.25}
"""How often a step is taken when only its name is given; always where it is not listed."""


@dataclass(frozen=True)
class Step:
    """One augmentation of a row of them.

    Attributes:
        name: of ``AUGMENTATIONS``.
        probability: share of the pictures it is taken for, 0 … 1.
        settings: keyword arguments of the function; the others keep their defaults.
    """

    name: str
    probability: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)


_LIGHT = (Step("random_resized_crop", settings={"area": (0.6, 1.0)}), Step("flip", 0.5))
_TONE = tuple(Step(name, settings={"strength": 0.2}) for name in ("brightness", "contrast", "saturation"))

PRESETS: dict[str, tuple[Step, ...]] = {
    "none": (),
    "light": _LIGHT,
    # turned before it is cropped, so that the crop may leave out what was uncovered
    "medium": (Step("rotation", 0.5, {"degrees": 10.0}), *_LIGHT, *_TONE),
    "strong": (
        Step("random_resized_crop", settings={"area": (0.35, 1.0)}),
        Step("flip", 0.5),
        Step("trivial_augment"),
        Step("erasing", 0.25),
    ),
    # Gaussian noise of one strength, always: for a network that is to be certified at it (docs/certify.md, Cohen et al. 2019)
    "noise-0.12": (Step("noise", settings={"deviation": (0.12, 0.12)}),),
    "noise-0.25": (Step("noise", settings={"deviation": (0.25, 0.25)}),),
    "noise-0.5": (Step("noise", settings={"deviation": (0.5, 0.5)}),),
}
"""From nothing to what long training from scratch wants. None of them turns a picture upside down."""


def augment(
    batch: Pixels,
    steps: str | Sequence[Step],
    *,
    seed: int,
    epoch: int,
    keys: Sequence[str],
    background: Background = None,
) -> Pixels:
    """Every picture after its steps, in new memory.

    Args:
        batch: uint8 ``[B, S, S, 3]`` RGB.
        steps: a preset, names with commas between them (see ``steps``), or steps.
        seed, epoch: whole numbers.
        keys: B names of the pictures, such as their ids; equal (seed, epoch, key) make the same decisions.
        background: RGB 0 … 255 for what a step uncovers, such as ``Preprocess.background``; None: the nearest pixel of the edge.

    Returns:
        uint8 ``[B, S, S, 3]``.

    Raises:
        UsageError: an unknown name, or a setting out of range.
    """
    taken = [(step.probability, _bound(step, background)) for step in _found(steps)]
    out = np.empty(batch.shape, np.uint8)
    for picture, key, place in zip(np.ascontiguousarray(batch), keys, out, strict=True):
        generator = draws(seed, epoch, key)
        for probability, function in taken:
            if generator.random() < probability:
                picture = function(picture, generator)
        place[...] = picture
    return out


def steps(names: str | Sequence[Step]) -> tuple[Step, ...]:
    """Steps by name, all of them known and tried, so that every fault is met before the run.

    Args:
        names: of ``PRESETS`` and ``AUGMENTATIONS`` with commas between them, taken in that order
            (``flip,rotation``; ``light,erasing``), or steps.

    Raises:
        UsageError: an unknown name, a probability or a setting out of range.
    """
    found = _found(names)
    small = np.zeros((8, 8, 3), np.uint8)
    for step in found:
        function = _bound(step, None)
        try:
            function(small, draws(0, 0, ""))
        except UsageError as error:
            usual = ", ".join(f"{key} = {value}" for key, value in _settings(step.name).items() if key in step.settings)
            raise UsageError(f"{step.name}: {error.got}", allowed=error.allowed, next=usual) from error
    return found


def draws(seed: int, epoch: int, key: str) -> Generator:
    """The generator of one picture in one epoch (or, with another key, of whatever else is to be drawn in it)."""
    text = f"{seed} {epoch} {key}".encode("utf-8", "surrogatepass")
    return Generator(Philox(key=int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")))


def _found(names: str | Sequence[Step]) -> tuple[Step, ...]:
    if not isinstance(names, str):
        return tuple(names)
    found: list[Step] = []
    for name in map(str.strip, names.split(",")):
        found += PRESETS[name] if name in PRESETS else [Step(_known(name), USUAL.get(name, 1.0))]
    return tuple(found)


def _known(name: str) -> str:
    if name in AUGMENTATIONS:
        return name
    names = [*PRESETS, *AUGMENTATIONS]
    allowed = ", ".join(names)
    close = difflib.get_close_matches(name[:100].lower().replace("-", "_"), names, 1)
    raise UsageError(f"no augmentation {name[:100]!r}{_meant(close)}", allowed=allowed, next=(*close, "light")[0])


def _bound(step: Step, background: Background) -> Callable[[Pixels, Generator], Pixels]:
    """The function of a step with its settings. Raises ``UsageError`` for unknown names and a probability out of range."""
    settings = _settings(_known(step.name))
    number(f"the probability of {step.name}", step.probability, 0, 1)
    for key in step.settings:
        if key not in settings:
            meant = _meant(difflib.get_close_matches(str(key)[:100], settings, 1))
            allowed = ", ".join(settings) or "none"
            raise UsageError(f"{step.name} has no setting {str(key)[:100]!r}{meant}", allowed=allowed)
    ground = {"background": background} if "background" in _keywords(step.name) else {}
    return partial(AUGMENTATIONS[step.name], **ground, **step.settings)


def _meant(close: Sequence[str]) -> str:
    return f"; did you mean {close[0]}?" if close else ""


@lru_cache
def _keywords(name: str) -> dict[str, Any]:
    parameters = inspect.signature(AUGMENTATIONS[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def _settings(name: str) -> dict[str, Any]:
    """Settings of an augmentation and their defaults; the background is the caller's."""
    return {key: value for key, value in _keywords(name).items() if key != "background"}
