"""Event files, read back by Google's own protocol buffers and held to a published checksum."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from visum.workflow.events import Scalar, crc32c, text

POINTS = [
    Scalar(1e9 + 0.5, 0, "train_loss", 2.25),
    Scalar(1e9 + 1, 300, "Größe/é", -1e-3),
    Scalar(1e9 + 2, 2**40, "x" * 200, 0.0),
]


def event_class() -> Any:
    """``Event`` as TensorFlow declares it, the fields that are used."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event_of_a_test.proto", package="t", syntax="proto3")
    for name, fields in {
        "Value": [("tag", 1, kinds.TYPE_STRING), ("simple_value", 2, kinds.TYPE_FLOAT)],
        "Summary": [("value", 1, ".t.Value")],
        "Event": [
            ("wall_time", 1, kinds.TYPE_DOUBLE),
            ("step", 2, kinds.TYPE_INT64),
            ("file_version", 3, kinds.TYPE_STRING),
            ("summary", 5, ".t.Summary"),
        ],
    }.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            made = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if isinstance(kind, str):
                made.type, made.type_name = kinds.TYPE_MESSAGE, kind
                made.label = kinds.LABEL_REPEATED if field == "value" else kinds.LABEL_OPTIONAL
            else:
                made.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def records(blob: bytes) -> list[bytes]:
    """The records of a file, each held to its checksums by the inverse of their mask."""

    def unmasked(data: bytes) -> int:
        turned = (struct.unpack("<I", data)[0] - 0xA282EAD8) & 0xFFFFFFFF
        return turned >> 17 | turned << 15 & 0xFFFFFFFF

    found = []
    while blob:
        length = struct.unpack("<Q", blob[:8])[0]
        assert unmasked(blob[8:12]) == crc32c(blob[:8])
        data, blob = blob[12 : 12 + length], blob[12 + length :]
        assert unmasked(blob[:4]) == crc32c(data)
        found.append(data)
        blob = blob[4:]
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)],
)
def test_the_checksum_is_that_of_the_standard(data: bytes, expected: int) -> None:
    """RFC 3720, appendix B.4; the last is the check value of CRC-32C in every catalogue."""
    assert crc32c(data) == expected


def test_protocol_buffers_read_what_was_written() -> None:
    kind = event_class()
    head, *events = (kind.FromString(data) for data in records(text(POINTS, 1e9)))
    assert (head.file_version, head.wall_time) == ("brain.Event:2", 1e9)
    for event, point in zip(events, POINTS, strict=True):
        (value,) = event.summary.value
        assert (event.wall_time, event.step, value.tag) == (point.at, point.step, point.tag)
        assert value.simple_value == pytest.approx(point.value)
