"""Each file is read, hashed and decoded once; its pixels and facts stay in the store under the digest of its bytes.

``index`` fills a manifest and the store; ``pictures`` gives pixels back in row order. Both work in parallel, in bounded
memory, and both go on where an interrupted run stopped.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np

from visum import storage
from visum.data import decode as decoder
from visum.data.pixels import pixel_key, shrink
from visum.errors import CorruptFile, UnreadableImage
from visum.runtime import Step, no_step, one_core_each, threads
from visum.types import Manifest, Pixels, Preprocess, column, rows

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_order(
    function: Callable[[_In], _Out], items: Iterable[_In], ahead: int = 4, workers: int | None = None
) -> Iterator[_Out]:
    """``map`` over a pool of threads (as many as there are cores, unless told otherwise): results in order, at most ``ahead``
    times the threads under way, none lost."""
    workers = workers or threads()
    with one_core_each(), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def ahead(items: Iterable[_In], number: int = 2) -> Iterator[_In]:
    """The same items, made on a thread of their own while the caller is busy with those before; ``number`` of them wait at most.

    An error comes out where its item would have; whoever stops early leaves no thread behind.
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[tuple[bool, _In | None]]] = deque()

        def next_one() -> tuple[bool, _In | None]:
            for item in source:
                return True, item
            return False, None

        try:
            waiting.extend(pool.submit(next_one) for _ in range(number))
            while True:
                there, item = waiting.popleft().result()
                if not there:
                    return
                waiting.append(pool.submit(next_one))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


def location(table: Manifest, row: int) -> str:
    """Absolute path of one row, as the operating system spells it."""
    return os.path.join(table.root, table.paths[row])  # noqa: PTH118 - hot path, and pathlib refuses nothing here


def pixel_space(preprocess: Preprocess) -> storage.Space:
    """Where the store keeps pictures of this geometry."""
    return storage.space(f"pixels-{preprocess.fit}{preprocess.size}-{pixel_key(preprocess)[:16]}", "uint8")


def index(
    table: Manifest, preprocess: Preprocess, *, extra_formats: Collection[str] = (), step: Step = no_step
) -> tuple[Manifest, list[UnreadableImage]]:
    """Read every file once: fill digest, size, format and notes, and put shrunken pixels into the store.

    Args:
        table: rows whose files may not have been read yet.
        preprocess: decides how large the stored pictures are.
        extra_formats: formats beyond the allow-list, e.g. ``("TIFF",)``.
        step: told of every finished image.

    Returns:
        The rows whose files could be read, filled in, in their order; and one error for each of the others
        (its ``path`` is the row's id).
    """
    space = pixel_space(preprocess)
    known = storage.space(f"facts-{pixel_key(preprocess)[:16]}", "uint8")
    allowed = {*decoder.FORMATS, *extra_formats}  # a TIFF that another run was allowed to read is not for this one

    def read(row: int) -> tuple[str, dict[str, object], Pixels | None] | UnreadableImage:
        try:
            data = decoder.read_bytes(location(table, row))
            digest = storage.digest_bytes(data)
            if digest in space and (fact := _known(known, digest)) and fact["format"] in allowed:
                return digest, fact, None
            found = decoder.decode(
                data, background=preprocess.background, shortest=preprocess.size, extra_formats=extra_formats
            )
        except UnreadableImage as error:
            return UnreadableImage(error.reason, path=table.ids[row], allowed=error.allowed, next=error.next)
        facts = {"width": found.width, "height": found.height, "format": found.format, "notes": "; ".join(found.notes)}
        return digest, facts, shrink(found.pixels, preprocess)

    kept: list[int] = []
    bad: list[UnreadableImage] = []
    digests: list[str] = []
    facts: list[dict[str, object]] = []
    new: set[str] = set()
    with space.writer() as pixels_out, known.writer() as facts_out:
        for row, result in enumerate(in_order(read, range(len(table)))):
            step(1)
            if isinstance(result, UnreadableImage):
                bad.append(result)
                continue
            digest, fact, picture = result
            kept.append(row)
            digests.append(digest)
            facts.append(fact)
            if picture is not None and digest not in new:
                new.add(digest)
                if digest not in space:
                    pixels_out.add(digest, picture)
                facts_out.add(digest, np.frombuffer(json.dumps(fact).encode(), np.uint8))
    filled = replace(
        rows(table, np.array(kept, np.int64)),
        sha256=column(digests),
        widths=np.array([fact["width"] for fact in facts], np.int32),
        heights=np.array([fact["height"] for fact in facts], np.int32),
        formats=column([str(fact["format"]) for fact in facts]),
        notes=column([str(fact["notes"]) for fact in facts]),
    )
    return filled, bad


def _known(facts: storage.Space, digest: str) -> dict[str, object] | None:
    """What the store knows of a file; None if nothing, or if its bytes were damaged on disk."""
    try:
        return dict(json.loads(facts.read(digest).tobytes()))
    except (KeyError, CorruptFile):
        return None


def picture(table: Manifest, row: int, space: storage.Space, preprocess: Preprocess) -> Pixels:
    """One stored picture, uint8 ``[h, w, 3]``; decoded again from its file if the store has dropped it.

    Raises:
        CorruptFile: the file is not the one that was indexed.
        UnreadableImage: the file is gone.
    """
    digest = table.sha256[row]
    if digest in space:
        try:
            return space.read(digest)
        except CorruptFile:
            pass  # the damaged segment is dropped; the file itself is still the truth
    data = decoder.read_bytes(location(table, row))
    if storage.digest_bytes(data) != digest:
        raise CorruptFile(
            f"{table.ids[row]} has changed since it was indexed",
            next="the same command again, once files stay unchanged",
        )
    found = decoder.decode(
        data, background=preprocess.background, shortest=preprocess.size, extra_formats=decoder.EXTRA_FORMATS
    )
    return shrink(found.pixels, preprocess)


def pictures(table: Manifest, preprocess: Preprocess) -> Iterator[Pixels]:
    """Stored pictures in row order, uint8 ``[h, w, 3]`` each, mapped and not copied."""
    space = pixel_space(preprocess)
    return (picture(table, row, space, preprocess) for row in range(len(table)))
