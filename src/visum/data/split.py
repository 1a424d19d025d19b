"""Splits that leak nothing: copies and groups stay together, labels are spread evenly, and what is given is kept.

Rows that must stay together form a *unit* (connected by copies or by a group). Units are dealt out by iterative
stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"), taken from images to
units: the rarest label first, each unit to the split that still lacks most of that label. A table with one label per image
is the special case of one-hot labels. Nothing depends on the order of rows: units are ordered by size and by a hash of
(seed, smallest id).
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from visum.errors import DataError, NotEnoughData, UsageError
from visum.types import SPLITS, Column, Integers, Manifest, column

FRACTIONS = (0.7, 0.15, 0.15)
TRAIN, VALIDATION, TEST, UNSET = 0, 1, 2, -1
ENOUGH = 0.5  # a split whose share of a class is half an image or more gets an image of it, units permitting
Mask = NDArray[np.bool_]


def split(
    table: Manifest,
    clusters: Integers,
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
) -> Manifest:
    """Put every row into train, validation or test; rows that have a split keep it.

    Rows without a split follow the other rows of their unit (test before validation before train), or else are dealt out
    so that all rows together come near ``fractions``. A split that then has no row is cut out of train, as its fraction of
    the train rows, and never out of validation or test; train rows whose copies or group reach into another split stay.

    Every class keeps at least one unit in train, so that a class with a single unit is in train alone. Where a class has
    three units or more and its share of a split is half an image or more, that split gets at least one, too.

    Args:
        table: N rows; unlabelled rows (multilabel: rows with none of the classes) are spread like a class of their own.
        clusters: int64 ``[N]``; rows with equal numbers are copies of each other.
        fractions: of train (> 0), validation (> 0) and test (>= 0; 0: make no test split); they sum to 1.
        seed: decides which units go where.

    Raises:
        UsageError: impossible fractions.
        DataError: a split of another name.
        NotEnoughData: train, or a split that was asked for, would have no image.
    """
    _check(table, clusters, fractions)
    units, keys = _units(table, clusters, seed)
    labels = _labels(table)
    now = _follow(_numbers(table.splits), units)
    if (now == UNSET).any():
        now = _deal(now, np.ones(len(now), bool), units, keys, labels, fractions)
    missing = [s for s in (VALIDATION, TEST) if fractions[s] > 0 and not (now == s).any()]
    train = now == TRAIN
    movable = train & ~_touching(units, ~train)
    if missing and movable.any():
        cut = [fractions[s] if s in missing else 0.0 for s in range(3)]
        shares = (1 - sum(cut), cut[VALIDATION], cut[TEST])
        now = _deal(np.where(movable, UNSET, now), train, units, keys, labels, shares)
    for s, name in enumerate(SPLITS):
        if fractions[s] > 0 and not (now == s).any():
            raise _too_few(name, len(now), len(keys))
    return replace(table, splits=column([SPLITS[s] for s in now.tolist()]))


def describe(table: Manifest, before: Manifest | None = None) -> str:
    """One sentence for people: ``3,068 train (given), 341 validation (made) and 372 test (given).``

    Args:
        table: after ``split``.
        before: the table before it, so that given splits can be told from made ones; None: only counts are said.
    """
    counts = Counter(table.splits)
    given: Counter[str] = Counter()
    if before is not None:
        was = dict(zip(before.ids, before.splits, strict=True))
        given.update(name for image, name in zip(table.ids, table.splits, strict=True) if name == was.get(image))
    parts = []
    for name in (*SPLITS, ""):
        if not counts[name]:
            continue
        n, kept = counts[name], given[name]
        origin = "given" if kept == n else f"{kept:,} of them given" if kept else "made"
        parts.append(f"{n:,} {name or 'without a split'}" + (f" ({origin})" if before is not None and name else ""))
    if not parts:
        return "No images."
    return (" and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]) + "."


def _check(table: Manifest, clusters: Integers, fractions: tuple[float, float, float]) -> None:
    allowed = "three numbers that sum to 1: train > 0, validation > 0, test >= 0"
    number = len(fractions) == 3 and all(math.isfinite(f) and f >= 0 for f in fractions)
    if not number or not fractions[TRAIN] or not fractions[VALIDATION] or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"fractions are {tuple(fractions)}", allowed=allowed, next="--set 'fractions=[0.7, 0.15, 0.15]'"
        )
    if len(clusters) != len(table):
        raise UsageError(f"{len(clusters)} cluster numbers for {len(table)} images", allowed="one for each image")
    if unknown := sorted(set(table.splits) - {*SPLITS, ""}):
        raise DataError(
            f"a split is called {unknown[0]!r}", allowed="train, validation, test or nothing", next="rename it"
        )


def _too_few(name: str, images: int, units: int) -> NotEnoughData:
    if name == "train":
        return NotEnoughData(
            f"none of the {images:,} images is for training",
            allowed="one or more images in train or without a split",
            next="a table or folder with training images",
        )
    return NotEnoughData(
        f"no image is left for {name}: {images:,} images make {units:,} units that must stay together"
        " (copies, groups), and each class keeps one in train",
        allowed=f"three units or more of a class, or a given {name} split",
        next="more images" + (", or --set 'fractions=[0.8, 0.2, 0]' for no test split" if name == "test" else ""),
    )


def _numbers(splits: Column) -> Integers:
    """Split names as 0, 1, 2 and -1 for none."""
    number = {name: at for at, name in enumerate((*SPLITS,))} | {"": UNSET}
    return np.fromiter((number[name] for name in splits), np.int64, len(splits))


def _units(table: Manifest, clusters: Integers, seed: int) -> tuple[Integers, NDArray[np.uint64]]:
    """Unit of each row, int64 ``[N]`` in 0 … U - 1, and a random number of each unit, uint64 ``[U]``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(table)
    _, first, copy = np.unique(clusters, return_index=True, return_inverse=True)
    leaders: dict[str, int] = {}
    group = np.fromiter(
        (leaders.setdefault(name, row) if name else row for row, name in enumerate(table.groups)), np.int64, n
    )
    here, there = np.tile(np.arange(n), 2), np.concatenate([first[copy], group])
    count, units = connected_components(coo_array((np.ones(2 * n, np.int8), (here, there)), (n, n)), directed=False)
    order = np.argsort(table.ids, kind="stable")
    smallest = np.full(count, n, np.int64)
    np.minimum.at(smallest, units[order], np.arange(n))
    names = table.ids[order[smallest]] if n else table.ids
    keys = [hashlib.blake2b(f"{seed}\0{name}".encode(errors="surrogatepass"), digest_size=8).digest() for name in names]
    return units.astype(np.int64), np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)


