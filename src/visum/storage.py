"""Bytes on disk: atomic writes, digests, locks, and the content-addressed store of pixels and embeddings.

The store is a folder of *spaces* (one per kind of row, e.g. pixels at 224 px, or embeddings of one network at one size).
A space is a folder of *segments*: ``NAME.data`` (rows end to end, memory-mapped) and ``NAME.index`` (for each row its key,
place, shape and CRC-32). A segment exists once its index does, and is never changed after, so that any number of processes
read and write without locks; eviction deletes whole segments, least recently used first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from visum.errors import CorruptFile, Locked, StorageError

_SEGMENT_BYTES = 256 << 20
_INDEX = np.dtype([("key", "V32"), ("offset", "<u8"), ("shape", "<u4", 3), ("crc", "<u4")])
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DEFAULT_CACHE_GB = 20.0


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns the operating system's errors about writing into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"no space left while writing {path}",
                next="free some space (or set VISUM_CACHE to a larger disk); what was finished before is intact",
            ) from error
        if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)) or error.errno == errno.EROFS:
            raise StorageError(
                f"cannot write {path}: {os.strerror(error.errno or 0).lower()}",
                allowed="a folder that you may write to",
                next="another --out, or VISUM_CACHE for the cache",
            ) from error
        raise


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write a whole file or nothing: a temporary sibling, flushed to disk, renamed over ``path``.

    Raises:
        StorageError: disk full or not writable; the previous file is intact and no partial file is left.
    """
    path = Path(path)
    blob = data.encode() if isinstance(data, str) else data
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # noqa: PTH101 - the name is a string from mkstemp
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, since JSON has neither."""
    write_atomic(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Build a folder aside and rename it to ``path`` when the block ends without an error.

    An older folder at ``path`` is replaced only then. Yields the temporary folder to fill.
    """
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent))
        try:
            yield draft
            draft.chmod(0o755)
            if path.exists():
                old = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.old")
                path.rename(old)
                draft.rename(path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                draft.rename(path)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Own a folder for the length of the block; the lock dies with the process, so a crash leaves none behind.

    Raises:
        Locked: another process owns it.
    """
    folder = Path(folder)
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file: IO[str] = (folder / ".lock").open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Locked(f"another run is writing to {folder}", next="wait for it, or give another --out") from error
        yield


def check_writable(folder: str | Path) -> None:
    """Fail now, before any work, if files cannot be written below ``folder`` (created if missing)."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file", allowed="a folder, new or existing", next="another --out")
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def cache_folder() -> Path:
    """``VISUM_CACHE``, or the user's cache folder where the platform puts it."""
    if chosen := os.environ.get("VISUM_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("visum", appauthor=False)


def cache_limit() -> int:
    """Bytes that the store may hold: ``VISUM_CACHE_GB`` (default 20)."""
    return int(float(os.environ.get("VISUM_CACHE_GB", DEFAULT_CACHE_GB)) * 1e9)


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
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.index")):
            if path.stem not in self._names:
                self._open(path)

    def _open(self, path: Path) -> None:
        try:
            index = np.load(path, allow_pickle=False)
            data = path.with_suffix(".data")
            raw = np.memmap(data, np.uint8, "r") if data.stat().st_size else np.zeros(0, np.uint8)
            whole = index.dtype == _INDEX and (not len(index) or int(self._end(index[-1])) == len(raw))
        except (OSError, ValueError, EOFError):
            whole = False
        if not whole:  # cut short or damaged: as if it were not there, and made anew
            for end in (".index", ".data"):
                path.with_suffix(end).unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError):
            os.utime(path)
        number = len(self._indexes)
        self._indexes.append(index)
        self._maps.append(raw)
        self._names.append(path.stem)
        self._places.update({key.tobytes(): (number, row) for row, key in enumerate(index["key"])})

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
        if zlib.crc32(raw) != int(row["crc"]):
            name = self._names[number]
            for end in (".index", ".data"):
                (self.folder / name).with_suffix(end).unlink(missing_ok=True)
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
        if first.nbytes * len(keys) > _SEGMENT_BYTES:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                out: NDArray[Any] = np.memmap(file, self.dtype, "w+", shape=shape)
        else:
            out = np.empty(shape, self.dtype)
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
        self._draft = self._final = Path()
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
        with _explained(space.folder):
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
        if self._offset >= _SEGMENT_BYTES:
            self._keep()

    def _keep(self) -> None:
        if self._file is None:
            return
        with _explained(self._final):
            try:
                self._file.close()
                self._draft.rename(self._final)
                index = np.array(self._rows, dtype=_INDEX)
                blob = io.BytesIO()
                np.save(blob, index, allow_pickle=False)
                write_atomic(self._final.with_suffix(".index"), blob.getvalue())
            except BaseException:
                self._discard()
                raise
        self._file, self._rows, self._offset = None, [], 0
        self._space.refresh()

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._draft.unlink(missing_ok=True)
        if self._final.suffix:
            self._final.unlink(missing_ok=True)
        self._file, self._rows, self._offset = None, [], 0


def space(name: str, dtype: str) -> Space:
    """The space of that name (file-name characters only) in the cache folder."""
    return Space(cache_folder() / "store" / name, dtype)


def evict(limit: int | None = None) -> int:
    """Delete least recently used segments until the store fits ``limit`` bytes; returns the bytes freed.

    Abandoned drafts older than a day go first. Maps that other processes hold open stay readable until they close.
    """
    limit = cache_limit() if limit is None else limit
    folder = cache_folder() / "store"
    if not folder.is_dir():
        return 0
    for draft in folder.glob("*/*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > 86400:
                draft.unlink()
    segments: list[tuple[float, int, Path]] = []
    for index in folder.glob("*/*.index"):
        with contextlib.suppress(OSError):
            size = index.stat().st_size + index.with_suffix(".data").stat().st_size
            segments.append((index.stat().st_mtime, size, index))
    total, freed = sum(size for _, size, _ in segments), 0
    for _, size, index in sorted(segments):
        if total - freed <= limit:
            break
        with contextlib.suppress(OSError):
            index.unlink()
            index.with_suffix(".data").unlink()
            freed += size
    return freed
