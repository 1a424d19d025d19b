"""Event files of TensorBoard, written byte by byte: numbers with a step and a moment need none of its packages.

A file is a row of records: length, checksum of the length, bytes, checksum of the bytes. The bytes are a protocol buffer: an
``Event`` with ``wall_time`` (field 1), ``step`` (2), and ``file_version`` (3) or ``summary`` (5), whose ``value`` (1) has ``tag``
(1) and ``simple_value`` (2); see TensorFlow's ``event.proto``, ``summary.proto`` and ``record_writer.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

VERSION = b"brain.Event:2"
_CASTAGNOLI = 0x82F63B78


class Scalar(NamedTuple):
    """One point of a curve; ``at`` is in seconds since 1970, ``step`` >= 0."""

    at: float
    step: int
    tag: str
    value: float


def text(points: Iterable[Scalar], began: float) -> bytes:
    """The whole file.

    Args:
        points: in the order in which they are to be read.
        began: moment of the head of the file.
    """
    head = _real(1, began) + _bytes(3, VERSION)
    return b"".join(_record(event) for event in (head, *map(_event, points)))


def _event(point: Scalar) -> bytes:
    value = _bytes(1, point.tag.encode()) + _key(2, 5) + struct.pack("<f", point.value)
    return _real(1, point.at) + _key(2, 0) + _varint(point.step) + _bytes(5, _bytes(1, value))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    """The checksum as records have it: turned by 15 bits, and a constant added, so that it is none of itself."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Cyclic redundancy check by Castagnoli's polynomial (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_row, range(256)))


def _varint(number: int) -> bytes:
    low = b""
    while number > 127:
        low, number = low + bytes([number & 127 | 128]), number >> 7
    return low + bytes([number])


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _real(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value
