"""Reads segments: what was logged, and where something is damaged."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import JournalError
from holdfast.journal import codec
from holdfast.journal.codec import Frame, Kind
from holdfast.journal.filesystem import FileSystem

_CHUNK = 1 << 20
_AT = struct.Struct("<qqH")
_STEP = struct.Struct("<qH")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of one step.

    Attributes:
        names: Their names.
        values: Their values.
        step: The step.
        time_ms: Their timestamp, ms since the epoch.
        end: The offset in the segment after them.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    step: int
    time_ms: int
    end: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Anything else that was logged.

    Attributes:
        kind: What it is.
        content: Its JSON.
        time_ms: When it was logged, ms since the epoch.
        end: The offset in the segment after it.
    """

    kind: Kind
    content: Any
    time_ms: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no record.

    Attributes:
        start: Where they begin.
        end: Where the next record begins, or the segment ends.
        missing: How many records were there by the sequence; 0 where it cannot be known.
        is_tail: Whether nothing follows: most likely a record that was being written when the process was killed, and
            that was never acknowledged.
        reason: What is wrong, for people.
    """

    start: int
    end: int
    missing: int
    is_tail: bool
    reason: str


Item = Metrics | Entry | Damage


class SegmentReader:
    """Reads a segment from its beginning on, as far as it is written; call `read` again for what was appended since.

    Args:
        files: The file system.
        path: The segment.
        base_ms: Its base time.

    Attributes:
        offset: Up to where it was read.
    """

    def __init__(self, files: FileSystem, path: Path, base_ms: int) -> None:
        self.path = path
        self.offset = 0
        self._files = files
        self._base_ms = base_ms
        self._names: dict[int, tuple[str, ...]] = {}
        self._sequence = 0

    def read(self, is_closed: bool, limit_bytes: int = _CHUNK) -> list[Item]:
        """Return what follows, about `limit_bytes` of it; an empty list where nothing does.

        Args:
            is_closed: Whether nobody writes to the segment any more: what is no record at its end is damage then,
                and not a record that is being written.
            limit_bytes: How much to read at once; more where a single record is larger.

        Raises:
            JournalError: The segment was written by a later release.
            FileNotFoundError: It is gone.
        """
        items: list[Item] = []
        if self.offset == 0:
            self._pass_header()
        size = max(limit_bytes, codec.OVERHEAD)
        while True:
            data = self._files.read(self.path, self.offset, size)
            at_end = len(data) < size
            used = self._parse(data, items, at_end, is_closed)
            self.offset += used
            if items or at_end:
                return items
            if not used:
                size *= 4  # a record that is larger than what was read

    def _pass_header(self) -> None:
        header = self._files.read(self.path, 0, len(codec.HEADER))
        if codec.is_later(header):
            raise JournalError(f"{self.path} was written by a later release of Holdfast.", "pip install -U holdfast")
        if header == codec.HEADER:
            self.offset = len(header)
        # Where it is damaged, or not all there, it is bytes before the first record as others are.

    def _parse(self, data: bytes, items: list[Item], at_end: bool, is_closed: bool) -> int:
        """Read the records of a piece; return how many bytes of it are dealt with."""
        position = 0
        while position < len(data):
            frame = codec.parse(data, position)
            if frame is not None and frame.sequence == self._sequence:
                self._take(frame, items)
                position = frame.end
                continue
            found = (
                codec.find_next(data, position + 1, self._sequence) if frame is None else _later(frame, self._sequence)
            )
            if found is not None:
                items.append(self._damage(position, found.start, found.sequence - self._sequence))
                self._sequence = found.sequence
                position = found.start
            elif frame is not None:  # a sequence that was there before: bytes of an earlier record, whole again
                items.append(self._damage(position, frame.end, 0))
                position = frame.end
            elif at_end and is_closed:
                items.append(self._damage(position, len(data), 0, is_tail=True))
                return len(data)
            else:
                break
        return position

    def _damage(self, start: int, end: int, missing: int, is_tail: bool = False) -> Damage:
        reason = "the last record is not whole" if is_tail else "bytes were changed on the disk"
        return Damage(self.offset + start, self.offset + end, missing, is_tail, reason)

    def _take(self, frame: Frame, items: list[Item]) -> None:
        self._sequence = frame.sequence + 1
        end = self.offset + frame.end
        try:
            item = self._decode(frame, end)
        except (ValueError, KeyError, struct.error) as error:
            # The sum is right and the content is not: only a fault in Holdfast itself, or a lost set of names.
            start = self.offset + frame.start
            items.append(Damage(start, end, 1, False, f"the record cannot be read: {type(error).__name__}"))
        else:
            if item is not None:
                items.append(item)

    def _decode(self, frame: Frame, end: int) -> Item | None:
        if frame.kind == Kind.NAMES:
            number, names = codec.decode_names(frame.payload)
            self._names[number] = names
            return None
        time_ms = self._base_ms + frame.offset_ms
        if frame.kind == Kind.METRICS:
            step, number = _STEP.unpack_from(frame.payload)
            return self._metrics(number, step, time_ms, frame.payload[_STEP.size :], end)
        if frame.kind == Kind.METRICS_AT:
            time_ms, step, number = _AT.unpack_from(frame.payload)
            return self._metrics(number, step, time_ms, frame.payload[_AT.size :], end)
        if frame.kind not in Kind.__members__.values():
            raise ValueError(frame.kind)
        return Entry(Kind(frame.kind), json.loads(frame.payload), time_ms, end)

    def _metrics(self, number: int, step: int, time_ms: int, packed: bytes, end: int) -> Metrics:
        names = self._names[number]
        return Metrics(names, struct.unpack(f"<{len(names)}d", packed), step, time_ms, end)


def _later(frame: Frame, sequence: int) -> Frame | None:
    return frame if frame.sequence > sequence else None
