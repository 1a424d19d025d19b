"""Copies: byte for byte, and the same picture saved again (recompressed, resized, brightened, cropped a little, mirrored).

Two witnesses must agree before two files count as near copies. The perceptual hash survives recompression and resizing but is
blind to colour and confuses shapes that are alike; the embedding sees what the hash misses, but garments of one kind lie close
in it. How close is close is read from the data: both distances are divided by that to the tenth neighbour in a sample (as the
ratio test of Lowe 2004 does with the second), so that a set of look-alikes (digits, X-rays, one product line on one table)
does not collapse into giant clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.types import Column, Finding, Floats, Integers, Manifest, Pixels, Severity

RULES = ((0.25, 1.0, False), (0.6, 0.5, True), (1.0, 0.45, True))
"""(largest relative hash distance, largest relative embedding distance, whether mirrored copies count): a pair that meets one
row is a near copy. Recompressed and resized copies meet the first row, brightened, cropped and mirrored ones the others."""

NEIGHBOUR = 10  # the neighbour whose distance is the yardstick
SAMPLE = 2048  # rows among which it is sought
SLACK = 2  # bits that resampling alone may flip, added to every Hamming distance before it is compared
RESAVED_BITS = 2  # largest Hamming distance that is searched for in the hashes alone
DIMENSIONS = 64
BUCKET = 64  # rows of one band that each hash is compared with
LEAST_SIDE = 64  # pixels; hashes of smaller pictures agree by chance, so that without embeddings they are no witness
FLAT = 1.5  # levels of 255; below it a picture has no structure to hash
_BLOCK = 2048
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_ODD_COLUMNS = np.uint8(0b01010101)


def perceptual_hash(picture: Pixels) -> NDArray[np.uint8]:
    """64-bit DCT hash (pHash: Zauner 2010, section 3.2.1) of one picture uint8 ``[h, w, 3]`` RGB, packed in uint8 ``[8]``.

    The grey picture is reduced to 32 x 32; bit (u, v) tells whether DCT coefficient (u, v) of the 8 x 8 lowest frequencies
    is above their median. One byte is one row u, first bit v = 0. A flat picture gives eight zeros: it has nothing to compare.
    """
    import cv2

    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(grey)[1].item() < FLAT:
        return np.zeros(8, np.uint8)
    low = cv2.dct(grey.astype(np.float32))[:8, :8]
    return np.packbits(low > np.median(low), axis=1).ravel()


def hamming(a: NDArray[np.uint8], b: NDArray[np.uint8], *, mirrored: bool = False) -> NDArray[np.uint8]:
    """Differing bits of hashes uint8 ``[…, 8]``: uint8 ``[…]``, 0 … 64.

    ``mirrored``: against the left-right mirror image of ``b``, whose DCT differs in the sign of odd columns.
    """
    different = a ^ b ^ _ODD_COLUMNS if mirrored else a ^ b
    return np.asarray(_ONES[different].sum(axis=-1, dtype=np.uint8))


def find(
    table: Manifest, hashes: NDArray[np.uint8], vectors: NDArray[np.floating[Any]] | None = None
) -> tuple[Integers, list[Finding]]:
    """Clusters of copies, and what is wrong with where they lie and how they are labelled.

    Args:
        table: N rows with ``sha256``; rows without one are copies of nothing.
        hashes: uint8 ``[N, 8]`` of ``perceptual_hash``.
        vectors: embeddings float16 or float32 ``[N, D]``, may be memory-mapped. Without them only the hash speaks, and only
            where it is nearly equal and not crowded.

    Returns:
        int64 ``[N]``: the smallest row of the cluster each row belongs to (its own number if it has no copy); and findings
        whose ids are pairs that stand side by side, nearest first.

    Time: ``N² · 64 / 2`` multiplications in blocks (4 of the 7 s for 60,000 rows of 1,904 columns on two cores) and
    ``N · D · 64`` to project. Memory: ``N · 66 · 3`` floats beyond the arguments (100 MB for 60,000 rows).

    Raises:
        ValueError: shapes do not fit.
    """
    n = len(table)
    if hashes.shape != (n, 8) or (vectors is not None and len(vectors) != n):
        raise ValueError(
            f"{n} rows, but hashes {hashes.shape}" + (f", vectors {vectors.shape}" if vectors is not None else "")
        )
    digest = _codes(table.sha256, empty_is_one=False)
    first, copy_of = np.unique(digest, return_index=True, return_inverse=True)[1:]
    near, distance = near_copies(hashes[first], None if vectors is None else vectors, first)
    pairs = first[near]
    exact = _stars(digest)
    clusters = connected(n, np.concatenate([exact, pairs]))
    split = _codes(table.splits)
    # with several labels an image, "none of the classes" is an answer like any other
    no_label = "none" if table.task == "multilabel" else ""
    label = _codes(np.array([" ".join(map(str, sorted(one))) or no_label for one in table.labels], object))
    out = [*_exact_findings(table, digest, split, label)]
    out += _near_findings(table, pairs[np.argsort(distance, kind="stable")], np.asarray(copy_of), split, label)
    return clusters, out


def near_copies(
    hashes: NDArray[np.uint8], vectors: NDArray[np.floating[Any]] | None, at: Integers | None = None
) -> tuple[Integers, Floats]:
    """Pairs of rows that ``RULES`` call near copies.

    Args:
        hashes: uint8 ``[M, 8]``.
        vectors: ``[N, D]`` or None; row ``at[i]`` belongs to ``hashes[i]`` (``at`` omitted: row i).

    Returns:
        int64 ``[P, 2]`` with the smaller row first, each pair once; float32 ``[P]``, the relative embedding distance (without
        vectors: Hamming distance / 64).
    """
    live = np.flatnonzero(hashes.any(axis=1))
    sample = np.sort(np.random.default_rng(0).permutation(live)[:SAMPLE])
    pairs = _same_band(hashes, live, RESAVED_BITS)
    if len(sample) < 3:
        return pairs, (hamming(*hashes[pairs.T]) / 64).astype(np.float32)
    space = None if vectors is None else _Space(vectors, np.arange(len(hashes)) if at is None else at, sample)
    if space is not None:
        reach = np.zeros(len(hashes), np.float32)
        reach[live] = space.yardstick[live] * max(rule[1] for rule in RULES[1:])
        pairs = np.concatenate([pairs, _within(space.points, reach)])
        pairs = np.unique(pairs[reach[pairs].all(axis=1)], axis=0).reshape(-1, 2)
    yardstick = _hash_yardstick(hashes, pairs, sample)
    bits = (hamming(*hashes[pairs.T]) + SLACK) / yardstick
    mirror_bits = (hamming(*hashes[pairs.T], mirrored=True) + SLACK) / yardstick
    possible = np.minimum(bits, mirror_bits) <= max(rule[0] for rule in RULES)
    pairs, bits, mirror_bits = pairs[possible], bits[possible], mirror_bits[possible]
    if space is None:
        resaved = bits <= RULES[0][0]
        return pairs[resaved], bits[resaved].astype(np.float32)
    relative = space.relative(pairs)
    agreed = np.zeros(len(pairs), bool)
    for most_bits, most_relative, mirrored in RULES:
        least = np.minimum(bits, mirror_bits) if mirrored else bits
        agreed |= (least <= most_bits) & (relative <= most_relative)
    return pairs[agreed], relative[agreed]


def connected(n: int, pairs: Integers) -> Integers:
    """Connected components of n rows under pairs int64 ``[P, 2]``: int64 ``[n]``, each row's smallest companion."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    names = connected_components(graph, directed=False)[1]
    return np.asarray(np.unique(names, return_index=True)[1][names], np.int64)


