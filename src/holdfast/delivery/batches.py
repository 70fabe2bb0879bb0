"""Puts records together into as few requests as MLflow's limits allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.names import MAX_METRICS_PER_BATCH, MAX_PARAMS_PER_BATCH, MAX_TAGS_PER_BATCH
from holdfast.core.sending import Point
from holdfast.journal.codec import Kind
from holdfast.journal.reader import Damage, Entry, Item, Metrics

# MLflow refuses requests of over a million bytes.
_MAX_BYTES = 900_000
_BYTES_PER_METRIC = 110
_BYTES_PER_TEXT = 40


@dataclass
class Batch:
    """What goes into one request, and how far the journal is delivered once it is stored.

    Attributes:
        metrics: Values in the order they were logged, equal ones once.
        params: Name → value.
        tags: Name → the last value.
        offsets: Segment → the offset after its last record that is in here, or needed no sending.
    """

    metrics: dict[Point, None] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.metrics or self.params or self.tags)

    def takes_point(self, point: Point) -> bool:
        """Add a metric if there is room for it."""
        if self._count >= MAX_METRICS_PER_BATCH or not self._has_room(len(point.key) + _BYTES_PER_METRIC):
            return False
        self.metrics[point] = None
        return True

    def takes_param(self, key: str, value: str) -> bool:
        """Add a param if there is room, and no other value for it, which is the server's to judge."""
        if len(self.params) >= MAX_PARAMS_PER_BATCH or self._count >= MAX_METRICS_PER_BATCH:
            return False
        if self.params.get(key, value) != value or not self._has_room(_size(key, value)):
            return False
        self.params[key] = value
        return True

    def takes_tag(self, key: str, value: str) -> bool:
        """Add a tag if there is room; it takes the place of an earlier value."""
        is_new = key not in self.tags
        if is_new and (len(self.tags) >= MAX_TAGS_PER_BATCH or self._count >= MAX_METRICS_PER_BATCH):
            return False
        if not self._has_room(_size(key, value)):
            return False
        self.tags[key] = value
        return True

    @property
    def _count(self) -> int:
        return len(self.metrics) + len(self.params) + len(self.tags)

    def _has_room(self, size: int) -> bool:
        if self.size_bytes + size > _MAX_BYTES and not self.is_empty:
            return False
        self.size_bytes += size
        return True


def _size(key: str, value: str) -> int:
    # What is not ASCII is escaped in JSON, six bytes a character or twice that.
    return sum(len(text) if text.isascii() else 12 * len(text) for text in (key, value)) + _BYTES_PER_TEXT


@dataclass(frozen=True)
class Single:
    """A record that is a request of its own, and ends the batch before it.

    Attributes:
        entry: The record.
        offsets: Segment → the offset after it.
    """

    entry: Entry
    offsets: dict[str, int]


@dataclass(frozen=True)
class Broken:
    """Bytes that are no record.

    Attributes:
        segment: Where.
        damage: What.
        offsets: Segment → the offset after them.
    """

    segment: str
    damage: Damage
    offsets: dict[str, int]


Request = Batch | Single | Broken
_SILENT = (Kind.OWNED, Kind.LEFT)


def requests_of(items: Iterator[tuple[str, Item]]) -> Iterator[Request]:
    """Yield what is to be sent, in order.

    Args:
        items: Segment and record, each writer's in order.
    """
    batch = Batch()
    for segment, item in items:
        end = {segment: item.end}
        if isinstance(item, Damage):
            yield batch
            yield Broken(segment, item, end)
            batch = Batch()
        elif isinstance(item, Metrics) or item.kind is Kind.ENTITIES:
            for part in _parts(item):
                if not _add(batch, part):
                    yield batch
                    batch = Batch()
                    _add(batch, part)
            batch.offsets.update(end)
        elif item.kind in _SILENT:
            batch.offsets.update(end)
        else:
            yield batch
            yield Single(item, end)
            batch = Batch()
    yield batch


_Part = Point | tuple[str, str, str]


def _parts(item: Metrics | Entry) -> Iterator[_Part]:
    if isinstance(item, Metrics):
        for name, value in zip(item.names, item.values, strict=True):
            yield Point(name, value, item.time_ms, item.step)
        return
    yield from entities_of(item.content)


def entities_of(content: Any) -> Iterator[_Part]:
    """Yield the metrics, params and tags of an entities record; params and tags as ("p" or "t", key, value)."""
    for key, value, timestamp, step, *extra in content.get("m", ()):
        yield Point(key, value, timestamp, step, tuple(extra) if any(extra) else None)
    for what in ("p", "t"):
        for key, value in content.get(what, ()):
            yield (what, key, value)


def _add(batch: Batch, part: _Part) -> bool:
    if isinstance(part, Point):
        return batch.takes_point(part)
    what, key, value = part
    return batch.takes_param(key, value) if what == "p" else batch.takes_tag(key, value)
