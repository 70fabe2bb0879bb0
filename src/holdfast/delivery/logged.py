"""What a journal says was logged to a run, all of it, for a comparison with the server."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from holdfast.core.sending import Point
from holdfast.delivery.aside import Aside, load_asides
from holdfast.delivery.batches import entities_of
from holdfast.delivery.identity import PARENT_TAG, RunAbout, load_about, server_id_of
from holdfast.delivery.places import FoundRun
from holdfast.delivery.streams import RunStreams
from holdfast.journal.checkpoint import Checkpoint, load_checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import SegmentName, parse_segment_name
from holdfast.journal.reader import Damage, Entry, Item, Metrics

_NAME_TAG = "mlflow.runName"
# What some stores have in place of an infinity.
_LARGEST = 1.7976931348623157e308
_POINT = struct.Struct("<dqq")
# A value, its timestamp and its step, as 24 bytes: millions of them fit.
PackedPoint = bytes


def pack_point(value: float, timestamp: int, step: int) -> PackedPoint:
    """Return what MLflow tells the values of a metric apart by; one NaN is like another, as MLflow has it."""
    number = math.copysign(_LARGEST, value) if math.isinf(value) else math.nan if math.isnan(value) else value + 0.0
    try:
        return _POINT.pack(number, timestamp, step)
    except struct.error:  # a number that no server takes
        return repr((value, timestamp, step)).encode()


def unpack_point(packed: PackedPoint) -> tuple[float, int, int]:
    """Return value, timestamp and step."""
    value, timestamp, step = _POINT.unpack(packed) if len(packed) == _POINT.size else (math.nan, 0, 0)
    return value, timestamp, step


@dataclass
class LoggedMetric:
    """The values of a metric; those that count as delivered, and those that are still to be."""

    delivered: set[PackedPoint] = field(default_factory=set)
    pending: set[PackedPoint] = field(default_factory=set)


@dataclass
class Choice:
    """What something may be on the server: one text, or as many as writers said so last; None stands for deleted.

    Attributes:
        values: Writer → its last word.
        pending_of: Writers whose last word is still to be delivered.
    """

    values: dict[str, str | None] = field(default_factory=dict)
    pending_of: set[str] = field(default_factory=set)

    def say(self, writer: str, value: str | None, is_pending: bool) -> None:
        """Take note of a writer's word, which takes the place of its last one."""
        self.values[writer] = value
        if is_pending:
            self.pending_of.add(writer)

    @property
    def is_pending(self) -> bool:
        """Whether the last word of a writer is still to be delivered."""
        return bool(self.pending_of)


@dataclass
class Logged:
    """What a journal says was logged to a run.

    Attributes:
        metrics: Name → its values.
        params: Name → values it was given, and whether each counts as delivered.
        tags: Name → what it may be.
        status: What the run's status may be.
        aside: What was set aside.
        pending: How many records are still to be delivered.
        uncompared: How many delivered records cannot be compared: datasets, models.
        damaged: How many places of the journal cannot be read.
        gone: Segments that were delivered and deleted to make room.
        lost: Places in a writer's row of segments where one is missing that was never noted as deleted.
    """

    metrics: dict[str, LoggedMetric] = field(default_factory=dict)
    params: dict[str, dict[str, bool]] = field(default_factory=dict)
    tags: dict[str, Choice] = field(default_factory=dict)
    status: Choice = field(default_factory=Choice)
    aside: list[Aside] = field(default_factory=list)
    pending: int = 0
    uncompared: int = 0
    damaged: int = 0
    gone: int = 0
    lost: int = 0


def read_logged(runs: Iterable[FoundRun]) -> Logged:
    """Read all that journals hold of a run, from the beginning of each segment.

    Args:
        runs: Its folders.

    Raises:
        JournalError: A journal was written by a later release.
        OSError: It cannot be read.
    """
    found = Logged()
    for run in runs:
        _Reading(found, run).read()
    return found


class _Reading:
    """Reads one folder."""

    def __init__(self, found: Logged, run: FoundRun) -> None:
        self._found = found
        self._run = run
        self._files = OsFileSystem()
        # Before the segments: what it says is delivered is to be on the server, whatever is delivered meanwhile.
        self._checkpoint = load_checkpoint(self._files, run.paths.checkpoint)

    def read(self) -> None:
        streams = RunStreams(self._run.journal.paths, self._run.paths, self._files)
        self._count_segments(streams.segments())
        for segment, item in streams.items(Checkpoint()):
            self._take(segment, item, item.end > self._checkpoint.segments.get(segment, 0))
        self._begin(load_about(self._files, self._run.paths))
        self._found.aside += load_asides(self._files, self._run.paths.aside)

    def _count_segments(self, names: list[SegmentName]) -> None:
        gone = [found for name in self._checkpoint.gone if (found := parse_segment_name(name))]
        self._found.gone += len(gone)
        every = sorted({(name.writer, name.number) for name in (*names, *gone)})
        for _, group in groupby(every, key=lambda pair: pair[0]):
            numbers = [number for _, number in group]
            self._found.lost += numbers[-1] + 1 - len(numbers)

    def _begin(self, about: RunAbout) -> None:
        """Take note of the tags that the run was begun with, where nobody has set them since."""
        for key, value in about.tags.items():
            if key not in self._found.tags:
                self._tag(key, value, "", False)

    def _take(self, segment: str, item: Item, is_pending: bool) -> None:
        if isinstance(item, Damage):
            self._found.damaged += not item.is_tail
            return
        self._found.pending += is_pending and not (isinstance(item, Entry) and item.kind in (Kind.OWNED, Kind.LEFT))
        if isinstance(item, Metrics):
            for name, value in zip(item.names, item.values, strict=True):
                self._point(Point(name, value, item.time_ms, item.step), is_pending)
            return
        found = parse_segment_name(segment)
        self._take_entry(item.kind, item.content, found.writer if found else "", is_pending)

    def _take_entry(self, kind: Kind, content: Any, writer: str, is_pending: bool) -> None:
        if kind is Kind.ENTITIES:
            self._take_entities(content, writer, is_pending)
        elif kind is Kind.UPDATE:
            if content.get("status"):
                self._found.status.say(writer, content["status"], is_pending)
            if content.get("name"):
                self._tag(_NAME_TAG, content["name"], writer, is_pending)
        elif kind is Kind.DELETE_TAG:
            self._tag(content["key"], None, writer, is_pending)
        elif kind not in (Kind.OWNED, Kind.LEFT):
            self._found.uncompared += not is_pending

    def _take_entities(self, content: Any, writer: str, is_pending: bool) -> None:
        for part in entities_of(content):
            if isinstance(part, Point):
                self._point(part, is_pending)
            elif part[0] == "p":
                values = self._found.params.setdefault(part[1], {})
                values[part[2]] = values.get(part[2], False) or not is_pending
            else:
                self._tag(part[1], part[2], writer, is_pending)

    def _point(self, point: Point, is_pending: bool) -> None:
        metric = self._found.metrics.get(point.key)
        if metric is None:
            metric = self._found.metrics[point.key] = LoggedMetric()
        values = metric.pending if is_pending else metric.delivered
        values.add(pack_point(point.value, point.timestamp, point.step))

    def _tag(self, key: str, value: str | None, writer: str, is_pending: bool) -> None:
        if key == PARENT_TAG and value is not None:
            value = server_id_of(self._run.journal.paths, value) or value
        self._found.tags.setdefault(key, Choice()).say(writer, value, is_pending)
