"""Slices: is a classifier as good on every kind of picture, and is the worst kind worse than chance alone would make it?

Whoever looks at thirty groups finds a worst one, and its own 95 % interval tells too much: it was chosen for being low. So each
group also has an interval that holds for all groups at once (Bonferroni), and its p-value comes from the largest deficit of any
group when the right answers are dealt out anew among the images (Westfall and Young 1993, "Resampling-based multiple testing",
single-step max-T). Groups overlap and correlate; dealing keeps that. A second p-value deals within each class: whether a kind of
picture is worse than its classes explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.judge.intervals import wilson
from visum.types import Column, Integers, column

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEAST = 10
"""Images below which a group is counted but not judged: the interval of half of 10 right reaches from 24 to 76 %."""
DRAWS, SHUFFLED = 2000, 20_000_000
"""Deals, and how many answers they may move together; at least 200 deals."""
ALPHA = 0.05
WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "size": ("smallest", "smaller", "larger", "largest"),
    "brightness": ("darkest", "darker", "brighter", "brightest"),
    "contrast": ("flattest", "flatter", "richer in contrast", "richest in contrast"),
    "sharpness": ("most blurred", "softer", "sharper", "sharpest"),
}
"""What the quarters of a measure are called, lowest first."""


@dataclass(frozen=True, eq=False)
class Group:
    """Some of the images.

    Attributes:
        by: what they have in common: class, size, format …
        name: which of its kinds they are.
        mask: bool ``[N]``.
    """

    by: str
    name: str
    mask: Mask


def edges(values: Array) -> Array:
    """Where quarters of a measure begin, float64 ``[0 … 3]`` rising; NaN is passed over. Fewer where values are equal, none where
    all are."""
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    if not len(known):
        return np.zeros(0)
    cuts = np.unique(np.quantile(known, (0.25, 0.5, 0.75)))
    return np.asarray(cuts[cuts > known.min()])


def quarters(values: Array, cuts: Array, words: Sequence[str], unit: str = "", scale: float = 1.0) -> Column:
    """The name of each value's bin, str ``[N]``: its word and its range; "" for NaN, or where there are no cuts.

    Args:
        values: float64 ``[N]``.
        cuts: of ``edges``, of these values or of others that they shall be compared with.
        words: four, lowest first; with fewer bins the outer ones are used first.
        unit: after the numbers.
        scale: numbers are shown times this.
    """
    if not len(cuts):
        return column([""] * len(values))
    chosen = {1: (0, 3), 2: (0, 2, 3), 3: (0, 1, 2, 3)}[len(cuts)]
    shown = [f"{scale * cut:.3g}" if scale * cut < 1000 else f"{scale * cut:.0f}" for cut in cuts]
    ranges = [
        f"under {shown[0]}",
        *(f"{a} to {b}" for a, b in pairwise(shown)),
        f"from {shown[-1]}",
    ]
    names = [f"{words[at]} ({f'{told} {unit}'.strip()})" for at, told in zip(chosen, ranges, strict=True)]
    at = np.searchsorted(cuts, values, "right")
    return column([names[k] if ok else "" for k, ok in zip(at, np.isfinite(values), strict=True)])


def groups(columns: Mapping[str, Column], *, most: int = 200) -> list[Group]:
    """Groups of rows with the same value, those of one column together, values in order.

    A column that puts all rows into one group, that has more than ``most`` values, or that parts the rows exactly as an earlier
    one does, gives none.

    Args:
        columns: by → str ``[N]``; "" where a row's value is not known.
    """
    found: list[Group] = []
    seen: set[bytes] = set()
    for by, values in columns.items():
        names, at = np.unique(values.astype(str), return_inverse=True)
        known = [k for k, name in enumerate(names) if name]
        first = {int(k): row for row, k in reversed(list(enumerate(at)))}
        parted = np.array([first[int(k)] if names[k] else -1 for k in at]).tobytes()  # the same for any other names
        if 2 <= len(known) <= most and parted not in seen:
            seen.add(parted)
            found += [Group(by, str(names[k]), np.asarray(at == k)) for k in known]
    return found


def deficits(right: Mask, masks: NDArray[np.float32], strata: Integers) -> tuple[Array, Array]:
    """How many fewer right answers each group has than its share, in standard deviations: (mean float64 ``[G]``, deviation
    ``[G]``) of the number of right answers when these are dealt out anew within each stratum.

    Args:
        right: bool ``[N]``.
        masks: 0/1 ``[G, N]``.
        strata: int64 ``[N]``, numbers from 0.
    """
    mean, variance = np.zeros(len(masks)), np.zeros(len(masks))
    for stratum in np.unique(strata):
        own = strata == stratum
        n, share = int(own.sum()), float(right[own].mean())
        inside = masks[:, own].sum(1).astype(np.float64)
        mean += inside * share
        if n > 1:
            variance += inside * share * (1 - share) * (n - inside) / (n - 1)  # hypergeometric
    return mean, np.sqrt(variance)


def dealt(right: Mask, masks: NDArray[np.float32], strata: Integers, seed: int) -> tuple[Array, Array]:
    """(z float64 ``[G]``, adjusted p ``[G]``): how far each group lies below its share, and how often the lowest of all groups
    lies as low when right answers are dealt out anew within strata. Arguments as ``deficits``; a group that no deal can move
    has z 0 and p 1."""
    n = len(right)
    mean, deviation = deficits(right, masks, strata)
    moves = deviation > 1e-9
    if not moves.any():
        return np.zeros(len(masks)), np.ones(len(masks))
    used, mean, deviation = masks[moves], mean[moves], deviation[moves]
    seen = (mean - used @ right.astype(np.float32)) / deviation
    draws = int(np.clip(SHUFFLED // n, 200, DRAWS))
    rng, block = np.random.default_rng(seed), max(1, 2_000_000 // n)
    order = np.argsort(strata, kind="stable")
    atleast = np.zeros(len(used))
    for start in range(0, draws, block):
        keys = rng.random((min(block, draws - start), n))
        # strata stay where they are when keys below 1 are added to their numbers and sorted
        taken = np.argsort(strata[order] + keys, axis=1)
        new = np.empty(keys.shape, np.float32)
        new[:, order] = right[order][taken]
        lowest = ((mean - new @ used.T) / deviation).max(1)
        atleast += (lowest[:, None] >= seen - 1e-9).sum(0)
    z, p = np.zeros(len(masks)), np.ones(len(masks))
    z[moves], p[moves] = seen, (1 + atleast) / (1 + draws)
    return z, p


def slices(
    right: Mask,
    given: Sequence[Group],
    strata: Integers | None = None,
    *,
    confidence: Array | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The block of a trust page about groups of images, plain Python values.

    Keys: ``n``, ``right``, ``accuracy`` with ``low`` and ``high`` (Wilson), ``judged`` (groups with at least ``LEAST`` images),
    ``few`` (the others: ``by``, ``name``, ``n``), ``worst`` (index into ``groups`` or None) and ``groups``, each with ``by``,
    ``name``, ``n``, ``right``, ``accuracy``, ``low`` and ``high`` (Wilson, for this group alone), ``all_low`` and ``all_high``
    (for all judged groups at once), ``z``, ``p`` (adjusted; worse than the rest), ``p_within`` (adjusted; worse than its classes
    explain; None where there are no strata and for groups by class), ``confidence`` (mean, None where it is not given). The
    worst group is the one with the largest z, which the p-value is about; the lowest accuracy may be that of a tiny group.

    Args:
        right: bool ``[N]``, N >= 1.
        given: of ``groups``; may overlap.
        strata: int64 ``[N]`` class of each image; None: not one class each.
        confidence: float64 ``[N]``.
        seed: of the deals.
    """
    n = len(right)
    judged = [group for group in given if LEAST <= group.mask.sum() < n]
    few = [{"by": g.by, "name": g.name, "n": int(g.mask.sum())} for g in given if g.mask.sum() < LEAST]
    low, high = wilson(int(right.sum()), n)
    head = {"n": n, "right": int(right.sum()), "accuracy": float(right.mean()), "low": float(low), "high": float(high)}
    if not judged:
        return {**head, "judged": 0, "few": few, "worst": None, "groups": []}
    masks = np.stack([group.mask for group in judged]).astype(np.float32)
    z, p = dealt(right, masks, np.zeros(n, np.int64), seed)
    within: dict[int, float] = {}
    others = [at for at, group in enumerate(judged) if group.by != "class"]
    if strata is not None and others:
        within = dict(zip(others, dealt(right, masks[others], strata, seed + 1)[1].tolist(), strict=True))
    level = 1 - ALPHA / len(judged)
    rows = []
    for at, group in enumerate(judged):
        size, hits = int(group.mask.sum()), int(right[group.mask].sum())
        alone, together = wilson(hits, size), wilson(hits, size, level)
        rows.append(
            {
                "by": group.by,
                "name": group.name,
                "n": size,
                "right": hits,
                "accuracy": hits / size,
                "low": float(alone[0]),
                "high": float(alone[1]),
                "all_low": float(together[0]),
                "all_high": float(together[1]),
                "z": float(z[at]),
                "p": float(p[at]),
                "p_within": within.get(at),
                "confidence": None if confidence is None else float(confidence[group.mask].mean()),
            }
        )
    worst = int(np.argmax(z)) if z.max() > 0 else None
    return {**head, "judged": len(judged), "few": few, "worst": worst, "groups": rows}
