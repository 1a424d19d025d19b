"""Bytes of compressed files, taken piece by piece, in bounded memory and up to a stated length."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

_XZ_MEMORY = 256 << 20  # xz -9 needs 65 MB; a file may state 4 GB
_KEPT = 32 << 10  # of the last bytes given out


class Readable(Protocol):
    """Whatever gives its next bytes, at most so many, and none at its end."""

    def read(self, size: int, /) -> bytes: ...


class TooMuch(Exception):
    """More bytes came out of a stream than were allowed; the text says why they were limited."""


class Metered:
    """A stream that stops with ``TooMuch`` at a limit for all of it, and at one that is set anew for each part.

    Attributes:
        total: bytes given out so far.
    """

    def __init__(self, stream: Readable, limit: int, why: str) -> None:
        self.total = 0
        self._stream, self._limit, self._why = stream, limit, why
        self._until, self._part = limit, why
        self._tail = b""

    def allow(self, size: int, why: str) -> None:
        """From here on, ``size`` more bytes may be read."""
        self._until, self._part = self.total + size, why

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end.

        Raises:
            TooMuch: a limit is passed.
        """
        piece = self._stream.read(size)
        self.total += len(piece)
        if self.total > self._limit:
            raise TooMuch(self._why)
        if self.total > self._until:
            raise TooMuch(self._part)
        self._tail = (self._tail + piece)[-_KEPT:]
        return piece

    def recent(self, start: int, size: int) -> bytes:
        """Bytes that were given out a moment ago (within the last 32 kB), by their place in the stream."""
        at = start - self.total + len(self._tail)
        return self._tail[max(at, 0) : max(at + size, 0)]


class _Xz:
    """xz with a memory limit, which ``lzma.open`` does not have; several streams end to end are one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
        self._ended = False

    def read(self, size: int, /) -> bytes:
        while not self._ended:
            if self._decoder.eof:
                self._next_stream()
                continue
            data = self._file.read(1 << 16) if self._decoder.needs_input else b""
            if not data and self._decoder.needs_input:
                raise EOFError("the compressed data ends before its end mark")
            if piece := self._decoder.decompress(data, size):
                return piece
        return b""

    def _next_stream(self) -> None:
        rest = self._decoder.unused_data.lstrip(b"\0")  # streams may be padded with zeros
        while not rest and (piece := self._file.read(1 << 16)):
            rest = piece.lstrip(b"\0")
        self._ended = not rest
        if rest:
            self._file.seek(-len(rest), io.SEEK_CUR)
            self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)


@contextlib.contextmanager
def decompressed(path: str) -> Iterator[Readable]:
    """The bytes of a file, unpacked if they are gzip, bzip2 or xz, else as they are."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Path(path).open("rb"))
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            yield stack.enter_context(gzip.GzipFile(fileobj=file))
        elif head.startswith(b"BZh"):
            yield stack.enter_context(bz2.BZ2File(file))
        elif head == b"\xfd7zXZ\0":
            yield _Xz(file)
        else:
            yield file
