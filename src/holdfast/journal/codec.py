"""Records to bytes and back; see FORMAT.md."""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any, NamedTuple

from google_crc32c import value as crc32c

VERSION = 1
MAGIC = 0xA7
_HEADER_START = struct.pack("<8sH2x", b"HOLDFAST", VERSION)
HEADER = _HEADER_START + int(crc32c(_HEADER_START)).to_bytes(4, "little")
MAX_NAME_SETS = 1 << 16

_HEAD = struct.Struct("<BBIIi")
_CRC_SIZE = 4
HEAD_SIZE = _HEAD.size
OVERHEAD = HEAD_SIZE + _CRC_SIZE
# The largest record a reader believes in; a param or tag is a few kilobytes, a batch or dataset schema may be large.
MAX_PAYLOAD = 64 << 20


class Kind(IntEnum):
    """What a record holds."""

    METRICS = 1
    NAMES = 2
    METRICS_AT = 3
    ENTITIES = 4
    UPDATE = 5
    INPUTS = 6
    OUTPUTS = 7
    MODEL = 8
    DELETE_TAG = 9
    OWNED = 10
    LEFT = 11


class Frame(NamedTuple):
    """A record as it stands in a segment.

    Attributes:
        kind: A `Kind`, or a number that a later release made up.
        sequence: Its place in the segment, from 0.
        offset_ms: When it was logged, after the segment's base time.
        payload: The rest.
        start: Where it begins in what was parsed.
        end: Where it ends.
    """

    kind: int
    sequence: int
    offset_ms: int
    payload: bytes
    start: int
    end: int


def is_later(header: bytes) -> bool:
    """Whether this is the header of a segment of a later version, and not a damaged one."""
    is_whole = len(header) == len(HEADER) and crc32c(header[:12]) == int.from_bytes(header[12:], "little")
    return is_whole and header[:8] == HEADER[:8] and int.from_bytes(header[8:10], "little") > VERSION


def metrics_struct(count: int) -> struct.Struct:
    """Return what packs a metrics record of so many values, but for its CRC."""
    return struct.Struct(f"<BBIIiqH{count}d")


def metrics_at_struct(count: int) -> struct.Struct:
    """Return what packs the payload of a record of metrics at a given time."""
    return struct.Struct(f"<qqH{count}d")


def metrics_size(count: int) -> int:
    """Return the payload's size of a metrics record in bytes."""
    return 10 + 8 * count


def encode(kind: int, sequence: int, offset_ms: int, payload: bytes) -> bytes:
    """Return a whole record.

    Raises:
        struct.error: The time is more than 24 days from the segment's base time.
    """
    body = _HEAD.pack(MAGIC, kind, len(payload), sequence, offset_ms) + payload
    return body + int(crc32c(body)).to_bytes(_CRC_SIZE, "little")


def encode_names(number: int, names: tuple[str, ...]) -> bytes:
    """Return the payload that gives a set of names its number."""
    return number.to_bytes(2, "little") + to_json(list(names))


def decode_names(payload: bytes) -> tuple[int, tuple[str, ...]]:
    """Return a set of names and its number."""
    return int.from_bytes(payload[:2], "little"), tuple(json.loads(payload[2:]))


def to_json(value: Any) -> bytes:
    """Return the JSON of a payload."""
    # Escaped, so that half of a surrogate pair is written too, and refused by the server instead of here.
    return json.dumps(value, separators=(",", ":")).encode()


def parse(data: bytes, position: int) -> Frame | None:
    """Return the record at a position; None where there is none, it is damaged, or not all there."""
    body_start = position + HEAD_SIZE
    if body_start > len(data) or data[position] != MAGIC:
        return None
    _, kind, size, sequence, offset_ms = _HEAD.unpack_from(data, position)
    body_end = body_start + size
    end = body_end + _CRC_SIZE
    if size > MAX_PAYLOAD or end > len(data):
        return None
    if crc32c(data[position:body_end]) != int.from_bytes(data[body_end:end], "little"):
        return None
    return Frame(kind, sequence, offset_ms, data[body_start:body_end], position, end)


def find_next(data: bytes, position: int, above: int) -> Frame | None:
    """Return the first whole record at or after a position whose sequence is `above` or more."""
    position = data.find(MAGIC, position)
    while position >= 0:
        frame = parse(data, position)
        if frame is not None and frame.sequence >= above:
            return frame
        position = data.find(MAGIC, position + 1)
    return None
