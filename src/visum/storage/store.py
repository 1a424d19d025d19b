"""The content-addressed store of pixels and embeddings: rows of numbers under the digest of what they were made from.

The store is a folder of *spaces* (one per kind of row, e.g. pixels at 224 px, or embeddings of one network at one size).
A space is a folder of *segments*: ``NAME.data`` (rows end to end, memory-mapped) and ``NAME.index`` (for each row its key,
place, shape and CRC-32; then a CRC-32 of all of this). A segment exists once its index does, and is never changed after, so
that any number of processes read and write without locks; eviction deletes whole segments, least recently used first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from visum.errors import CorruptFile, StorageError, UsageError
from visum.storage.files import explained, write_atomic

SEGMENT_BYTES = 256 << 20
DEFAULT_CACHE_GB = 20.0
_INDEX = np.dtype([("key", "V32"), ("offset", "<u8"), ("shape", "<u4", 3), ("crc", "<u4")])


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def cache_folder() -> Path:
    """``VISUM_CACHE``, or the user's cache folder where the platform puts it."""
    if chosen := os.environ.get("VISUM_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("visum", appauthor=False)


def cache_limit() -> int:
    """Bytes that the store may hold: ``VISUM_CACHE_GB`` (default 20)."""
    text = os.environ.get("VISUM_CACHE_GB", "")
    try:
        return int(float(text or DEFAULT_CACHE_GB) * 1e9)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"VISUM_CACHE_GB is {text!r}", allowed="a number of gigabytes", next="unset VISUM_CACHE_GB"
        ) from error


class Space:
    """One kind of row, keyed by hex SHA-256 of what it was made from.

    Args:
        folder: the space's own folder; made on the first write.
        dtype: of all rows.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)
        self._places: dict[bytes, tuple[int, int]] = {}
        self._indexes: list[NDArray[Any]] = []
        self._maps: list[NDArray[np.uint8]] = []
        self._names: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        """See segments that were written since, by this process or another."""
        if not os.path.isdir(self.folder):  # noqa: PTH112 - unlike pathlib's, never raises
            return
        for path in sorted(self.folder.glob("*.index")):
            if path.stem not in self._names:
                self._open(path)

    def _open(self, path: Path) -> None:
        try:
            blob = path.read_bytes()
            data = path.with_suffix(".data")
            raw = np.memmap(data, np.uint8, "r") if data.stat().st_size else np.zeros(0, np.uint8)
        except FileNotFoundError:  # evicted at this moment, or half of it is gone
            self._drop(path.stem)
            return
        except OSError:
            return  # it may be whole: what cannot be read now is not ours to delete
        rows, crc = blob[:-4], blob[-4:]
        index = np.frombuffer(rows[: len(rows) // _INDEX.itemsize * _INDEX.itemsize], _INDEX)
        if crc != _crc(rows) or (len(index) and self._end(index[-1]) > len(raw)):
            self._drop(path.stem)  # cut short or damaged: as if it were not there, and made anew
            return
        with contextlib.suppress(OSError):
            os.utime(path)
        number = len(self._indexes)
        self._indexes.append(index)
        self._maps.append(raw)
        self._names.append(path.stem)
        self._places.update({key.tobytes(): (number, row) for row, key in enumerate(index["key"])})

    def _drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            for end in (".index", ".data"):
                (self.folder / name).with_suffix(end).unlink(missing_ok=True)

    def _end(self, row: Any) -> int:
        shape = row["shape"][row["shape"] > 0].astype(np.int64)  # axes that a row does not have are written as 0
        return int(row["offset"]) + int(np.prod(shape)) * self.dtype.itemsize

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, key: str) -> NDArray[Any]:
        """One row as it was added (a view into the map), its CRC checked.

        Raises:
            KeyError: no such row.
            CorruptFile: the bytes changed on disk; the segment is dropped, so that a second try makes it anew.
        """
        number, at = self._places[bytes.fromhex(key)]
        row = self._indexes[number][at]
        raw = self._maps[number][int(row["offset"]) : self._end(row)]
        if zlib.crc32(raw.data) != int(row["crc"]):
            name = self._names[number]
            self._drop(name)
            self._places.pop(bytes.fromhex(key), None)  # another thread may have found out at the same time
            raise CorruptFile(
                f"{self.folder / name}.data has changed on disk", next="the same command again; it is remade"
            )
        shape = tuple(int(s) for s in row["shape"] if s)
        return raw.view(self.dtype).reshape(shape)

    def gather(self, keys: Sequence[str]) -> NDArray[Any]:
        """Rows of one shape, stacked: ``[len(keys), …]``. Over 256 MB the result lives in an unlinked file, not in memory."""
        if not keys:
            return np.zeros((0, 0), self.dtype)
        first = self.read(keys[0])
        shape = (len(keys), *first.shape)
        if first.nbytes * len(keys) <= SEGMENT_BYTES:
            return self._stack(keys, np.empty(shape, self.dtype))
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # a disk that fills up under a map would kill the process
                    os.posix_fallocate(file.fileno(), 0, first.nbytes * len(keys))
                self._stack(keys, np.memmap(file, self.dtype, "w+", shape=shape))
                return np.memmap(file, self.dtype, "r+", shape=shape)  # mapped afresh: no page of it is in memory yet

    def _stack(self, keys: Sequence[str], out: NDArray[Any]) -> NDArray[Any]:
        for at, key in enumerate(keys):
            out[at] = self.read(key)
        return out

    def writer(self) -> Writer:
        """A context manager with ``add(key, row)``; segments are kept as they fill, so an interruption loses little."""
        return Writer(self)


class Writer:
    """Adds rows to a space; made by ``Space.writer``."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._file: IO[bytes] | None = None
        self._draft: Path | None = None
        self._final: Path | None = None
        self._rows: list[tuple[bytes, int, tuple[int, ...], int]] = []
        self._offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None and issubclass(kind, (StorageError, OSError)):
            self._discard()
        else:
            self._keep()

    def add(self, key: str, row: NDArray[Any]) -> None:
        """Append one row of the space's dtype with at most three axes, none empty."""
        space = self._space
        row = np.ascontiguousarray(row, space.dtype)
        with explained(space.folder):
            if self._file is None:
                space.folder.mkdir(parents=True, exist_ok=True)
                name = uuid.uuid4().hex
                self._final = space.folder / f"{name}.data"
                self._draft = space.folder / f"{name}.tmp"
                self._file = self._draft.open("wb", buffering=1 << 20)
            raw = row.reshape(-1).view(np.uint8)
            try:
                self._file.write(raw.data)
            except OSError:
                self._discard()
                raise
        shape = (*row.shape, 0, 0, 0)[:3]
        self._rows.append((bytes.fromhex(key), self._offset, shape, zlib.crc32(raw.data)))
        self._offset += raw.nbytes
        if self._offset >= SEGMENT_BYTES:
            self._keep()

    def _keep(self) -> None:
        if self._file is None or self._draft is None or self._final is None:
            return
        with explained(self._final):
            try:
                self._file.close()
                self._draft.rename(self._final)
                rows = np.array(self._rows, dtype=_INDEX).tobytes()
                write_atomic(self._final.with_suffix(".index"), rows + _crc(rows))
            except BaseException:
                self._discard()
                raise
        self._begin()
        self._space.refresh()

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        for path in (self._draft, self._final):
            if path is not None:
                path.unlink(missing_ok=True)
        self._begin()

    def _begin(self) -> None:
        self._file, self._draft, self._final = None, None, None
        self._rows, self._offset = [], 0


