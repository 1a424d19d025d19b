"""Does a map tell the truth about the model? Answers to a picture with parts of it hidden, against maps that know nothing.

Parts are hidden by random masks, once for all: then any map, and hundreds of maps that know nothing, can be asked how well they
foretell how far the answer falls (sensitivity-n). So the baseline costs no further answers, and "better than chance" is a
counted share and no threshold of taste. Maps that know nothing come in two kinds: random fields, and blobs near the middle, where
photographers put things; a map that beats the first only has found out that photos have a middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from visum.types import Floats, Integers, Pixels, Verdict

CELLS, STEPS, RANDOM = 14, 6, 2
MASKS, HOLES = 64, 7
NULLS, SIDE = 200, 32
SURE = 0.95
"""Share of the maps that know nothing which a map has to beat."""


@dataclass(frozen=True)
class Judged:
    """What a map is worth.

    Attributes:
        sensitivity: correlation of what masks hide of the map with how far the log-odds fall, -1 … 1.
        beats_random: share of random fields with a lower sensitivity, 0 … 1.
        beats_middle: share of blobs near the middle with a lower sensitivity, 0 … 1.
        infidelity: of the same masks, 0 (the map explains all falls) … 1 (none).
        insertion: area under the probability as cells are put in, most important first; higher is better.
        deletion: the same as they are taken out; lower is better.
        random_insertion, random_deletion: mean of these of random fields.
        verdict: trustworthy: beats ``SURE`` of both kinds; weak: of random fields only; else meaningless.
    """

    sensitivity: float
    beats_random: float
    beats_middle: float
    infidelity: float
    insertion: float
    deletion: float
    random_insertion: float
    random_deletion: float
    verdict: Verdict


def judge(
    square: Pixels, heat: Floats, evidence: Callable[[Pixels], Floats | NDArray[np.float64]], *, seed: int = 0
) -> Judged:
    """All numbers for one map, from ``2 + MASKS + 2 * STEPS * (1 + RANDOM)`` answers.

    Args:
        square: uint8 ``[S, S, 3]``.
        heat: float32 ``[S, S]``.
        evidence: squares uint8 ``[N, S, S, 3]`` → log-odds of the explained class, float ``[N]``.
        seed: of masks and random maps.
    """
    blank, kept = blurred(square), masks(len(square), seed=seed)
    fields, blobs = fields_and_blobs(seed)
    shown = [heat, *(_enlarged(field, len(square)) for field in fields[:RANDOM])]
    squares = [stages(square, blank, order(each)) for each in shown]
    told = np.asarray(evidence(np.concatenate([square[None], blank[None], mixed(square, blank, kept), *squares])))
    falls = told[0] - told[2 : 2 + MASKS]
    away = 1 - np.stack([reduced(each) for each in kept])
    found = sensitivity_n(reduced(heat), away, falls)
    random, middle = (beaten(found, nulls, away, falls) for nulls in (fields, blobs))
    p = 1 / (1 + np.exp(-np.clip(told, -60, 60)))
    areas = np.array([curves(p[0], p[1], part) for part in p[2 + MASKS :].reshape(len(shown), 2 * STEPS)])
    return Judged(
        found,
        random,
        middle,
        infidelity(reduced(heat), away, falls),
        float(areas[0, 0]),
        float(areas[0, 1]),
        float(areas[1:, 0].mean()),
        float(areas[1:, 1].mean()),
        verdict(random, middle),
    )


def verdict(beats_random: float, beats_middle: float) -> Verdict:
    """One word, by ``Judged.verdict``."""
    if beats_random < SURE:
        return "meaningless"
    return "trustworthy" if beats_middle >= SURE else "weak"


def blurred(square: Pixels) -> Pixels:
    """What stands in for what is hidden: the picture without its details, uint8 ``[S, S, 3]``."""
    import cv2

    return np.asarray(cv2.GaussianBlur(square, (0, 0), max(1.0, len(square) / 12)), np.uint8)


def masks(size: int, number: int = MASKS, seed: int = 0) -> Floats:
    """Share of each pixel that is kept, float32 ``[number, size, size]``, 0 … 1: coarse grids of coins, enlarged smoothly and
    shifted (RISE, Petsiuk et al. 2018, section 3.2)."""
    draw = np.random.default_rng(seed)
    step = -(-size // HOLES)
    out = np.empty((number, size, size), np.float32)
    for each in out:
        large = _enlarged(draw.integers(0, 2, (HOLES + 1, HOLES + 1)).astype(np.float32), step * (HOLES + 1))
        top, left = draw.integers(0, step, 2)
        each[:] = large[top : top + size, left : left + size]
    return out


def mixed(square: Pixels, blank: Pixels, kept: Floats) -> Pixels:
    """The picture where it is kept, ``blank`` where not: float32 ``[N, S, S]`` → uint8 ``[N, S, S, 3]``."""
    share = kept[..., None]
    return np.asarray(np.rint(blank + share * (square.astype(np.float32) - blank)), np.uint8)


@lru_cache(maxsize=4)
def fields_and_blobs(seed: int = 0, number: int = NULLS) -> tuple[Floats, Floats]:
    """Maps that know nothing, float32 ``[number, SIDE, SIDE]`` each: smoothed noise, and blobs of many widths near the middle."""
    import cv2

    draw = np.random.default_rng(seed)
    noise = draw.normal(size=(number, SIDE, SIDE)).astype(np.float32)
    fields = np.stack([cv2.GaussianBlur(each, (0, 0), SIDE / draw.uniform(6, 16)) for each in noise])
    at = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    centre, width = draw.normal(0, 0.12, (2, number, 1, 1)), draw.uniform(0.1, 0.3, (2, number, 1, 1))
    far = ((at[:, None] - centre[0]) / width[0]) ** 2 + ((at[None, :] - centre[1]) / width[1]) ** 2
    return np.asarray(fields, np.float32), np.exp(-far / 2).astype(np.float32)


def beaten(found: float, nulls: Floats, away: Floats, falls: Floats) -> float:
    """Share of maps ``[M, side, side]`` with a lower ``sensitivity_n``."""
    if nulls.shape[1] != away.shape[1]:
        nulls = np.stack([_enlarged(each, away.shape[1]) for each in nulls])
    return float(np.mean(_sensitivities(nulls, away, falls) < found))


def sensitivity_n(heat: Floats, away: Floats, falls: Floats) -> float:
    """Correlation between what masks hide of the map and how far the score falls (Ancona et al. 2018, section 4).

    They hide the same number of pixels each time; here the number varies, and what it alone foretells is taken out of both sides
    (a partial correlation), so that a map that is the same everywhere foretells nothing.

    Args:
        heat: float ``[S, S]``.
        away: float ``[N, S, S]``: the share of each pixel that was taken out, 0 … 1.
        falls: float ``[N]``.

    Returns:
        -1 … 1; 0 where one of both is constant.
    """
    return float(_sensitivities(heat[None], away, falls)[0])


def _sensitivities(maps: Floats, away: Floats, falls: Floats) -> NDArray[np.float64]:
    hidden = away.reshape(len(away), -1).astype(np.float64)
    sums = hidden @ maps.reshape(len(maps), -1).T.astype(np.float64)
    known = np.stack([np.ones(len(away)), hidden.mean(axis=1)], axis=1)
    both = np.column_stack([falls, sums])
    left = both - known @ np.linalg.lstsq(known, both, rcond=None)[0]
    sizes, before = np.linalg.norm(left, axis=0), np.linalg.norm(both, axis=0)
    told = sizes > 1e-6 * np.maximum(before, 1e-30)
    left = np.where(told, left / np.where(told, sizes, 1), 0)
    return np.asarray(left[:, 1:].T @ left[:, 0])


def infidelity(heat: Floats, away: Floats, falls: Floats) -> float:
    """Mean squared error of the map as a prediction of how far the score falls (Yeh et al. 2019, eq. 1), best scaled.

    Arguments as ``sensitivity_n``.

    Returns:
        >= 0, divided by the mean square of the falls: 0 explains all, 1 nothing.
    """
    sums = (away.reshape(len(away), -1) @ heat.reshape(-1)).astype(np.float64)
    scale = float(sums @ falls) / max(float(sums @ sums), 1e-12)
    return float(np.mean((scale * sums - falls) ** 2) / max(float(np.mean(np.square(falls))), 1e-12))


def order(heat: Floats, cells: int = CELLS) -> Integers:
    """Rank of the cell that each pixel lies in, most important 0: float ``[S, S]`` → int64 ``[S, S]``."""
    size = len(heat)
    cells = min(cells, size)
    at = np.arange(size) * cells // size
    sums = np.zeros((cells, cells))
    np.add.at(sums, (at[:, None], at[None, :]), heat)
    sums /= np.outer(np.bincount(at), np.bincount(at))
    rank = np.empty(cells * cells, np.int64)
    rank[np.argsort(-sums.ravel(), kind="stable")] = np.arange(cells * cells)
    return np.asarray(rank.reshape(cells, cells)[np.ix_(at, at)])


def stages(square: Pixels, blank: Pixels, rank: Integers, steps: int = STEPS) -> Pixels:
    """Pictures with the first shares of cells put in, then with them taken out: uint8 ``[2 * steps, S, S, 3]``."""
    shares = (rank.max() + 1) * np.arange(1, steps + 1) / (steps + 1)
    first = rank[None, :, :, None] < shares[:, None, None, None]
    return np.concatenate([np.where(first, square, blank), np.where(first, blank, square)])


def curves(whole: float, blank: float, between: NDArray[np.floating]) -> tuple[float, float]:
    """Areas under insertion and deletion (Petsiuk et al. 2018, section 4.2): probabilities of the picture, of the blank and of
    ``stages`` ``[2 * steps]``; 0 … 1 each, by the trapezoid rule."""
    steps = len(between) // 2
    ends = (whole + blank) / 2
    return float(ends + between[:steps].sum()) / (steps + 1), float(ends + between[steps:].sum()) / (steps + 1)


def points(heat: Floats, cause: NDArray[np.bool_], tolerance: int = 0) -> bool:
    """The pointing game (Zhang et al. 2018): whether the peak lies on the cause, or at most ``tolerance`` pixels beside it.

    The peak of a map of patches is the pixel of its highest patch that is nearest to the patch's centre.
    """
    peaks = np.argwhere(heat == heat.max())
    row, column = peaks[np.square(peaks - peaks.mean(axis=0)).sum(axis=1).argmin()]
    top, left = max(0, int(row) - tolerance), max(0, int(column) - tolerance)
    return bool(cause[top : int(row) + tolerance + 1, left : int(column) + tolerance + 1].any())


def reduced(heat: Floats) -> Floats:
    """At most ``SIDE`` cells a side, each the mean of its pixels: float32."""
    import cv2

    if len(heat) <= SIDE:
        return np.asarray(heat, np.float32)
    return np.asarray(cv2.resize(np.asarray(heat, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _enlarged(heat: Floats, size: int) -> Floats:
    import cv2

    return np.asarray(cv2.resize(np.asarray(heat, np.float32), (size, size), interpolation=cv2.INTER_LINEAR))
