"""Several pictures in one request (``multipart/form-data``, RFC 7578), read as they come and bounded as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from visum.serve.limits import Limits
from visum.serve.refusal import Refusal

HEAD = 4096
"""Bytes of a part's headers."""
NAME = 255
"""Characters of a file's name that are kept."""


@dataclass
class Part:
    """One file: its name as the client calls it, and its bytes."""

    name: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class _Reader:
    """Hears of what the parser finds."""

    most: int
    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    _field: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _head: int = 0

    def on_part_begin(self) -> None:
        if len(self.parts) >= self.most:
            raise Refusal(413, f"More than {self.most} files in one request", "several requests", close=True)
        self.parts.append(Part(str(len(self.parts))))
        self._head = 0

    def on_header_begin(self) -> None:
        self._field.clear()
        self._value.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._more(end - start)
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._more(end - start)
        self._value += data[start:end]

    def on_header_end(self) -> None:
        name, value = bytes(self._field).lower(), bytes(self._value)
        if name == b"content-disposition":
            options = parse_options_header(value)[1]
            called = options.get(b"filename") or options.get(b"name") or b""
            text = called.decode("utf-8", "replace")
            self.parts[-1].name = "".join(c if c.isprintable() else "�" for c in text)[:NAME] or self.parts[-1].name
        elif name == b"content-encoding" or (name == b"content-transfer-encoding" and value.lower() not in PLAIN):
            raise Refusal(415, "Parts are not read in another encoding", "the bytes of each file", close=True)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += memoryview(data)[start:end]

    def on_end(self) -> None:
        self.ended = True

    def _more(self, count: int) -> None:
        self._head += count
        if self._head > HEAD:
            raise Refusal(400, "The headers of a part are too long", close=True)


PLAIN = (b"binary", b"8bit", b"7bit")


async def parts(kind: str, body: AsyncIterator[bytes], limits: Limits) -> list[Part]:
    """The files of a request.

    Args:
        kind: its content type, with the boundary.
        body: its bytes as they come.
        limits: of files; bytes are counted by who gives ``body``.

    Raises:
        Refusal: 400 where it is no such form, 413 with too many files.
    """
    boundary = parse_options_header(kind.encode("latin-1", "replace"))[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise Refusal(400, "The form has no boundary", "curl -F file=@photo.jpg", close=True)
    reader = _Reader(limits.files)
    names = [name for name in vars(_Reader) if name.startswith("on_")]
    try:
        parser = MultipartParser(boundary, {name: getattr(reader, name) for name in names})  # type: ignore[arg-type]
        async for chunk in body:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, "The form is not well made", "curl -F file=@photo.jpg", close=True) from error
    if not reader.ended:
        raise Refusal(400, "The form ends too early", "curl -F file=@photo.jpg")
    if not reader.parts:
        raise Refusal(400, "The form has no files", "curl -F file=@photo.jpg")
    return reader.parts