def space(name: str, dtype: str) -> Space:
    """The space of that name (file-name characters only) in the cache folder."""
    return Space(cache_folder() / "store" / name, dtype)


def evict(limit: int | None = None) -> int:
    """Delete what was used longest ago until the cache fits ``limit`` bytes; returns the bytes freed.

    Segments of the store and unpacked archives are weighed alike. What killed writers left behind goes first, once it is a
    day old. Maps that other processes hold open stay readable until they close.
    """
    limit = cache_limit() if limit is None else limit
    folder = cache_folder() / "store"
    for path in chain(folder.glob("*/*.tmp"), folder.glob("*/*.data")):
        with contextlib.suppress(OSError):
            if not path.with_suffix(".index").exists() and time.time() - path.stat().st_mtime > 86400:
                path.unlink()
    held: list[tuple[float, int, Path]] = []
    for index in folder.glob("*/*.index"):
        with contextlib.suppress(OSError):
            size = index.stat().st_size + index.with_suffix(".data").stat().st_size
            held.append((index.stat().st_mtime, size, index))
    for archive in (cache_folder() / "archives").glob("[0-9a-f]*"):
        with contextlib.suppress(OSError):
            held.append((archive.stat().st_mtime, _bytes_below(archive), archive))
    total, freed = sum(size for _, size, _ in held), 0
    for _, size, path in sorted(held):
        if total - freed <= limit:
            break
        with contextlib.suppress(OSError):
            if path.suffix == ".index":
                path.unlink()
                path.with_suffix(".data").unlink()
            else:
                shutil.rmtree(path)
            freed += size
    return freed


def _bytes_below(folder: Path) -> int:
    total, ahead = 0, [str(folder)]
    while ahead:
        with os.scandir(ahead.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
