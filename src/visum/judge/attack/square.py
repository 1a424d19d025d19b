"""Square: random search over squares of the picture, by answers alone (Andriushchenko et al. 2020, algorithms 1 to 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from visum.judge.attack import losses
from visum.judge.attack.ball import Ball, Classifier, answers, generator

SHARE = 0.8
"""Of the picture that the first squares cover, as in the standard version of AutoAttack."""
_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_TINY = 1e-12


def square(classifier: Classifier, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 5000, seed: int = 0) -> Tensor:
    """Squares are moved by the whole radius wherever that narrows the true class's lead; each try costs one answer a picture.

    The classifier is asked without gradients, so that it may be anything. Arguments and result else as for ``pgd.fgsm``;
    ``steps``: tries.
    """
    draw = generator(seed)
    change = _linf if ball.norm == "linf" else _l2
    start = _stripes if ball.norm == "linf" else _waves
    out = ball.inside(x, x + start(x, ball, draw))
    at, here = torch.arange(len(x)), out
    lead = losses.margin(answers(classifier, here), y)
    for step in range(steps):
        stay = lead > 0
        at, here, lead = at[stay], here[stay], lead[stay]
        if not len(at):
            break
        new = ball.inside(x[at], change(x[at], here, share(step, steps), ball, draw))
        told = losses.margin(answers(classifier, new), y[at])
        better = (told < lead) | (told <= 0)
        lead, here = torch.where(better, told, lead), torch.where(better.view(-1, 1, 1, 1), new, here)
        out[at] = here
    return out


def share(step: int, steps: int) -> float:
    """Share of the picture that a square covers: 0.8, halved after 10, 50, 200, … of 10,000 tries, and likewise of any other
    number (section 4.3 of the paper)."""
    at = step * 10_000 // steps
    return SHARE / 2.0 ** sum(at > limit for limit in _HALVED)


def _signs(shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=draw).float() * 2 - 1


def _corner(side: int, length: int, draw: torch.Generator) -> int:
    return int(torch.randint(0, side - length + 1, (1,), generator=draw))


def _stripes(x: Tensor, ball: Ball, draw: torch.Generator) -> Tensor:
    """Vertical stripes, one pixel wide, each channel up or down by the radius."""
    return ball.radius * _signs((len(x), x.shape[1], 1, x.shape[3]), draw)


def _linf(x: Tensor, here: Tensor, part: float, ball: Ball, draw: torch.Generator) -> Tensor:
    """One square, the same for all pictures, each channel up or down by the radius from the picture itself."""
    channels, side = x.shape[1], x.shape[2]
    length = min(max(round(math.sqrt(part) * side), 1), side)
    top, left = _corner(side, length, draw), _corner(side, length, draw)
    new, box = here.clone(), (..., slice(top, top + length), slice(left, left + length))
    new[box] = here[box] + 2 * ball.radius * _signs((len(x), channels, 1, 1), draw)
    return new


def _l2(x: Tensor, here: Tensor, part: float, ball: Ball, draw: torch.Generator) -> Tensor:
    """The length of one window's move is taken away and spent, with what was not spent yet, on a wave in another."""
    channels, side = x.shape[1], x.shape[2]
    length = max(round(math.sqrt(part) * side), 3)
    length = min(length + 1 - length % 2, side)
    to, off = ((_corner(side, length, draw), _corner(side, length, draw)) for _ in range(2))
    given, taken = ((..., slice(a, a + length), slice(b, b + length)) for a, b in (to, off))
    move = here - x
    seen = torch.zeros_like(move)
    seen[given] = 1
    seen[taken] = 1
    spent = _long(move * seen)
    unspent = (ball.radius**2 - ball.length(move) ** 2).clamp_min(0) / channels
    wave = _wave(length, draw) * _signs((len(x), channels, 1, 1), draw)
    wave = wave + move[given] / (_long(move[given]) + _TINY)
    wave = wave / (_long(wave) + _TINY) * (unspent + spent**2).sqrt()
    move[taken] = 0
    move[given] = wave
    return x + move * (ball.radius / (ball.length(move) + _TINY))


def _waves(x: Tensor, ball: Ball, draw: torch.Generator) -> Tensor:
    """A grid of five by five waves, each channel of each up or down, together as long as the radius."""
    move, side = torch.zeros_like(x), x.shape[2]
    length = max(side // 5, 1)
    edge = (side - length * 5) // 2 if side >= 5 else 0
    for row in range(side // length):
        for column in range(side // length):
            top, left = edge + row * length, edge + column * length
            box = (..., slice(top, top + length), slice(left, left + length))
            inside = move[box].shape[-2:]
            wave = _wave(length, draw)[: inside[0], : inside[1]]
            move[box] += wave * _signs((len(x), x.shape[1], 1, 1), draw)
    return move * (ball.radius / (ball.length(move) + _TINY))


def _long(part: Tensor) -> Tensor:
    """Euclidean length of each channel of each picture, ``[B, C, 1, 1]``."""
    long: Tensor = part.flatten(2).norm(dim=2)
    return long[..., None, None]


def _wave(length: int, draw: torch.Generator) -> Tensor:
    """A hill beside a valley, of length 1, upright or lying: ``[length, length]`` (section 4.4 and figure 3 of the paper)."""
    half = length // 2
    found = torch.cat([_hill(half, length), -_hill(length - half, length)])
    found /= float(found.norm()) + _TINY
    return found if torch.rand((), generator=draw) > 0.5 else found.T


def _hill(high: int, wide: int) -> Tensor:
    """Nested boxes around the middle, each outer one lower: sums of 1 / (k + 1)^2, scaled to length 1."""
    found, row, column = torch.zeros(high, wide), high // 2, wide // 2
    for k in range(max(high // 2 + 1, wide // 2 + 1)):
        found[max(row - k, 0) : row + k + 1, max(column - k, 0) : column + k + 1] += 1 / (k + 1) ** 2
    return found / (float(found.norm()) + _TINY)
