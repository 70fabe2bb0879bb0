"""A run as its journal knows it, for reading it while the server cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.core.sending import Point
from holdfast.delivery.batches import entities_of
from holdfast.delivery.identity import load_about
from holdfast.delivery.streams import RunStreams
from holdfast.journal.checkpoint import Checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.reader import Damage, Entry, Metrics


@dataclass
class Replayed:
    """What the journal holds of a run.

    Attributes:
        metrics: Name → the value that MLflow would show: that of the largest step, the latest of those.
        params: Name → first value.
        tags: Name → last value.
        status: The last status, or an empty text.
        end_time_ms: When it ended.
        name: The last name it was given by an update.
    """

    metrics: dict[str, Point] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = ""
    end_time_ms: int | None = None
    name: str = ""

    def _take_point(self, point: Point) -> None:
        last = self.metrics.get(point.key)
        if last is None or (point.step, point.timestamp, point.value) >= (last.step, last.timestamp, last.value):
            self.metrics[point.key] = point

    def take(self, item: Metrics | Entry) -> None:
        """Apply a record."""
        if isinstance(item, Metrics):
            for name, value in zip(item.names, item.values, strict=True):
                self._take_point(Point(name, value, item.time_ms, item.step))
        elif item.kind is Kind.ENTITIES:
            self._take_entities(item)
        elif item.kind is Kind.UPDATE:
            self.status = item.content.get("status") or self.status
            self.end_time_ms = item.content.get("end_time") or self.end_time_ms
            self.name = item.content.get("name") or self.name
        elif item.kind is Kind.DELETE_TAG:
            self.tags.pop(item.content["key"], None)

    def _take_entities(self, entry: Entry) -> None:
        for part in entities_of(entry.content):
            if isinstance(part, Point):
                self._take_point(part)
            elif part[0] == "p":
                self.params.setdefault(part[1], part[2])
            else:
                self.tags[part[1]] = part[2]


def replay(paths: JournalPaths, run_id: str, own: str | None = None) -> Replayed:
    """Return a run as its journal knows it."""
    files = OsFileSystem()
    run = paths.run(run_id)
    found = Replayed(tags=dict(load_about(files, run).tags))
    for _, item in RunStreams(paths, run, files, own).items(Checkpoint()):
        if not isinstance(item, Damage):
            found.take(item)
    return found
