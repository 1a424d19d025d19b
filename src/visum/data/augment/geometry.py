"""Where pixels go: crops, mirrors and warps.

Functions that end in a setting (``rotate(pixels, degrees)``) decide nothing; those that take a generator draw the setting
and call them. Pictures are uint8 ``[S, S, 3]`` and keep their shape. What a warp uncovers is filled with ``background`` (RGB
0 … 255), or, where that is None, with the nearest pixel of the edge. Everything between pixels is bilinear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visum.data.augment.ranges import number, span
from visum.types import Floats, Pixels

Background = tuple[int, int, int] | None
Matrix = NDArray[np.float64]

CORNER = (-0.5, -0.5)
"""The upper left corner of the upper left pixel, where whole numbers are the middles of pixels."""

_TRIES = 10


def random_resized_crop(
    pixels: Pixels,
    generator: Generator,
    *,
    area: Sequence[float] = (0.08, 1.0),
    aspect: Sequence[float] = (3 / 4, 4 / 3),
) -> Pixels:
    """A part of the picture at the size of the whole (Szegedy et al. 2015, section 6).

    Args:
        area: least and largest share of the picture's area, in 0.01 … 1; drawn evenly.
        aspect: least and largest width / height, in 0.1 … 10; drawn evenly on a logarithmic scale.
    """
    area, aspect = span("area", area, 0.01, 1), span("aspect", aspect, 0.1, 10)
    height, width = pixels.shape[:2]
    found = draw_box(generator, height, width, area, aspect) or _middle(height, width, aspect)
    return crop(pixels, *found)


def crop(pixels: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """The part that begins at (top, left), enlarged to the size of the whole."""
    import cv2

    whole = pixels.shape[:2]
    if (height, width) == whole:
        return pixels
    part = pixels[top : top + height, left : left + width]
    return np.asarray(cv2.resize(part, whole[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def draw_box(
    generator: Generator, height: int, width: int, area: Sequence[float], aspect: Sequence[float]
) -> tuple[int, int, int, int] | None:
    """A box inside a picture: (top, left, height, width); None where ten draws in a row did not fit into it.

    Args:
        height, width: of the picture.
        area: range of the box's share of the picture; drawn evenly.
        aspect: range of width / height; drawn evenly on a logarithmic scale, so that a: 1 is as likely as 1: a.
    """
    low, high = math.log(aspect[0]), math.log(aspect[1])
    for _ in range(_TRIES):
        size = height * width * generator.uniform(area[0], area[1])
        ratio = math.exp(generator.uniform(low, high))
        h, w = round(math.sqrt(size / ratio)), round(math.sqrt(size * ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = generator.integers(height - h, endpoint=True), generator.integers(width - w, endpoint=True)
            return int(top), int(left), h, w
    return None


def _middle(height: int, width: int, aspect: Sequence[float]) -> tuple[int, int, int, int]:
    """The largest box in the middle whose aspect is allowed."""
    ratio = min(max(width / height, aspect[0]), aspect[1])
    h, w = max(1, min(height, round(width / ratio))), max(1, min(width, round(height * ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def flip(pixels: Pixels, generator: Generator) -> Pixels:
    """The mirror image, left and right exchanged. How often it is taken is the step's probability."""
    import cv2

    return np.asarray(cv2.flip(pixels, 1), np.uint8)


def vertical_flip(pixels: Pixels, generator: Generator) -> Pixels:
    """Upside down, top and bottom exchanged. How often it is taken is the step's probability."""
    import cv2

    return np.asarray(cv2.flip(pixels, 0), np.uint8)


def rotation(pixels: Pixels, generator: Generator, *, degrees: float = 15.0, background: Background = None) -> Pixels:
    """Turned about the middle by an angle drawn evenly from -degrees … degrees (0 … 180)."""
    return rotate(pixels, _either_way(generator, number("degrees", degrees, 0, 180)), background)


def rotate(pixels: Pixels, degrees: float, background: Background = None) -> Pixels:
    """Turned about the middle, counter-clockwise."""
    return warp(pixels, linear(degrees), background=background)