def _touching(units: Integers, where: Mask) -> Mask:
    """Rows whose unit has a row in ``where``, bool ``[N]``."""
    touched = np.zeros(int(units.max(initial=-1)) + 1, bool)
    touched[units[where]] = True
    return np.asarray(touched[units])


def _follow(given: Integers, units: Integers) -> Integers:
    """Rows without a split take the highest one of their unit."""
    highest = np.full(int(units.max(initial=-1)) + 1, UNSET, np.int64)
    np.maximum.at(highest, units, given)
    return np.where(given == UNSET, highest[units], given)


@dataclass(frozen=True)
class _Labels:
    """(row, label) pairs. Two labels are added to the K classes: K for rows without any, and K + 1 for every row."""

    rows: Integers
    labels: Integers
    count: int


def _labels(table: Manifest) -> _Labels:
    n, k = len(table), len(table.classes)
    lengths = np.fromiter(map(len, table.labels), np.int64, n)
    flat = np.fromiter(chain.from_iterable(table.labels), np.int64, int(lengths.sum()))
    none = np.flatnonzero(lengths == 0)
    every = np.arange(n)
    rows = np.concatenate([np.repeat(every, lengths), none, every])
    return _Labels(rows, np.concatenate([flat, np.full(len(none), k), np.full(n, k + 1)]), k + 2)


