"""Each picture passes once through the frozen backbone; every later use reads the store.

Classical descriptors and the audit's measurements are embeddings too: any pure function of one picture is run once per
picture by ``describe`` and kept under the digest of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.data import augment
from visum.data.load import in_order, picture, pixel_space
from visum.data.pixels import fit, pixel_key
from visum.models import compiled
from visum.models.weights import Backbone
from visum.runtime import Step, no_step
from visum.types import Embeddings, Floats, Manifest, Pixels, Preprocess, digest_of, rows

View = Union[str, "Augmented"]
Build = Callable[[Backbone, Preprocess, str], compiled.Engine]
_GROUP = 16
_TINY = 64
"""Pictures described per task: handing a task to another thread costs as much as a small picture."""


def plain(batch: Pixels) -> Pixels:
    """As it is."""
    return batch


def mirror(batch: Pixels) -> Pixels:
    """Left and right swapped."""
    return np.ascontiguousarray(batch[:, :, ::-1])


VIEWS: dict[str, Callable[[Pixels], Pixels]] = {"plain": plain, "mirror": mirror}
"""Deterministic views of a fitted batch uint8 ``[B, S, S, 3]``; each is embedded once and cached under its name."""


@dataclass(frozen=True)
class Augmented:
    """A view that is drawn: what ``data.augment`` makes of each picture under this seed and epoch.

    Attributes:
        steps: a preset or a list of augmentations, e.g. light, or flip,rotation.
        seed, epoch: of the draw; together with the digest of the file they decide everything.
    """

    steps: str
    seed: int
    epoch: int


@dataclass(frozen=True)
class Network:
    """A backbone with its preprocessing, compiled when the first picture needs it and not before."""

    backbone: Backbone
    preprocess: Preprocess
    engine_name: str = "auto"
    build: Build | None = None
    """What compiles it, where that is not ``compiled.engine``."""

    @cached_property
    def engine(self) -> compiled.Engine:
        """The compiled engine; a run that finds every embedding in the store never asks for it."""
        return (self.build or compiled.engine)(self.backbone, self.preprocess, self.engine_name)

    @cached_property
    def digest(self) -> str:
        """Of everything that an embedding depends on: what ``auto`` stands for here, too, since precisions differ."""
        engine, spec = compiled.resolve(self.engine_name), self.preprocess.__dict__
        ends = compiled.ends(self.backbone)
        return digest_of([compiled.GRAPH_FORMAT, self.backbone.digest, self.backbone.stages, *ends, spec, engine])


def embed(
    table: Manifest, network: Network, *, views: Sequence[View] = ("plain",), step: Step = no_step
) -> dict[View, Embeddings]:
    """Embeddings of every row under every view, from the store or computed and stored now.

    Args:
        table: indexed rows.
        network: what to run.
        views: keys of ``VIEWS``, or augmented ones.
        step: told of finished pictures (each view counts).

    Returns:
        view → float16 ``[N, D]``, rows in the table's order.
    """
    out = {}
    for view in views:
        space = _space(network, view)
        _fill(table, network, view, space, step)
        vectors = space.gather(table.sha256.tolist())
        out[view] = Embeddings(table.ids, vectors, network.backbone.digest, digest_of(network.preprocess))
    return out


def reader(
    table: Manifest, network: Network, view: View, *, step: Step = no_step
) -> Callable[[NDArray[np.int64]], NDArray[np.float16]]:
    """Like ``embed`` for one view, but nothing is gathered: a function of row numbers that reads them from the store.

    For feature maps, of which not all need to be in memory at a time.
    """
    space = _space(network, view)
    _fill(table, network, view, space, step)
    return lambda where: np.stack([space.read(table.sha256[row]) for row in where])


def missing(table: Manifest, network: Network, view: View = "plain") -> int:
    """How many files the network has not seen yet."""
    return len(_missing(table, _space(network, view)))


def no_vectors(table: Manifest) -> NDArray[np.float16]:
    """Embeddings of no columns, ``[N, 0]``: of a network that has learnt nothing yet."""
    return np.zeros((len(table), 0), np.float16)


def _space(network: Network, view: View) -> storage.Space:
    words = view if isinstance(view, str) else f"drawn-{digest_of([augment.VERSION, *astuple(view)])[:16]}"
    name = f"embed-{network.backbone.name.replace('/', '_').replace(':', '_')}-{words}-{network.digest[:16]}"
    return storage.space(name, "float16")


def _missing(table: Manifest, space: storage.Space) -> Manifest:
    """One row for each file that the space does not hold yet."""
    first = {digest: row for row, digest in reversed(list(enumerate(table.sha256))) if digest not in space}
    return rows(table, np.array(sorted(first.values()), np.int64))


def _fill(table: Manifest, network: Network, view: View, space: storage.Space, step: Step) -> None:
    todo = _missing(table, space)
    step(len(table) - len(todo))
    if not len(todo):
        return
    pixels, spec, run = pixel_space(network.preprocess), network.preprocess, network.engine.run

    def vectors(start: int) -> NDArray[np.float16]:
        stop = min(start + compiled.BATCH, len(todo))
        batch = np.empty((stop - start, spec.size, spec.size, 3), np.uint8)
        for row in range(start, stop):
            fit(picture(todo, row, pixels, spec), spec, batch[row - start])
        return stored(run(seen(batch, view, todo.sha256[start:stop].tolist(), spec)))

    done = 0
    with space.writer() as writer:
        for part in in_order(vectors, range(0, len(todo), compiled.BATCH)):
            for vector in part:
                writer.add(todo.sha256[done], vector)
                done += 1
            step(len(part))


def seen(batch: Pixels, view: View, keys: Sequence[str], preprocess: Preprocess) -> Pixels:
    """What the network is shown of fitted squares under a view.

    Args:
        batch: uint8 ``[B, S, S, 3]``.
        view: a key of ``VIEWS``, or augmented.
        keys: digests of the B files.
        preprocess: for the background.
    """
    if isinstance(view, str):
        return VIEWS[view](batch)
    return augment.augment(
        batch, view.steps, seed=view.seed, epoch=view.epoch, keys=keys, background=preprocess.background
    )


def stored(vectors: Floats) -> NDArray[np.float16]:
    """Embeddings as the store keeps them, float32 ``[N, D]`` → float16; what lies beyond its range becomes its end."""
    end = np.finfo(np.float16).max
    return np.clip(vectors, -end, end).astype(np.float16)


def describe(
    table: Manifest,
    name: str,
    function: Callable[[Pixels], NDArray[Any]],
    preprocess: Preprocess,
    *,
    dtype: str = "float32",
    square: bool = False,
    step: Step = no_step,
) -> NDArray[Any]:
    """A pure function of one picture over all rows, through the store: ``[N, D]``.

    Args:
        table: indexed rows.
        name: of the function and its version; part of the key, so change it when the function changes.
        function: uint8 ``[h, w, 3]`` → ``[D]`` of ``dtype``.
        preprocess: geometry of the pictures.
        dtype: of the result.
        square: give the function the fitted square instead of the stored picture.
        step: told of finished pictures.
    """
    space = storage.space(f"{name}-{preprocess.fit}{preprocess.size}-{pixel_key(preprocess)[:16]}", dtype)
    todo, pixels = _missing(table, space), pixel_space(preprocess)
    step(len(table) - len(todo))

    def some(start: int) -> list[NDArray[Any]]:
        small = (picture(todo, row, pixels, preprocess) for row in range(start, min(start + _GROUP, len(todo))))
        return [np.asarray(function(fit(one, preprocess) if square else one), dtype) for one in small]

    if len(todo):
        with space.writer() as writer:
            starts = range(0, len(todo), _GROUP)
            # threads that take turns at Python's own work, most of what a tiny picture costs, are slower than one of them
            workers = 1 if preprocess.size < _TINY else None
            for start, group in zip(starts, in_order(some, starts, workers=workers), strict=True):
                for row, result in enumerate(group, start):
                    writer.add(todo.sha256[row], result)
                step(len(group))
    return space.gather(table.sha256.tolist())