def affine(
    pixels: Pixels,
    generator: Generator,
    *,
    degrees: float = 10.0,
    translate: float = 0.1,
    scale: Sequence[float] = (0.9, 1.1),
    shear: float = 10.0,
    background: Background = None,
) -> Pixels:
    """Turned, sheared, scaled and moved at once; each is drawn evenly.

    Args:
        degrees: largest angle either way, 0 … 180.
        translate: largest move either way as a share of the side, 0 … 1; across and down are drawn apart.
        scale: range of the enlargement, 0.1 … 10.
        shear: largest shear either way in degrees, 0 … 80; across and down are drawn apart.
        background: fills what is uncovered; None: the nearest pixel of the edge.
    """
    degrees, translate = number("degrees", degrees, 0, 180), number("translate", translate, 0, 1)
    scale, shear = span("scale", scale, 0.1, 10), number("shear", shear, 0, 80)
    turned = linear(
        _either_way(generator, degrees),
        scale=generator.uniform(*scale),
        shear=(_either_way(generator, shear), _either_way(generator, shear)),
    )
    shift = (_either_way(generator, translate), _either_way(generator, translate))
    return warp(pixels, turned, shift, background=background)


def linear(degrees: float = 0.0, *, scale: float = 1.0, shear: tuple[float, float] = (0.0, 0.0)) -> Matrix:
    """The 2 x 2 matrix that shears across, then down, then turns counter-clockwise and scales; angles in degrees.

    Rows of a picture count downwards, hence the signs.
    """
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    across, down = (math.tan(math.radians(angle)) for angle in shear)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(scale * turn @ np.array([[1, 0], [-down, 1]]) @ np.array([[1, -across], [0, 1]]), np.float64)


def warp(
    pixels: Pixels,
    matrix: Matrix,
    shift: tuple[float, float] = (0.0, 0.0),
    *,
    centre: tuple[float, float] | None = None,
    background: Background = None,
) -> Pixels:
    """Every pixel at x goes to ``centre + matrix @ (x - centre) + shift``, x being (column, row).

    Args:
        matrix: 2 x 2.
        shift: to the right and down, as shares of width and height.
        centre: the point that the matrix leaves where it is; None: the middle.
        background: fills what is uncovered; None: the nearest pixel of the edge.
    """
    import cv2

    if not any(shift) and np.array_equal(matrix, np.eye(2)):
        return pixels
    height, width = pixels.shape[:2]
    fixed = np.array(centre or ((width - 1) / 2, (height - 1) / 2))
    moved = fixed - matrix @ fixed + np.array(shift) * (width, height)
    border = cv2.BORDER_REPLICATE if background is None else cv2.BORDER_CONSTANT
    whole = np.column_stack([matrix, moved])
    flags, value = cv2.INTER_LINEAR, background or (0, 0, 0)
    warped = cv2.warpAffine(pixels, whole, (width, height), flags=flags, borderMode=border, borderValue=value)
    return np.asarray(warped, np.uint8)


def elastic(
    pixels: Pixels,
    generator: Generator,
    *,
    strength: float = 0.01,
    smoothness: float = 0.05,
    background: Background = None,
) -> Pixels:
    """As if drawn on rubber: a smooth random field of small moves (Simard, Steinkraus and Platt 2003, section 2).

    Args:
        strength: standard deviation of the moves as a share of the side, 0 … 0.2.
        smoothness: standard deviation of the Gaussian that smooths the field, as a share of the side, 0.01 … 1.
        background: fills what is uncovered; None: the nearest pixel of the edge.
    """
    import cv2

    strength, smoothness = number("strength", strength, 0, 0.2), number("smoothness", smoothness, 0.01, 1)
    side = max(pixels.shape[:2])
    # A field this smooth is drawn on a grid whose meshes are a third of the Gaussian, and made dense by interpolation.
    mesh = max(1.0, smoothness * side / 3)
    grid = tuple(math.ceil(length / mesh) + 1 for length in pixels.shape[:2])
    noise = generator.standard_normal((*grid, 2), dtype=np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), smoothness * side / mesh, borderType=cv2.BORDER_REFLECT)
    field = cv2.resize(coarse, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    spread = float(np.sqrt(np.mean(np.square(field)))) or 1.0
    return displace(pixels, np.asarray(field * np.float32(strength * side / spread), np.float32), background)


def displace(pixels: Pixels, field: Floats, background: Background = None) -> Pixels:
    """Each pixel takes its colour from ``field`` further: float32 ``[S, S, 2]``, pixels to the right and down."""
    import cv2

    height, width = pixels.shape[:2]
    columns = field[..., 0] + np.arange(width, dtype=np.float32)
    rows = field[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    border = cv2.BORDER_REPLICATE if background is None else cv2.BORDER_CONSTANT
    value = background or (0, 0, 0)
    moved = cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=border, borderValue=value)
    return np.asarray(moved, np.uint8)


def _either_way(generator: Generator, most: float) -> float:
    return float(generator.uniform(-most, most))