def _deal(
    now: Integers,
    scope: Mask,
    units: Integers,
    keys: NDArray[np.uint64],
    labels: _Labels,
    shares: tuple[float, float, float],
) -> Integers:
    """Give each unit of the unset rows a split, so that the rows in ``scope`` come near ``shares`` for every label.

    Args:
        now: int64 ``[N]`` with -1 for rows of the units to deal out.
        scope: bool ``[N]``, rows that the shares are taken of; includes all unset rows.
        shares: of the three splits; a split with share 0 gets nothing.
    """
    unset, width = now == UNSET, labels.count
    totals = np.bincount(labels.labels[scope[labels.rows]], minlength=width)
    have = np.array([np.bincount(labels.labels[((now == s) & scope)[labels.rows]], minlength=width) for s in range(3)])
    want = np.asarray(shares)[:, None] * totals - have
    places = np.unique(units[unset])
    sizes = np.bincount(units[unset], minlength=len(keys))[places]
    order = np.lexsort((keys[places], -sizes))  # large units first, while there is room to even them out
    rank = np.full(len(keys), -1, np.int64)
    rank[places[order]] = np.arange(len(places))
    mine = unset[labels.rows]
    pairs, counts = np.unique(rank[units[labels.rows[mine]]] * width + labels.labels[mine], return_counts=True)
    owner, label = pairs // width, pairs % width
    open_splits = [s for s in range(3) if shares[s] > 0]
    dealt = _stratify(owner, label, counts, want, have, keys[places[order]].tolist(), open_splits)
    return np.where(unset, np.asarray(dealt, np.int64)[rank[units]], now)


def _stratify(
    owner: Integers,
    label: Integers,
    counts: Integers,
    want: NDArray[np.float64],
    have: Integers,
    keys: list[int],
    open_splits: list[int],
) -> list[int]:
    """The greedy itself, over units 0 … U - 1 in their order; returns the split of each.

    Args:
        owner, label, counts: int64 ``[P]``, sorted by unit: how many images of a label a unit has.
        want: float64 ``[3, L]``, images that each split still lacks; the last label is that of every image.
        have: int64 ``[3, L]``, images that stay where they are.
        keys: a random number for each unit.
        open_splits: the splits that units may go to.
    """
    width = want.shape[1]
    every = width - 1
    starts = np.searchsorted(owner, np.arange(len(keys) + 1)).tolist()
    by_label = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[by_label], np.arange(width + 1)).tolist()
    members: list[int] = owner[by_label].tolist()
    units_left = np.bincount(label, minlength=width).tolist()
    images_left = np.bincount(label, counts, minlength=width).astype(np.int64).tolist()
    lacking = _lacking(units_left, want, have, open_splits)
    lack = want.tolist()
    of: list[int] = label.tolist()
    many: list[int] = counts.tolist()
    dealt = [UNSET] * len(keys)
    heap = [(n, at) for at, n in enumerate(images_left) if n]
    heapq.heapify(heap)
    while heap:
        n, rarest = heapq.heappop(heap)
        if n != images_left[rarest]:
            continue  # an entry from before some of its units were dealt out
        touched: set[int] = set()
        for unit in members[ends[rarest] : ends[rarest + 1]]:
            if dealt[unit] != UNSET:
                continue
            span = range(starts[unit], starts[unit + 1])
            choice = _must([of[p] for p in span], units_left, lacking) or open_splits
            best = choice[0]
            if len(choice) > 1:
                best = max(choice, key=lambda s: (lack[s][rarest], lack[s][every], keys[unit] >> 8 * s & 255, -s))
            dealt[unit] = best
            for p in span:
                at = of[p]
                units_left[at] -= 1
                images_left[at] -= many[p]
                lack[best][at] -= many[p]
                if lacking[at]:
                    lacking[at].discard(best)
                if at != rarest:
                    touched.add(at)
        for at in touched:
            if images_left[at]:
                heapq.heappush(heap, (images_left[at], at))
    return dealt


def _lacking(
    units_left: list[int], want: NDArray[np.float64], have: Integers, open_splits: list[int]
) -> list[set[int]]:
    """For each label, the open splits that have none of it and should have one."""
    out = []
    for at, units in enumerate(units_left):
        needed = {TRAIN} if units and not have[TRAIN, at] else set()
        if units + (TRAIN not in needed) >= 3:
            needed |= {s for s in (VALIDATION, TEST) if want[s, at] >= ENOUGH and not have[s, at]}
        out.append(needed & set(open_splits))
    return out


def _must(labels: list[int], units_left: list[int], lacking: list[set[int]]) -> list[int]:
    """Splits that this unit has to choose from, since one of its labels has no unit to spare; empty: free choice."""
    tight = [at for at in labels if lacking[at] and units_left[at] <= len(lacking[at])]
    for at in tight:
        if units_left[at] == 1 and TRAIN in lacking[at]:
            return [TRAIN]
    return sorted(lacking[tight[0]]) if tight else []
