"""Training pictures for a server: what is written comes back, what was tampered with does not, nearest is nearest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visum.errors import CorruptFile, VisumError
from visum.ship import gallery

DRAW = np.random.default_rng(0)


def made(n: int = 9, d: int = 6) -> gallery.Gallery:
    x = DRAW.normal(size=(n, d)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    digests = tuple(f"{k:064x}" for k in range(n))
    mean, scale = DRAW.normal(size=d).astype(np.float32), DRAW.uniform(0.2, 3, d).astype(np.float32)
    return gallery.Gallery(
        "space", mean, scale, x, tuple("ab"[k % 2] for k in range(n)), digests, {g: g.encode() for g in digests}
    )


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = made()
    gallery.write(before, tmp_path / gallery.FILE)
    after = gallery.read(tmp_path / gallery.FILE)
    assert (after.space, after.labels, after.digests) == (before.space, before.labels, before.digests)
    assert dict(after.jpegs) == dict(before.jpegs)
    np.testing.assert_allclose(after.vectors, before.vectors, atol=1e-3)
    np.testing.assert_array_equal(after.mean, before.mean)


@pytest.mark.parametrize("count", [3, 9, 20])
def test_nearest_is_by_cosine_of_standardised_columns(count: int) -> None:
    some = made()
    features = DRAW.normal(size=6)
    x = (features - some.mean) * some.scale
    far = {g: 1 - float(v @ x) / float(np.linalg.norm(x)) for g, v in zip(some.digests, some.vectors, strict=True)}
    found = gallery.nearest(some, features, count)
    assert [digest for _, _, digest in found] == sorted(far, key=lambda g: far[g])[:count]
    assert [d for _, d, _ in found] == pytest.approx(sorted(far.values())[:count], abs=1e-5)
    assert found[0][0] == some.labels[some.digests.index(found[0][2])]


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    path = tmp_path / gallery.FILE
    for bad in (
        replace(made(), labels=("a",)),
        replace(made(), mean=np.zeros(5, np.float32)),
        replace(made(), vectors=np.full((9, 6), np.nan, np.float32)),
    ):
        gallery.write(bad, path)
        with pytest.raises(CorruptFile, match="not what visum wrote"):
            gallery.read(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(VisumError):
        gallery.read(path)


def test_larger_than_a_server_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.write(made(), tmp_path / gallery.FILE)
    monkeypatch.setattr(gallery, "MOST_BYTES", 100)
    with pytest.raises(VisumError, match="larger than"):
        gallery.read(tmp_path / gallery.FILE)
