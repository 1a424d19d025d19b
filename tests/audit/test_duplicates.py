"""Copies planted among real photos: found, told apart by what is wrong with them, and nothing else called a copy."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from visum.audit import duplicates
from visum.types import Finding, Manifest, Pixels, column, manifest

Hashes = NDArray[np.uint8]


def table_of(
    n: int,
    *,
    digests: list[str] | None = None,
    labels: list[tuple[int, ...]] | None = None,
    splits: list[str] | None = None,
    task: str = "multiclass",
) -> Manifest:
    made = manifest(
        "/data", "multiclass", ["a", "b", "c"], [str(i) for i in range(n)], labels or [(0,)] * n, splits=splits
    )
    return replace(made, sha256=column(digests or [f"{i:064x}" for i in range(n)]), task=task)  # type: ignore[arg-type]


def pairs_of(finding: Finding) -> list[tuple[int, int]]:
    rows = [int(name) for name in finding.ids]
    return list(zip(rows[::2], rows[1::2], strict=True))


def kinds(found: list[Finding]) -> dict[str, Finding]:
    assert len({f.kind for f in found}) == len(found)
    return {f.kind: f for f in found}


def hashes_of(pictures: list[Pixels]) -> Hashes:
    return np.array([duplicates.perceptual_hash(p) for p in pictures])


def vectors_of(pictures: list[Pixels]) -> NDArray[np.float32]:
    """A light stand-in for network embeddings: colour thumbnails and the energy of edges."""
    out = []
    for picture in pictures:
        small = cv2.resize(picture, (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32)
        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA)
        edges = np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1), cv2.CV_32F))
        out.append(np.concatenate([small.ravel() / 4, cv2.resize(edges, (8, 8), interpolation=cv2.INTER_AREA).ravel()]))
    return np.array(out, np.float32)


def recompressed(picture: Pixels, quality: int = 35) -> Pixels:
    blob = io.BytesIO()
    Image.fromarray(picture).save(blob, "JPEG", quality=quality)
    return np.asarray(Image.open(blob))


def resized(picture: Pixels, factor: float = 0.5) -> Pixels:
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def cropped(picture: Pixels, share: float = 0.04) -> Pixels:
    height, width = picture.shape[:2]
    y, x = round(height * share / 2), round(width * share / 2)
    return picture[y : height - y, x : width - x]


COPIES: dict[str, tuple[Callable[[Pixels], Pixels], float]] = {
    "recompressed": (recompressed, 0.95),
    "resized": (resized, 0.95),
    "cropped": (cropped, 0.85),
    "brightened": (lambda p: np.clip(p * 1.1 + 8.0, 0, 255).astype(np.uint8), 0.85),
    "mirrored": (lambda p: np.ascontiguousarray(p[:, ::-1]), 0.0),  # the stand-in embedding is not made for these
}


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_hash_is_the_dct_hash(photos: dict[str, NDArray[np.uint8]], name: str) -> None:
    grey = cv2.resize(cv2.cvtColor(photos[name], cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = dctn(grey.astype(np.float64), norm="ortho")[:8, :8]
    got = duplicates.perceptual_hash(photos[name])
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(np.unpackbits(got), (low > np.median(low)).ravel())


def test_hash_stays_with_the_picture_and_tells_others_apart(garments) -> None:
    pictures = garments.pictures[:200]
    own = hashes_of(pictures)
    for change in (recompressed, resized):
        assert np.quantile(duplicates.hamming(own, hashes_of([change(p) for p in pictures])), 0.95) <= 4
    mirror = hashes_of([np.ascontiguousarray(p[:, ::-1]) for p in pictures])
    assert np.median(duplicates.hamming(own, mirror)) > 20
    assert np.quantile(duplicates.hamming(own, mirror, mirrored=True), 0.95) <= 8
    others = duplicates.hamming(own[:, None], own[None])[np.triu_indices(200, 1)]
    assert np.median(others) > 25
    expected = [bin(int.from_bytes(a.tobytes()) ^ int.from_bytes(own[0].tobytes())).count("1") for a in own]
    np.testing.assert_array_equal(duplicates.hamming(own, own[0]), expected)


def test_flat_pictures_have_no_hash_and_no_copies() -> None:
    flat = [np.full((50, 60, 3), level, np.uint8) for level in (0, 1, 128, 255)]
    assert not hashes_of(flat).any()
    found = duplicates.find(table_of(4), hashes_of(flat), np.eye(4, dtype=np.float32))
    assert found[0].tolist() == [0, 1, 2, 3]
    assert found[1] == []


def test_planted_copies_are_found_and_nothing_else(garments) -> None:
    """200 photos and five altered copies of each, between 400 others."""
    originals, others = garments.pictures[:800:4], garments.pictures[1:800:2]
    pictures, owner = [*originals, *others], [*range(200), *range(-1, -401, -1)]
    for change, _ in COPIES.values():
        pictures += [change(p) for p in originals]
        owner += range(200)
    truth = np.array(owner)
    clusters, found = duplicates.find(table_of(len(pictures)), hashes_of(pictures), vectors_of(pictures))
    for number, (name, (_, recall)) in enumerate(COPIES.items()):
        start = 600 + 200 * number
        assert np.mean(clusters[start : start + 200] == clusters[:200]) >= recall, name
    pairs = np.array(pairs_of(kinds(found)["near_duplicate"]))
    assert np.mean(truth[pairs[:, 0]] == truth[pairs[:, 1]]) >= 0.95
    together = [(truth[np.flatnonzero(clusters == c)]) for c in np.unique(clusters[600:])]
    assert np.mean([len(set(members.tolist())) == 1 for members in together]) >= 0.95


def test_without_embeddings_only_nearly_equal_hashes_count(garments) -> None:
    originals = garments.pictures[:800:4]
    pictures = [*originals, *garments.pictures[1:800:2], *(recompressed(p) for p in originals)]
    pairs, distance = duplicates.near_copies(hashes_of(pictures), None)
    right = (pairs[:, 0] < 200) & (pairs[:, 1] == pairs[:, 0] + 600)
    assert right.sum() >= 0.9 * 200
    assert right.mean() >= 0.95
    assert (distance <= duplicates.RULES[0][0]).all()


def brute_force(hashes: Hashes, vectors: NDArray[np.float32]) -> set[tuple[int, int]]:
    """The rules read literally, over all pairs, with whole vectors and everybody in the sample."""
    x = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    bits = np.unpackbits(hashes, axis=1)
    mirror = bits ^ np.tile([0, 1], 32)
    plain, mirrored, distance = cdist(bits, bits, "cityblock"), cdist(bits, mirror, "cityblock"), cdist(x, x)
    scale_h, scale_d = (
        np.sort(d + np.diag([-1.0] * len(d)), axis=1)[:, duplicates.NEIGHBOUR] for d in (plain, distance)
    )
    near = np.zeros(plain.shape, bool)
    for most_bits, most_distance, both in duplicates.RULES:
        h = np.minimum(plain, mirrored) if both else plain
        close = (h + duplicates.SLACK) / np.minimum.outer(scale_h, scale_h) <= most_bits
        if not both:
            close &= plain <= duplicates.RESAVED_BITS
        near |= close & (distance / np.minimum.outer(scale_d, scale_d) <= most_distance)
    return {(int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(near, 1)), strict=True)}


@pytest.mark.parametrize("dimensions", [48, 496])
def test_search_equals_brute_force(garments, dimensions: int) -> None:
    pictures = garments.pictures[:150]
    pictures = [*pictures, *(cropped(p, 0.08) for p in pictures), *(np.ascontiguousarray(p[:, ::-1]) for p in pictures)]
    hashes, vectors = hashes_of(pictures), vectors_of(pictures)[:, -dimensions:]
    pairs, distance = duplicates.near_copies(hashes, vectors)
    expected = brute_force(hashes, vectors)
    got = set(map(tuple, pairs.tolist()))
    assert len(expected) > 80
    # the yardstick of a projection is a little longer or shorter than that of whole vectors
    assert len(got ^ expected) <= (0 if dimensions <= duplicates.DIMENSIONS else 0.05 * len(expected))
    assert (distance >= 0).all()
    half = duplicates.near_copies(hashes, vectors.astype(np.float16))[0]
    assert len(got ^ set(map(tuple, half.tolist()))) <= 0.02 * len(got)


def test_equal_bands_miss_nothing() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (2000, 8), np.uint8)
    for row in range(0, 400, 2):
        hashes[row + 1] = hashes[row]
        for bit in rng.choice(64, rng.integers(0, 4), replace=False):
            hashes[row + 1, bit // 8] ^= np.uint8(1 << (bit % 8))
    bits = np.unpackbits(hashes, axis=1)
    a, b = np.nonzero(np.triu(cdist(bits, bits, "cityblock") <= 2, 1))
    got = duplicates._same_band(hashes, np.arange(2000), 2)
    np.testing.assert_array_equal(got, np.stack([a, b], axis=1))
    assert len(got) > 100


def test_projection_never_lengthens(garments) -> None:
    x = vectors_of(garments.pictures[:300])
    basis = duplicates._leading(x)
    np.testing.assert_allclose(basis.T @ basis, np.eye(duplicates.DIMENSIONS), atol=1e-5)
    assert (cdist(x @ basis, x @ basis) <= cdist(x, x) * (1 + 1e-5) + 1e-2).all()
    best = np.linalg.svd(x, compute_uv=False)[: duplicates.DIMENSIONS]
    assert np.linalg.norm(x @ basis) >= 0.995 * np.linalg.norm(best)


def test_small_digits_do_not_collapse() -> None:
    source = load_digits()
    pictures = [np.repeat((d * 15.9375).astype(np.uint8)[..., None], 3, 2) for d in source.images]
    vectors = source.data.astype(np.float32)
    for known in (vectors, None):
        clusters, found = duplicates.find(table_of(len(pictures)), hashes_of(pictures), known)
        sizes = np.bincount(clusters)
        assert sizes.max() <= 8
        assert (sizes > 1).sum() <= 0.02 * len(pictures)
        assert {f.severity for f in found} <= {"info"}


def test_a_thousand_copies_become_one_cluster(garments) -> None:
    """A picture saved a thousand times under other names and qualities is one cluster and no quadratic list."""
    rng = np.random.default_rng(0)
    base, others = vectors_of(garments.pictures[:1]), vectors_of(garments.pictures[1:600])
    many = base + rng.normal(0, 0.2, (3000, base.shape[1])).astype(np.float32)
    points = np.concatenate([others, many])
    pairs = duplicates._within(points, np.full(len(points), 20, np.float32))
    clusters = duplicates.connected(len(points), pairs)
    assert len(set(clusters[599:].tolist())) == 1
    assert len(pairs) < 60 * len(points)


def test_clusters_are_named_by_their_smallest_row() -> None:
    pairs = np.array([[4, 2], [2, 7], [5, 6]])
    assert duplicates.connected(8, pairs).tolist() == [0, 1, 2, 3, 2, 5, 5, 2]
    assert duplicates.connected(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]


def distinct(n: int) -> Hashes:
    return np.random.default_rng(0).integers(0, 256, (n, 8), np.uint8)


def test_exact_copies_are_told_apart_by_what_is_wrong_with_them() -> None:
    digests = ["x", "x", "x", "y", "y", "z", "z", "", "", "q", "q"]
    splits = ["train", "train", "test", "train", "train", "train", "train", "train", "test", "", "test"]
    labels = [(0,), (0,), (0,), (0,), (1,), (2,), (2,), (0,), (0,), (1,), ()]
    hashes = distinct(11)
    clusters, found = duplicates.find(table_of(11, digests=digests, labels=labels, splits=splits), hashes)
    assert clusters.tolist() == [0, 0, 0, 3, 3, 5, 5, 7, 8, 9, 9]
    by_kind = kinds(found)
    assert {kind: (f.severity, pairs_of(f)) for kind, f in by_kind.items()} == {
        "duplicate_across_classes": ("serious", [(3, 4)]),
        "duplicate_across_splits": ("serious", [(0, 2), (1, 2)]),
        "duplicate": ("info", [(0, 1), (5, 6)]),
    }
    assert by_kind["duplicate_across_splits"].numbers == {"pairs": 2, "images": 3, "validation": 0, "test": 1}
    assert "1 in test" in by_kind["duplicate_across_splits"].message
    assert "different labels" in by_kind["duplicate_across_classes"].message


def test_near_copies_are_told_apart_too(garments) -> None:
    originals = garments.pictures[:240]
    pictures = [*originals, *(recompressed(p) for p in originals[:4]), originals[3]]
    n = len(pictures)
    labels: list[tuple[int, ...]] = [(0,)] * n
    splits = ["train"] * n
    labels[241] = (1,)
    splits[242] = splits[244] = "validation"
    digests = [str(i) for i in range(n)]
    digests[244] = digests[3]  # 3 and 244 are one file in two splits; 243 is a near copy of both
    clusters, found = duplicates.find(
        table_of(n, digests=digests, labels=labels, splits=splits), hashes_of(pictures), vectors_of(pictures)
    )
    assert clusters[240:].tolist() == [0, 1, 2, 3, 3]
    by_kind = kinds(found)
    assert pairs_of(by_kind["near_duplicate_across_classes"]) == [(1, 241)]
    assert set(pairs_of(by_kind["near_duplicate_across_splits"])) == {(2, 242), (243, 244)}
    assert pairs_of(by_kind["duplicate_across_splits"]) == [(3, 244)]
    assert pairs_of(by_kind["near_duplicate"]) == [(0, 240)]
    assert by_kind["near_duplicate_across_splits"].severity == "serious"
    assert by_kind["near_duplicate_across_classes"].severity == "warning"


def test_no_label_contradicts_only_where_none_is_an_answer() -> None:
    for task, contradictory in (("multiclass", False), ("multilabel", True)):
        table = table_of(2, digests=["x", "x"], labels=[(0,), ()], task=task)
        found = kinds(duplicates.find(table, distinct(2))[1])
        assert ("duplicate_across_classes" in found) is contradictory
    table = table_of(2, digests=["x", "x"], labels=[(0, 1), (1, 0)], task="multilabel")
    assert set(kinds(duplicates.find(table, distinct(2))[1])) == {"duplicate"}


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_rows(n: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((n, 100)).astype(np.float32)
    clusters, found = duplicates.find(table_of(n), distinct(n), vectors)
    assert clusters.dtype == np.int64
    assert clusters.tolist() == list(range(n))
    assert found == []


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="3 rows"):
        duplicates.find(table_of(3), distinct(2))
    with pytest.raises(ValueError, match="3 rows"):
        duplicates.find(table_of(3), distinct(3), np.zeros((2, 4), np.float32))


@pytest.mark.slow
def test_60_000_digits_fit_in_time_and_memory_and_stay_apart(clothing: Path) -> None:
    """MNIST: many look-alikes, no copies by design; vectors as wide as those of the standard backbone."""
    file = clothing.parent / "mnist" / "train-images-idx3-ubyte.gz"
    if not file.exists():
        pytest.skip(f"MNIST is not beside the checkout ({file})")
    digits = np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    hashes = hashes_of([np.repeat(d[..., None], 3, 2) for d in digits])
    mixing = np.random.default_rng(0).standard_normal((784, 1904)).astype(np.float32) / 28
    vectors = np.empty((len(digits), 1904), np.float16)
    for start in range(0, len(digits), 4096):
        vectors[start : start + 4096] = digits[start : start + 4096].reshape(-1, 784).astype(np.float32) / 255 @ mixing
    tracemalloc.start()
    clusters, _ = duplicates.find(table_of(len(digits)), hashes, vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sizes = np.bincount(clusters)
    assert peak < 300e6
    assert sizes.max() <= 0.005 * len(digits)
    assert sizes[sizes > 1].sum() <= 0.1 * len(digits)


@pytest.mark.slow
def test_altered_files_are_found_through_the_real_backbone(clothing: Path, tmp_path: Path) -> None:
    """Files altered at their own size, through decoder, store and the packaged network, between 400 other photos."""
    from visum.data import load
    from visum.models import embed, weights

    files = sorted(clothing.glob("validation/*/*.jpg"))
    names = []
    for number, file in enumerate([*files, *sorted(clothing.glob("train/*/*.jpg"))[::8]]):
        names.append(f"{number}.jpg")
        (tmp_path / names[-1]).write_bytes(file.read_bytes())
    alter: dict[str, tuple[Callable[[Image.Image], Image.Image], int, float]] = {
        "recompressed": (lambda i: i, 30, 0.98),
        "resized": (lambda i: i.resize((i.width // 3, i.height // 3)), 90, 0.95),
        "cropped": (
            lambda i: i.crop((i.width // 40, i.height // 40, i.width * 39 // 40, i.height * 39 // 40)),
            90,
            0.9,
        ),
        "brightened": (lambda i: i.point(lambda v: min(255, round(v * 1.2) + 8)), 90, 0.85),
        "mirrored": (lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 95, 0.9),
    }
    originals = range(0, 340, 2)
    for name, (change, quality, _) in alter.items():
        for number in originals:
            names.append(f"{name}{number}.jpg")
            change(Image.open(tmp_path / f"{number}.jpg").convert("RGB")).save(tmp_path / names[-1], quality=quality)
    backbone = weights.find()
    preprocess = backbone.preprocess
    table, bad = load.index(manifest(tmp_path, "multiclass", ["a", "b"], names, [(0,)] * len(names)), preprocess)
    assert not bad
    hashes = hashes_of(list(load.pictures(table, preprocess)))
    vectors = embed.embed(table, embed.Network(backbone, preprocess))["plain"].vectors
    clusters, found = duplicates.find(table, hashes, vectors)
    at = {name: clusters[row] for row, name in enumerate(table.ids)}
    got = {k: np.mean([at[f"{k}{n}.jpg"] == at[f"{n}.jpg"] for n in originals]) for k in alter}
    assert all(got[name] >= recall for name, (_, _, recall) in alter.items()), got
    owner = [int("".join(c for c in name if c.isdigit())) for name in kinds(found)["near_duplicate"].ids]
    assert np.mean(np.array(owner[::2]) == np.array(owner[1::2])) >= 0.97
