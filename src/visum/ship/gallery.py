"""Training pictures that a server may show beside an answer: embeddings, labels and small pictures in one safetensors file.

Written only when somebody asks for it, since it holds pictures of people's data; read whole at the start, within bounds, and
never looked at by name again: a small picture is found by its digest in a dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import safefile, storage
from visum.errors import BundleError, CorruptFile
from visum.models import pools
from visum.types import Bundle, Floats, digest_of

FILE = "neighbours.safetensors"
MOST, MOST_BYTES = 20_000, 512 << 20
"""Pictures, and bytes of the file, that a server takes."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Gallery:
    """Training pictures as one network sees them.

    Attributes:
        space: digest of that network and of the columns that its head sees (``space_of``).
        mean, scale: float32 ``[D]``: columns are standardised by these.
        vectors: float32 ``[N, D]``, standardised and of length 1.
        labels: as they are written in the data.
        digests: hex SHA-256 of the files.
        jpegs: digest → a small JPEG.
    """

    space: str
    mean: Floats
    scale: Floats
    vectors: Floats
    labels: tuple[str, ...]
    digests: tuple[str, ...]
    jpegs: Mapping[str, bytes]


def space_of(bundle: Bundle) -> str:
    """Digest of what decides where a picture lies: network, preprocessing, columns. "" for a bundle without one network."""
    if bundle.architecture.get("kind") != "probe":
        return ""
    from visum.models import weights

    backbone = weights.of_bundle(bundle)
    columns = [backbone.stages, bundle.architecture.get("columns", ""), backbone.pool or pools.MEAN]
    return digest_of([_FORMAT, backbone.digest, backbone.name, columns, bundle.preprocess.__dict__])


def write(gallery: Gallery, path: Path) -> None:
    """One file; embeddings as float16."""
    from safetensors.numpy import save

    blobs = [gallery.jpegs[digest] for digest in gallery.digests]
    facts = {"format": _FORMAT, "space": gallery.space, "labels": gallery.labels, "digests": gallery.digests}
    tensors: dict[str, NDArray[Any]] = {
        "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
        "mean": gallery.mean,
        "scale": gallery.scale,
        "vectors": gallery.vectors.astype(np.float16),
        "ends": np.cumsum([len(blob) for blob in blobs], dtype=np.int64),
        "jpegs": np.frombuffer(b"".join(blobs), np.uint8),
    }
    storage.write_atomic(path, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def read(path: Path) -> Gallery:
    """What ``write`` wrote, checked before it is believed.

    Raises:
        BundleError: larger than a server takes.
        ModelError, UnsafeFile, CorruptFile: no such file, or another kind of file.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise BundleError(f"{path} is larger than {MOST_BYTES >> 20} MB", allowed="a gallery that visum wrote")
    held = safefile.safe_tensors(path)
    try:
        facts = json.loads(held["facts"].tobytes())
        labels, digests = tuple(map(str, facts["labels"])), tuple(map(str, facts["digests"]))
        vectors = np.array(held["vectors"], np.float32)
        mean, scale = (np.array(held[name], np.float32) for name in ("mean", "scale"))
        ends = held["ends"].astype(np.int64)
        n = len(digests)
        starts = np.concatenate([[0], ends[:-1]])
        fits = n and vectors.shape == (n, len(mean)) and mean.shape == scale.shape == (len(mean),)
        if not (fits and len(labels) == len(ends) == n <= MOST and facts["format"] == _FORMAT):
            raise ValueError("its parts do not fit together")
        if (ends < starts).any() or ends[-1] != len(held["jpegs"]) or not np.isfinite(vectors).all():
            raise ValueError("its parts do not fit together")
        blob = held["jpegs"].tobytes()
        jpegs = {d: blob[a:b] for d, a, b in zip(digests, starts.tolist(), ends.tolist(), strict=True)}
        return Gallery(str(facts["space"]), mean, scale, vectors, labels, digests, jpegs)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CorruptFile(f"{path} is not what visum wrote: {error}", next="delete it, and the same again") from error


def nearest(gallery: Gallery, features: NDArray[Any], count: int) -> list[tuple[str, float, str]]:
    """(label, cosine distance 0 … 2, digest) of the pictures nearest to one, nearest first.

    Args:
        features: what the head sees of the picture, ``[D]``.
    """
    x = (np.asarray(features, np.float32) - gallery.mean) * gallery.scale
    far = 1 - gallery.vectors @ (x / max(float(np.linalg.norm(x)), 1e-12))
    some = np.argpartition(far, min(count, len(far) - 1))[:count] if len(far) > count else np.arange(len(far))
    order: Sequence[int] = some[np.argsort(far[some], kind="stable")].tolist()
    return [(gallery.labels[row], float(far[row]), gallery.digests[row]) for row in order]
