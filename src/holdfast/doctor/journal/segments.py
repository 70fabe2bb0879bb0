"""Reads a journal's segments as their deliverer does, the newest first, and tells what is no record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from holdfast.delivery.places import Journal
from holdfast.journal.checkpoint import load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import SegmentName, parse_segment_name
from holdfast.journal.lease import Life, life_of
from holdfast.journal.reader import Damage, Item, SegmentReader


@dataclass(frozen=True)
class Place:
    """Bytes of a segment that are no record.

    Attributes:
        run_id: The run's folder.
        path: The segment.
        damage: Where in it, and what is wrong.
        is_delivered: Whether what follows was delivered before: the server has it.
    """

    run_id: str
    path: Path
    damage: Damage
    is_delivered: bool

    def describe(self) -> str:
        """Return it for people."""
        lost = f"; {self.damage.missing} records" if self.damage.missing else ""
        told = ", delivered before" if self.is_delivered else ""
        where = f"bytes {self.damage.start} to {self.damage.end} of {self.path}"
        return f"run {self.run_id}: {where}: {self.damage.reason}{lost}{told}"


@dataclass
class Looked:
    """What was read of a journal.

    Attributes:
        read_bytes: How much of its segments.
        size_bytes: How large they are.
        places: What is damaged.
    """

    read_bytes: int = 0
    size_bytes: int = 0
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class _Segment:
    run_id: str
    folder: Path
    name: SegmentName
    size_bytes: int
    changed_ns: int


def look_at_segments(journal: Journal, within_s: float) -> Looked:
    """Read the segments, the newest first.

    What a process was writing when it was killed, at a segment's end, is no damage: nobody was told that it is logged.

    Args:
        journal: The journal.
        within_s: How long it may take, in seconds, a moment more or less.

    Raises:
        JournalError: A segment was written by a later release.
    """
    until_s = time.monotonic() + within_s
    found = sorted(_segments(journal), key=lambda segment: segment.changed_ns, reverse=True)
    looked = Looked(size_bytes=sum(segment.size_bytes for segment in found))
    lives = cache(lambda process: life_of(journal.paths, process))
    for segment in found:
        is_closed = lives(segment.name.process) is Life.GONE
        _read(segment, is_closed, looked, until_s, _delivered(journal, segment))
        if time.monotonic() >= until_s:
            break
    return looked


def _segments(journal: Journal) -> Iterator[_Segment]:
    for run_id in journal.run_ids():
        folder = journal.paths.run(run_id).folder
        for name in OsFileSystem().list(folder):
            parsed = parse_segment_name(name)
            try:
                told = (folder / name).stat() if parsed else None
            except FileNotFoundError:  # delivered, and deleted
                continue
            if parsed and told:
                yield _Segment(run_id, folder, parsed, told.st_size, told.st_mtime_ns)


def _delivered(journal: Journal, segment: _Segment) -> int:
    checkpoint = load_checkpoint(OsFileSystem(), journal.paths.run(segment.run_id).checkpoint)
    return checkpoint.segments.get(segment.name.name, 0)


def _read(segment: _Segment, is_closed: bool, looked: Looked, until_s: float, delivered: int) -> None:
    path = segment.folder / segment.name.name
    reader = SegmentReader(OsFileSystem(), path, segment.name.base_ms)
    try:
        while (items := reader.read(is_closed)) and time.monotonic() < until_s:
            _take(items, segment.run_id, path, looked, delivered)
        _take(items, segment.run_id, path, looked, delivered)
        looked.read_bytes += reader.offset if items else segment.size_bytes
    except FileNotFoundError:  # delivered, and deleted
        looked.size_bytes -= segment.size_bytes


def _take(items: list[Item], run_id: str, path: Path, looked: Looked, delivered: int) -> None:
    looked.places += [
        Place(run_id, path, item, item.end <= delivered)
        for item in items
        if isinstance(item, Damage) and not item.is_tail
    ]