class _Space:
    """Centred, normalised embeddings: their projection on the leading directions and the yardstick of each row."""

    def __init__(self, vectors: NDArray[np.floating[Any]], at: Integers, sample: Integers) -> None:
        self._vectors, self._at = vectors, at
        self._mean = np.zeros(vectors.shape[1], np.float32)
        known = np.asarray(vectors[at[sample]], np.float32)
        self._mean = known.mean(axis=0)
        basis = _leading(self._unit(known))
        self.points = np.empty((len(at), basis.shape[1]), np.float32)
        for start in range(0, len(at), _BLOCK):
            self.points[start : start + _BLOCK] = self.rows(np.arange(start, min(start + _BLOCK, len(at)))) @ basis
        everyone = np.arange(len(at))
        self.yardstick = np.sqrt(np.maximum(2 - 2 * _neighbour_cosine(self.points, everyone, sample), 1e-12))

    def _unit(self, raw: Floats) -> Floats:
        centred = raw - self._mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), np.float32)

    def rows(self, at: Integers) -> Floats:
        return self._unit(np.asarray(self._vectors[self._at[at]], np.float32))

    def relative(self, pairs: Integers) -> Floats:
        """Distance of whole embeddings over the smaller of the two yardsticks, float32 ``[P]``."""
        out = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), _BLOCK):
            left, right = pairs[start : start + _BLOCK].T
            distance = np.linalg.norm(self.rows(left) - self.rows(right), axis=1)
            yardstick = np.minimum(self.yardstick[left], self.yardstick[right])
            out[start : start + _BLOCK] = distance / yardstick
        return out


