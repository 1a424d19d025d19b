"""Whole files and folders or none: atomic writes, digests, locks, and the system's refusals as sentences."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from visum.errors import Locked, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CODE = re.compile(r"os error (\d+)")  # in the words of libraries written in Rust
_NAME = 40  # letters of a name that its draft keeps: four bytes each still leave room in the 255 of a file name


@contextlib.contextmanager
def explained(path: Path, variable: str = "VISUM_CACHE") -> Iterator[None]:
    """Turns the errors of the operating system, and of safetensors, about writing ``path`` into sentences.

    Args:
        path: of a file or folder.
        variable: of the environment, by which people may move it to another disk.
    """
    try:
        yield
    except Exception as error:
        from safetensors import SafetensorError

        if isinstance(error, OSError):
            code, why = error.errno, os.strerror(error.errno or 0).lower()
        elif isinstance(error, SafetensorError):
            found = _CODE.search(str(error))
            code, why = int(found[1]) if found else None, str(error)
        else:
            raise
        if code in _FULL:
            raise StorageError(
                f"no space left while writing {path}",
                next=f"free some space (or set {variable} to a larger disk); what was finished before is intact",
            ) from error
        raise StorageError(
            f"cannot write {path}: {why}",
            allowed="a folder that you may write to",
            next=f"another --out, or another {variable}",
        ) from error


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write a whole file or nothing: a temporary sibling, flushed to disk, renamed over ``path``.

    A device or a pipe (``/dev/stdout``, a FIFO) is never replaced by a file: it is written to.

    Raises:
        StorageError: disk full or not writable; the previous file is intact and no partial file is left.
    """
    path = Path(path)
    blob = data.encode() if isinstance(data, str) else data
    with explained(path):
        if flows(path):
            with path.open("ab") as flow:
                flow.write(blob)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_NAME]}.", suffix=".tmp", dir=path.parent)
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


def flows(path: Path) -> bool:
    """Whether bytes written there go somewhere else: a device, a pipe, or an open file of this process (``/dev/stdout``)."""
    if os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/")):  # noqa: PTH100 - links must stay links
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, since JSON has neither."""
    write_atomic(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """JSON-like, with NumPy's numbers as Python's, paths as text, and NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
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
    with explained(path):
        _refuse_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name[:_NAME]}.", suffix=".tmp", dir=path.parent))
    try:
        try:
            yield draft
        except OSError as error:
            if error.errno not in _FULL:
                raise  # what the block does besides writing is its own business
            with explained(path):
                raise
        with explained(path):
            draft.chmod(0o755)
            _swap(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file", allowed="a folder, new or existing", next="another --out")


def _swap(draft: Path, path: Path) -> None:
    if not path.exists():
        draft.rename(path)
        return
    old = path.with_name(f".{path.name[:_NAME]}.{uuid.uuid4().hex}.old")
    path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Own a folder for the length of the block; the lock dies with the process, so a crash leaves none behind.

    Raises:
        Locked: another process owns it.
    """
    folder = Path(folder)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file: IO[str] = (folder / ".lock").open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(f"another run is writing to {folder}", next="wait for it, or give another --out") from error
        yield


def check_writable(folder: str | Path) -> None:
    """Fail now, before any work, if files cannot be written below ``folder`` (created if missing)."""
    folder = Path(folder)
    with explained(folder):
        _refuse_file(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
