"""Policies: which operations, how strong, how many. Each draws from a table of operations over a space of amounts.

``OPERATIONS``: name → function of (pixels, amount, background), which draws nothing. A space says for each operation what
amount share 0 and share 1 of its strength stand for, and whether the amount may as well be its opposite. torchvision's own
policies draw from the global generator, which a pure function cannot; their tables served as the check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from visum.data.augment import colour, geometry
from visum.data.augment.geometry import CORNER, Background
from visum.data.augment.ranges import number, whole
from visum.types import Pixels

OPERATIONS: dict[str, Callable[[Pixels, float, Background], Pixels]] = {
    "identity": lambda x, amount, background: x,
    "shear_x": lambda x, amount, background: _shear(x, [[1, -amount], [0, 1]], background),
    "shear_y": lambda x, amount, background: _shear(x, [[1, 0], [-amount, 1]], background),
    "translate_x": lambda x, amount, background: geometry.warp(x, np.eye(2), (amount, 0), background=background),
    "translate_y": lambda x, amount, background: geometry.warp(x, np.eye(2), (0, amount), background=background),
    "rotate": geometry.rotate,
    "brightness": lambda x, amount, background: colour.adjust_brightness(x, 1 + amount),
    "colour": lambda x, amount, background: colour.adjust_saturation(x, 1 + amount),
    "contrast": lambda x, amount, background: colour.adjust_contrast(x, 1 + amount),
    "sharpness": lambda x, amount, background: colour.adjust_sharpness(x, 1 + amount),
    "posterize": lambda x, amount, background: colour.posterize(x, round(amount)),
    "solarize": lambda x, amount, background: colour.solarize(x, amount),
    "auto_contrast": lambda x, amount, background: colour.auto_contrast(x),
    "equalize": lambda x, amount, background: colour.equalize(x),
    "invert": lambda x, amount, background: colour.invert(x),
}
"""Amounts: shear as a slope, moves as a share of the side, rotation in degrees, enhancement as a factor less 1, bits, a level."""


class Range(NamedTuple):
    """Amounts of one operation: at share 0, at share 1, and whether the opposite amount is as likely."""

    first: float = 0.0
    last: float = 0.0
    signed: bool = False


Space = dict[str, Range]


def _space(shear: float, move: float, turn: float, enhance: float, bits: tuple[int, int]) -> Space:
    return {
        **dict.fromkeys(("shear_x", "shear_y"), Range(0, shear, True)),
        **dict.fromkeys(("translate_x", "translate_y"), Range(0, move, True)),
        "rotate": Range(0, turn, True),
        **dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), Range(0, enhance, True)),
        "posterize": Range(*bits),
        "solarize": Range(256, 0),
        **dict.fromkeys(("auto_contrast", "equalize"), Range()),
    }


RAND: Space = {"identity": Range(), **_space(0.3, 150 / 331, 30, 0.9, (8, 4))}
"""Cubuk et al. 2020, "RandAugment", section 3: 14 operations; ranges of AutoAugment, moves 150 of 331 pixels."""

AUTO: Space = {**RAND, "invert": Range()}
"""Cubuk et al. 2019, "AutoAugment", table 6, without cutout and sample pairing, which its ImageNet policy does not use."""

TRIVIAL: Space = {"identity": Range(), **_space(0.99, 32 / 224, 135, 0.99, (8, 2))}
"""Müller and Hutter 2021, "TrivialAugment", the wide space; moves 32 of 224 pixels."""

MIX: Space = {
    name: amounts
    for name, amounts in _space(0.3, 1 / 3, 30, 0.9, (4, 0)).items()
    if name not in ("brightness", "colour", "contrast", "sharpness")
}
"""Hendrycks et al. 2020, "AugMix", section 3: without the operations that resemble the corruptions robustness is tested with."""

_IMAGENET: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("colour", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
"""(operation, probability, level 0 … 9) twice: the policy found on ImageNet (AutoAugment, appendix, table 9)."""


def auto_augment(pixels: Pixels, generator: Generator, *, background: Background = None) -> Pixels:
    """One of the 25 pairs of operations that were found on ImageNet (Cubuk et al. 2019)."""
    for name, probability, level in _IMAGENET[generator.integers(len(_IMAGENET))]:
        if generator.random() < probability:
            pixels = _apply(pixels, AUTO, name, level / 9, generator, background)
    return pixels


def rand_augment(
    pixels: Pixels, generator: Generator, *, count: int = 2, magnitude: float = 9, background: Background = None
) -> Pixels:
    """``count`` operations of 14, one after the other, all of one strength (Cubuk et al. 2020).

    Args:
        count: 0 … 14.
        magnitude: 0 … 30.
        background: fills what is uncovered; None: the nearest pixel of the edge.
    """
    share = number("magnitude", magnitude, 0, 30) / 30
    for _ in range(whole("count", count, 0, 14)):
        pixels = _apply(pixels, RAND, _any(RAND, generator), share, generator, background)
    return pixels


def trivial_augment(pixels: Pixels, generator: Generator, *, background: Background = None) -> Pixels:
    """One operation of 14, of a strength drawn evenly from 31 steps (Müller and Hutter 2021, algorithm 1)."""
    name, step = _any(TRIVIAL, generator), int(generator.integers(31))
    return _apply(pixels, TRIVIAL, name, step / 30, generator, background)


def aug_mix(
    pixels: Pixels,
    generator: Generator,
    *,
    severity: float = 3,
    width: int = 3,
    depth: int = 0,
    alpha: float = 1.0,
    background: Background = None,
) -> Pixels:
    """The picture mixed with a mixture of chains of operations (Hendrycks et al. 2020, algorithm 1).

    The loss on the consistency of several such mixtures, which the paper adds, is an objective and not part of this.

    Args:
        severity: strength of each operation is drawn evenly from 0.1 … severity (1 … 10) of 10.
        width: chains, 1 … 10.
        depth: operations in each chain, 1 … 10; 0: drawn from 1, 2 and 3.
        alpha: of the Dirichlet weights of chains and of the Beta weight of the mixture, 0.01 … 100.
        background: fills what is uncovered; None: the nearest pixel of the edge.
    """
    severity, alpha = number("severity", severity, 1, 10), number("alpha", alpha, 0.01, 100)
    width, depth = whole("width", width, 1, 10), whole("depth", depth, 0, 10)
    weights = generator.dirichlet([alpha] * width)
    share = generator.beta(alpha, alpha)
    mixed = np.multiply(pixels, np.float32(1 - share), dtype=np.float32)
    for weight in weights:
        chained = pixels
        for _ in range(depth or int(generator.integers(1, 4))):
            strength = float(generator.uniform(0.1, severity)) / 10
            chained = _apply(chained, MIX, _any(MIX, generator), strength, generator, background)
        mixed += np.multiply(chained, np.float32(share * weight), dtype=np.float32)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _any(space: Space, generator: Generator) -> str:
    return list(space)[int(generator.integers(len(space)))]


def _apply(
    pixels: Pixels, space: Space, name: str, share: float, generator: Generator, background: Background
) -> Pixels:
    first, last, signed = space[name]
    amount = first + share * (last - first)
    if signed and generator.random() < 0.5:
        amount = -amount
    return OPERATIONS[name](pixels, amount, background)


def _shear(pixels: Pixels, matrix: list[list[float]], background: Background) -> Pixels:
    """Sheared about the upper left corner, as the papers' code does."""
    return geometry.warp(pixels, np.array(matrix, np.float64), centre=CORNER, background=background)