def _neighbour_cosine(points: Floats, asked: Integers, sample: Integers) -> Floats:
    """Inner product of rows ``asked`` with the NEIGHBOUR-th nearest of the sample, oneself not counted.

    What a projection leaves out of two different pictures is as good as uncorrelated, so that the product of the projections
    stands for that of the whole vectors.
    """
    anchors, k = points[sample], min(NEIGHBOUR, len(sample) - 1)
    out = np.empty(len(asked), np.float32)
    place = np.full(len(points), -1)
    place[sample] = np.arange(len(sample))
    for start in range(0, len(asked), _BLOCK):
        rows = asked[start : start + _BLOCK]
        cosine = points[rows] @ anchors.T
        own = place[rows]
        cosine[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        out[start : start + _BLOCK] = np.partition(cosine, len(sample) - k, axis=1)[:, len(sample) - k]
    return out


def _hash_yardstick(hashes: NDArray[np.uint8], pairs: Integers, sample: Integers) -> Floats:
    """Hamming distance from each pair to the NEIGHBOUR-th of the sample, the smaller of the two, float32 ``[P]``, at least 1."""
    signs = ((2 * np.unpackbits(hashes, axis=1).astype(np.int8) - 1) / 8).astype(np.float32)
    asked, place = np.unique(pairs, return_inverse=True)
    distance = 32 * (1 - _neighbour_cosine(signs, asked, sample))
    return np.asarray(np.maximum(distance[place.reshape(pairs.shape)].min(axis=1), 1), np.float32)


def _leading(x: Floats) -> Floats:
    """Orthonormal columns ``[D, <= DIMENSIONS]`` along which x varies most (randomised range finder, Halko et al. 2011).

    Being orthonormal they never lengthen a distance: what is close stays close, and no near pair is lost.
    """
    d = x.shape[1]
    if d <= DIMENSIONS:
        return np.eye(d, dtype=np.float32)
    start = np.random.default_rng(0).standard_normal((d, DIMENSIONS)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(3):
        basis = np.linalg.qr(x.T @ (x @ basis))[0]
    return np.asarray(basis, np.float32)


def _within(points: Floats, reach: Floats) -> Integers:
    """Pairs i < j with ``|points[i] - points[j]| <= reach[i]``, found block by block as ``[P, 2]``.

    Of each j at most the first few i are kept in a block, so that a thousand copies give thousands of pairs, not a million;
    the cluster stays connected through the first.
    """
    square = (points**2).sum(axis=1)
    ones = np.ones((len(points), 1), np.float32)
    left = np.hstack([points, ones, ((reach**2 - square) / 2)[:, None]])
    right = np.hstack([points, -square[:, None] / 2, ones])
    found = []
    for start in range(0, len(points), _BLOCK):
        for other in range(start, len(points), _BLOCK):
            close = left[start : start + _BLOCK] @ right[other : other + _BLOCK].T >= 0
            if other == start:
                close = np.triu(close, 1)
            if close.any():
                if np.count_nonzero(close) > 8 * _BLOCK:
                    close &= np.cumsum(close, axis=0, dtype=np.int32) <= 8
                i, j = np.nonzero(close)
                found.append(np.stack([i + start, j + other], axis=1))
    return np.concatenate(found).astype(np.int64) if found else np.zeros((0, 2), np.int64)


def _same_band(hashes: NDArray[np.uint8], live: Integers, most: int) -> Integers:
    """Pairs i < j of ``live`` rows at Hamming distance <= most: cut in most + 1 bands, one band must be equal.

    Each band is sorted (equal hashes side by side) and compared with the next ``BUCKET`` rows, so that a bucket of thousands
    costs no more than its length.
    """
    found = [np.zeros((0, 2), np.int64)]
    bits = np.unpackbits(hashes[live], axis=1)
    whole = hashes[live].view(np.uint64).ravel()
    for columns in np.array_split(np.arange(64), most + 1):
        band = np.packbits(bits[:, columns], axis=1).astype(np.int64) @ (256 ** np.arange(-(-len(columns) // 8)))
        order = np.lexsort((whole, band))
        for step in range(1, min(BUCKET, len(order) - 1) + 1):
            a, b = order[:-step], order[step:]
            same = band[a] == band[b]
            if not same.any():
                break
            a, b = live[a[same]], live[b[same]]
            close = hamming(hashes[a], hashes[b]) <= most
            found.append(np.sort(np.stack([a[close], b[close]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0).reshape(-1, 2)


def _codes(values: Column | NDArray[Any], *, empty_is_one: bool = True) -> Integers:
    """Equal strings become equal numbers; "" becomes -1, or a number of its own for each row."""
    codes = np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)
    empty = values == ""
    codes[empty] = -1 if empty_is_one else len(values) + np.flatnonzero(empty)
    return codes


def _stars(keys: Integers) -> Integers:
    """Each row paired with the first row of the same key, ``[P, 2]``; keys below 0 stand alone."""
    first, inverse = np.unique(keys, return_index=True, return_inverse=True)[1:]
    row = np.arange(len(keys))
    later = (first[inverse] != row) & (keys >= 0)
    return np.stack([first[inverse][later], row[later]], axis=1)


def _contrasts(group: Integers, key: Integers) -> Integers:
    """Each row paired with the first row of its group that has another key, ``[P, 2]``; keys below 0 are passed over."""
    at = np.flatnonzero(key >= 0)
    group, key = group[at], key[at]
    first, inverse = np.unique(group, return_index=True, return_inverse=True)[1:]
    leader = first[inverse]
    other = np.flatnonzero(key != key[leader])
    where = np.unique(group[other], return_index=True)[1]
    second = np.full(len(first), -1)
    second[inverse[other[where]]] = other[where]
    partner = np.where(key == key[leader], second[inverse], leader)
    pairs = np.stack([np.arange(len(at)), partner], axis=1)[partner >= 0]
    return np.unique(np.sort(at[pairs], axis=1), axis=0).reshape(-1, 2)


def _exact_findings(table: Manifest, digest: Integers, split: Integers, label: Integers) -> list[Finding]:
    across_splits, across_classes = _contrasts(digest, split), _contrasts(digest, label)
    plain = np.stack([digest, split, label], axis=1)
    within = _stars(np.unique(plain, axis=0, return_inverse=True)[1].reshape(-1))
    return [
        *_report(table, "duplicate_across_classes", "serious", across_classes, "byte-for-byte copies"),
        *_report(table, "duplicate_across_splits", "serious", across_splits, "byte-for-byte copies"),
        *_report(table, "duplicate", "info", within, "byte-for-byte copies"),
    ]


def _near_findings(
    table: Manifest, pairs: Integers, copy_of: Integers, split: Integers, label: Integers
) -> list[Finding]:
    """Sort near pairs by what is wrong with them, each spoken for by copies of the two pictures that differ if any do."""
    members: dict[int, list[int]] = {int(copy_of[row]): [] for row in pairs.ravel()}
    for row in np.flatnonzero(np.isin(copy_of, np.fromiter(members, np.int64, len(members)))):
        members[int(copy_of[row])].append(int(row))
    kinds: dict[str, list[tuple[int, int]]] = {"classes": [], "splits": [], "": []}
    for a, b in pairs.tolist():
        faults = []
        for name, key in (("classes", label), ("splits", split)):
            differing = _differing(members[int(copy_of[a])], members[int(copy_of[b])], key)
            if differing is not None:
                faults.append(name)
                kinds[name].append(differing)
        if not faults:
            kinds[""].append((a, b))
    array = {name: np.array(found, np.int64).reshape(-1, 2) for name, found in kinds.items()}
    return [
        *_report(table, "near_duplicate_across_classes", "warning", array["classes"], "near copies"),
        *_report(table, "near_duplicate_across_splits", "serious", array["splits"], "near copies"),
        *_report(table, "near_duplicate", "info", array[""], "near copies"),
    ]


def _differing(left: list[int], right: list[int], key: Integers) -> tuple[int, int] | None:
    """The first a of left and b of right whose keys are known and differ."""
    one = {int(key[row]): row for row in reversed(left) if key[row] >= 0}
    two = {int(key[row]): row for row in reversed(right) if key[row] >= 0}
    return next(((a, b) for ka, a in one.items() for kb, b in two.items() if ka != kb), None)


_ADVICE = {
    "classes": "of each other with different labels, so that at least one label is wrong. Look at the pairs and correct or "
    "delete one of each.",
    "splits": "of each other in different splits, so that scores on them measure memory. Delete one of each pair, or leave "
    "the split to visum, which keeps copies together.",
    "": "of others with the same label. Copies teach nothing new and count twice; delete one of each pair.",
}


def _report(table: Manifest, kind: str, severity: Severity, pairs: Integers, what: str) -> list[Finding]:
    if not len(pairs):
        return []
    concerned, fault = np.unique(pairs), kind.partition("_across_")[2]
    numbers = {"pairs": float(len(pairs)), "images": float(len(concerned))}
    message = f"{len(concerned):,} images are {what} {_ADVICE[fault]}"
    if fault == "splits":
        held_out = {name: int((table.splits[concerned] == name).sum()) for name in ("validation", "test")}
        numbers |= held_out
        listed = " and ".join(f"{number:,} in {name}" for name, number in held_out.items() if number)
        message = f"{len(concerned):,} images ({listed}) are {what} {_ADVICE[fault]}"
    return [Finding(kind, severity, message, tuple(table.ids[pairs.ravel()]), numbers)]
