"""The record format of LevelDB's log, in which W&B and SwanLab keep a run."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")  # checksum, length, type
_WHOLE, _LAST = 1, 4


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the whole records of a file, up to the first torn one; both begin with a header of seven bytes."""
    data = path.read_bytes()
    position, parts = _HEADER.size, b""
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if kind == 0 or position + length > len(data):
            return
        parts += data[position : position + length]
        position += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
