"""Appends what a process logs to a run.

The first thing here is `metrics`: a training loop calls it at every step, so that it does in one pass what the
rest of the module does in several.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from google_crc32c import value as crc32c

from holdfast.core.names import check_keys
from holdfast.errors import JournalError
from holdfast.journal import codec
from holdfast.journal.codec import MAGIC, Kind
from holdfast.journal.segment import OpenSegment, Place

_METRICS = int(Kind.METRICS)
# Small, few, and what the end of a run depends on: written beyond the journal's bound too.
_URGENT = (Kind.UPDATE, Kind.OWNED, Kind.LEFT)
_OFFSET_RANGE_MS = 1 << 31

# A set's number, what packs its metrics, and the sizes of their payload and record in bytes.
_NameSet: TypeAlias = tuple[int, Callable[..., bytes], int, int]

# What packing raises for a value that is no number, or a step that is no whole one.
NOT_PLAIN = (struct.error, TypeError, ValueError, OverflowError, RuntimeError)


class RunWriter:
    """Appends to one run, for one process; its threads may share it.

    When a method returns, what it was given is in the kernel: the process may be killed. It raises `JournalError`
    where that could not be done; the journal is then as it was before, and the next call may succeed.

    A call from inside another one of the same thread (a signal handler, a finalizer) goes to a segment of its own,
    so that it neither waits for the call it interrupts nor comes between its bytes.

    Args:
        place: Where the run's segments go.
        letter: Of the writer; `b` is the one for interrupted calls.
    """

    def __init__(self, place: Place, letter: str = "a") -> None:
        self._place = place
        self._letter = letter
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._busy = False
        self._spare: RunWriter | None = None
        self._number = 0
        self._sync_each = self._place.sync_each
        self._segment_bytes = self._place.segment_bytes
        self._write = self._place.files.write
        self._reset()

    def _reset(self) -> None:
        self._segment: OpenSegment | None = None
        self._names: dict[tuple[str, ...], _NameSet] = {}
        self._fd = -1
        self._is_torn = False  # whether a record was begun, and neither ended nor undone
        self._base_ms = self._sequence = self._end = self._limit = 0

    def metrics(self, values: Mapping[str, Any], step: int = 0, time_ms: int | None = None) -> None:
        """Append metrics of one step.

        Args:
            values: Name → number.
            step: The step.
            time_ms: Their timestamp, ms since the epoch; now if not given.

        Raises:
            InvalidInputError: A name that MLflow refuses.
            JournalError: They could not be written.
            struct.error, TypeError, ValueError, OverflowError, RuntimeError: A value is no number, or the step
                no whole one (`NOT_PLAIN`); nothing was written.
        """
        with self._lock:
            if self._busy:
                self._other().metrics(values, step, time_ms)
                return
            self._busy = True
            try:
                known = self._names.get(tuple(values))
                if known is None or self._end > self._limit:
                    known = self._define(tuple(values))
                number, pack, payload_size, size = known
                offset = (time.time_ns() // 1_000_000 if time_ms is None else time_ms) - self._base_ms
                try:
                    body = pack(MAGIC, _METRICS, payload_size, self._sequence, offset, step, number, *values.values())
                except struct.error:
                    if _fits(offset):
                        raise
                    self._metrics_at(values, step, time_ms)
                    return
                self._put(body + crc32c(body).to_bytes(4, "little"), size)
            except BaseException:
                self._settle()
                raise
            finally:
                self._busy = False

    def points(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Append values of metrics: (name, value, timestamp in ms, step) each, in as few records as they allow."""
        start = 0
        while start < len(points):
            _, _, time_ms, step = points[start]
            group: dict[str, float] = {}
            while start < len(points) and points[start][2:] == (time_ms, step) and points[start][0] not in group:
                group[points[start][0]] = points[start][1]
                start += 1
            self.metrics(group, step, time_ms)

    def entry(self, kind: Kind, content: Mapping[str, Any]) -> None:
        """Append a record whose payload is JSON.

        Raises:
            JournalError: It could not be written.
        """
        payload = codec.to_json(content)
        with self._lock:
            if self._busy:
                self._other().entry(kind, content)
                return
            self._busy = True
            try:
                self._append(kind, payload)
            finally:
                self._busy = False

    def _put(self, frame: bytes, size: int) -> None:
        self._is_torn = True
        try:
            written = self._write(self._fd, frame)
        except OSError as error:
            if error.errno is None:  # a signal handler's, such as TimeoutError("…")
                raise
            self._undo(error)
        else:
            if written != size:
                self._undo(None)
        if self._sync_each:
            self._sync()
        self._sequence += 1
        self._end += size
        self._is_torn = False

    def _settle(self) -> None:
        """Leave the segment where a signal handler's exception struck: whether the record was written is not known."""
        if self._is_torn:
            self._leave()

    # -- the slower part --------------------------------------------------------------

    def _other(self) -> RunWriter:
        if self._spare is None:
            self._spare = RunWriter(self._place, chr(ord(self._letter) + 1))
        return self._spare

    def _metrics_at(self, values: Mapping[str, Any], step: int, time_ms: int | None) -> None:
        """Append metrics whose time does not fit the segment: those of another month, or logged after a long time."""
        now = _now_ms()
        if not _fits(now - self._base_ms):
            self._leave()
        number = self._define(tuple(values))[0]
        pack = codec.metrics_at_struct(len(values)).pack
        payload = pack(now if time_ms is None else time_ms, step, number, *values.values())
        # Into the segment that has the names.
        self._record(Kind.METRICS_AT, payload, now - self._base_ms)

    def _define(self, names: tuple[str, ...]) -> _NameSet:
        """Give a set of names its number in this segment, beginning a segment where there is none or it is full."""
        if names not in self._names:
            check_keys(names, "metric")
        payload_size = codec.metrics_size(len(names))
        size = payload_size + codec.OVERHEAD
        definition = codec.encode_names(len(self._names), names)
        _check_size(max(payload_size + 8, len(definition)))
        # Metrics that bring their time take eight bytes more.
        self._make_room(size + 8 + 2 * (codec.OVERHEAD + len(definition)))
        if names not in self._names:
            number = len(self._names)
            for _ in range(2):
                self._record(Kind.NAMES, codec.encode_names(number, names), 0)
            self._names[names] = (number, codec.metrics_struct(len(names)).pack, payload_size, size)
        return self._names[names]

    def _append(self, kind: Kind, payload: bytes) -> None:
        _check_size(len(payload))
        size = len(payload) + codec.OVERHEAD
        is_urgent = kind in _URGENT
        if self._segment is None or self._end + size > self._limit:
            self._make_room(size, is_urgent)
        offset = _now_ms() - self._base_ms
        if not _fits(offset):
            self._leave()
            self._make_room(size, is_urgent)
            offset = _now_ms() - self._base_ms
        self._record(kind, payload, offset)

    def _record(self, kind: Kind, payload: bytes, offset_ms: int) -> None:
        """Append to the open segment, in which there is room."""
        frame = codec.encode(kind, self._sequence, offset_ms, payload)
        try:
            self._put(frame, len(frame))
        except BaseException:
            self._settle()
            raise

    def _make_room(self, size: int, is_urgent: bool = False) -> None:
        """See to it that the open segment takes so many bytes, and one set of names more.

        Args:
            size: How many bytes.
            is_urgent: Whether the journal's bound does not count.

        Raises:
            JournalError: The journal has reached its bound, or the segment cannot be made.
        """
        has_records = self._end > len(codec.HEADER)
        if has_records and (self._end + size > self._segment_bytes or len(self._names) >= codec.MAX_NAME_SETS):
            self._leave()
        if self._segment is None:
            self._open()
        if self._end + size > self._limit and not is_urgent:
            granted = self._place.grant(size)
            self._limit = min(self._end + granted, max(self._segment_bytes, self._end + size))

    def _open(self) -> None:
        base_ms = _now_ms()
        segment = self._place.open_segment(self._letter, self._number, base_ms)
        self._number += 1
        self._fd = segment.fd
        self._base_ms = base_ms
        self._end = len(codec.HEADER)
        self._segment = segment  # last: a signal handler may raise in between

    def _leave(self) -> None:
        """Leave the segment; the next record begins another."""
        segment = self._segment
        self._reset()
        if segment is not None:
            self._place.retire(segment)

    def _undo(self, error: OSError | None) -> None:
        """Cut off what a failed write left, then raise; where that fails too, leave the segment."""
        try:
            self._place.files.truncate(self._fd, self._end)
        except OSError:
            self._leave()
        self._is_torn = False
        raise self._place.failure(error)

    def _sync(self) -> None:
        """Sync the record that was just written; where that fails it is cut off, and the segment left."""
        try:
            self._place.files.sync(self._fd)
        except OSError as error:
            if error.errno is None:  # a signal handler's
                raise
            with contextlib.suppress(OSError):
                self._place.files.truncate(self._fd, self._end)
            self._leave()  # what a failed sync leaves is not known
            raise self._place.failure(error) from None

    # -- for the thread that syncs, and after a fork ----------------------------------

    @property
    def has_written(self) -> bool:
        """Whether anything was written in this process."""
        return self._number > 0 or self._spare is not None

    def parts(self) -> list[RunWriter]:
        """Return this writer, and those for interrupted calls if there are any."""
        return [self] if self._spare is None else [self, *self._spare.parts()]

    def position(self) -> tuple[OpenSegment, int] | None:
        """Return the open segment and its size in bytes, for whoever syncs it."""
        segment = self._segment
        return None if segment is None else (segment, self._end)

    def close(self) -> None:
        """Leave the open segments to be synced and closed."""
        for part in self.parts():
            with part._lock:
                part._leave()

    def forget(self) -> None:
        """Begin anew in a forked child, which must not touch its parent's segment."""
        for part in self.parts():
            if part._segment is not None:
                part._segment.abandon(self._place.files)
        self._begin()


def _check_size(size_bytes: int) -> None:
    if size_bytes > codec.MAX_PAYLOAD:
        raise JournalError(
            f"One call may log at most {codec.MAX_PAYLOAD >> 20} MiB, and this one has {size_bytes:,} bytes. "
            "It was not logged.",
            "log it in parts, or as an artifact",
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _fits(offset_ms: int) -> bool:
    return -_OFFSET_RANGE_MS <= offset_ms < _OFFSET_RANGE_MS
