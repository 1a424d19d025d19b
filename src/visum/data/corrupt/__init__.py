"""Corruptions: what cameras, weather and files do to pictures, in kinds and severities that the field agrees on.

The 15 kinds of ImageNet-C and the 4 that its authors held out (Hendrycks & Dietterich 2019, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations"), with their published parameters, as NumPy and OpenCV functions of one fitted
square. Lengths are those of 224 pixels and shrink or grow with the side of the square; what falls on a picture (snow, frost, fog,
drops) is made at 224 pixels and brought to that side. Every draw is a function of (seed, kind, picture): severities of a picture
share their draws, so that a curve over them tells of the severity and not of luck. Frost comes from no photographs of ice but
from a formula, and glass lets each pixel draw its place on its own instead of exchanging neighbours one after the other; both are
near the published ones and not the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from visum.data.augment import draws
from visum.data.corrupt import blur, digital, held_out, noise, weather
from visum.errors import UsageError
from visum.types import Pixels

VERSION = 1
"""Of what the same kind and severity make of the same picture."""

Corruption = Callable[[Pixels, int, Generator], Pixels]
"""(Square uint8 ``[S, S, 3]`` RGB, severity 1 … 5, generator) → uint8 of the same shape; the input is not written to."""

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
}
"""The 15 kinds that the mean corruption error is a mean of."""

HELD_OUT: dict[str, Corruption] = {
    "speckle_noise": held_out.speckle_noise,
    "gaussian_blur": held_out.gaussian_blur,
    "spatter": held_out.spatter,
    "saturate": held_out.saturate,
}
"""Four more, for what was tuned on the 15."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic", "pixelate", "jpeg"),
    "held out": tuple(HELD_OUT),
}

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(square: Pixels, kind: str, severity: int, *, seed: int, key: str) -> Pixels:
    """One picture after one corruption, in new memory.

    Args:
        square: uint8 ``[S, S, 3]`` RGB, S >= 8.
        kind: of ``CORRUPTIONS`` or ``HELD_OUT``.
        severity: 1 … 5.
        seed, key: of what is drawn; the key is the picture's id or digest.

    Raises:
        UsageError: an unknown kind or severity.
    """
    function = known(kind)
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity!r}", allowed="1, 2, 3, 4, 5")
    return function(np.ascontiguousarray(square), severity, draws(seed, 0, f"{kind} {key}"))


def corrupted(batch: Pixels, kind: str, severity: int, *, seed: int, keys: Sequence[str]) -> Pixels:
    """Each picture of a batch after one corruption: uint8 ``[B, S, S, 3]``; see ``corrupt``."""
    out = np.empty(batch.shape, np.uint8)
    for square, key, place in zip(batch, keys, out, strict=True):
        place[...] = corrupt(square, kind, severity, seed=seed, key=key)
    return out


def known(kind: str) -> Corruption:
    """The corruption of that name. Raises ``UsageError``, which names the nearest."""
    everything = {**CORRUPTIONS, **HELD_OUT}
    if kind not in everything:
        near = difflib.get_close_matches(kind[:100].lower().replace("-", "_"), everything, 1)
        raise UsageError(
            f"no corruption is called {kind[:100]!r}", allowed=", ".join(everything), next=(*near, "fog")[0]
        )
    return everything[kind]
