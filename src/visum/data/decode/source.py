"""Bytes of one file, taken without ever waiting for a pipe, a socket or a device."""

from __future__ import annotations

import os
import stat

from visum.data.decode import limits
from visum.errors import UnreadableImage
from visum.types import printable

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of one regular file; links are followed.

    Raises:
        UnreadableImage: missing, forbidden, not a regular file, or larger than ``MAX_BYTES``; never blocks.
    """
    name = os.fspath(path)
    try:
        _check(os.stat(name), name)  # noqa: PTH116 - before opening, since opening a device may already do something
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            size = _check(os.fstat(handle), name)
            pieces = []
            while size > 0 and (piece := file.read(size)):
                pieces.append(piece)
                size -= len(piece)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(
            words.lower(),
            path=printable(name),
            allowed="a file that can be read",
            next="another path, or other permissions",
        ) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check(status: os.stat_result, name: str) -> int:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise UnreadableImage(kind, path=printable(name), allowed="a regular file", next="the path of a picture")
    if status.st_size > limits.MAX_BYTES:
        raise UnreadableImage(
            f"too large: {status.st_size / 2**20:,.0f} MB",
            path=printable(name),
            allowed=f"files of at most {limits.MAX_BYTES // 2**20} MB",
            next="a smaller copy of the picture",
        )
    return status.st_size
