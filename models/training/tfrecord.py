"""TFRecord files of `tf.train.Example`, written without TensorFlow, which takes longer to load than a day takes to write.

The formats are TensorFlow's: https://www.tensorflow.org/tutorials/load_data/tfrecord. Reading is left to `tf.data`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from aiokafka.record.util import calc_crc32c
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto

MASK = 0xA282EAD8  # TensorFlow rotates and shifts its checksums, so that a checksum of a checksum is no special case
WORD = 2**32
# What of tensorflow/core/example/{example,feature}.proto we write; a name of its own, so that TensorFlow's may be loaded too.
MAP = {"name": "FeatureEntry", "options": {"mapEntry": True}}
MAP_FIELDS = [
    {"name": "key", "number": 1, "label": "LABEL_OPTIONAL", "type": "TYPE_STRING"},
    {"name": "value", "number": 2, "label": "LABEL_OPTIONAL", "type": "TYPE_MESSAGE", "typeName": ".tickcast.Feature"},
]


def write(path: Path, records: Iterable[bytes]) -> None:
    """Write `records` to a new file."""
    with path.open("wb") as file:
        write_to(file, records)


def write_to(file: BinaryIO, records: Iterable[bytes]) -> int:
    """Write `records` to an open file; return how many."""
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 - it is returned
        length = struct.pack("<Q", len(record))
        file.write(length + _checksum(length) + record + _checksum(record))
    return count


def example(values: Mapping[str, bytes | int]) -> bytes:
    """Return an Example whose features are a byte string or an integer each; equal values give equal bytes."""
    message = _example_class()()
    for name, value in values.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _checksum(data: bytes) -> bytes:
    crc = calc_crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK) % WORD)


@cache
def _example_class() -> Any:
    """Return the message class of an Example."""

    def message(name: str, *fields: Mapping[str, Any], **more: Any) -> Mapping[str, Any]:
        return {"name": name, "field": [{"label": "LABEL_OPTIONAL", **field} for field in fields], **more}

    def part(name: str, number: int, kind: str) -> Mapping[str, Any]:
        return {"name": name, "number": number, "type": "TYPE_MESSAGE", "typeName": f".tickcast.{kind}"}

    def values(kind: str) -> Mapping[str, Any]:
        return {"name": "value", "number": 1, "type": kind, "label": "LABEL_REPEATED"}

    entries = {**part("feature", 1, "Features.FeatureEntry"), "label": "LABEL_REPEATED"}
    file = {
        "name": "tickcast/example.proto",
        "package": "tickcast",
        "syntax": "proto3",
        "messageType": [
            message("BytesList", values("TYPE_BYTES")),
            message("Int64List", values("TYPE_INT64")),
            message("Feature", part("bytes_list", 1, "BytesList"), part("int64_list", 3, "Int64List")),
            message("Features", entries, nestedType=[{**MAP, "field": MAP_FIELDS}]),
            message("Example", part("features", 1, "Features")),
        ],
    }
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(file, FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tickcast.Example"))
