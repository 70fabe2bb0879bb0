"""Reads what is still to be delivered of a run: the records of all its writers, put in order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby

from holdfast.journal.checkpoint import Checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import FileSystem
from holdfast.journal.layout import JournalPaths, RunPaths, SegmentName, parse_segment_name
from holdfast.journal.lease import Life, life_of
from holdfast.journal.reader import Damage, Entry, Item, SegmentReader

# Small, so that a shipper with many runs and writers stays small: some thousand records a writer.
_CHUNK_BYTES = 64 << 10


class RunStreams:
    """The segments of a run, each read once and kept open for what is appended.

    Args:
        paths: The journal.
        run: The run's folder.
        files: The file system.
        own: The name of the calling process in the journal, if it writes there.
        end_elsewhere: Whether processes of other machines count as gone.
    """

    def __init__(
        self,
        paths: JournalPaths,
        run: RunPaths,
        files: FileSystem,
        own: str | None = None,
        end_elsewhere: bool = False,
    ) -> None:
        self.own = own
        self._end_elsewhere = end_elsewhere
        self._paths = paths
        self._run = run
        self._files = files
        self._readers: dict[str, SegmentReader] = {}

    def segments(self) -> list[SegmentName]:
        """Return the segments, writer by writer in order."""
        found = [parsed for name in self._files.list(self._run.folder) if (parsed := parse_segment_name(name))]
        return sorted(found, key=lambda name: (name.writer, name.number))

    def lives(self) -> dict[str, Life]:
        """Return what is known of each process that has written to the run."""
        found = {process: life_of(self._paths, process, self.own) for process in {n.process for n in self.segments()}}
        if self._end_elsewhere:
            return {process: Life.GONE if life is Life.ELSEWHERE else life for process, life in found.items()}
        return found

    def items(self, checkpoint: Checkpoint) -> Iterator[tuple[str, Item]]:
        """Yield segment and record for all that is not delivered, in each writer's order, and about in time's."""
        names = self.segments()
        # Asked before anything is read: what a process wrote before it was gone is then all there.
        lives = self.lives()
        streams = []
        for _, group in groupby(names, key=lambda name: name.writer):
            chain = list(group)
            # Of a process on another machine nothing is known: what it is writing may not be all there yet.
            closed = lives[chain[0].process] is Life.GONE
            streams.append(self._writer_items(chain, closed, checkpoint))
        for _, segment, item in heapq.merge(*streams, key=lambda entry: entry[0]):
            yield segment, item

    def _writer_items(
        self, chain: list[SegmentName], is_gone: bool, checkpoint: Checkpoint
    ) -> Iterator[tuple[int, str, Item]]:
        time_ms = 0
        for name in chain:
            delivered = checkpoint.segments.get(name.name, 0)
            reader = self._reader(name, delivered)
            is_closed = is_gone or name is not chain[-1]
            while items := self._read(reader, is_closed):
                for item in items:
                    if item.end > delivered:
                        time_ms = time_ms if isinstance(item, Damage) else item.time_ms
                        yield time_ms, name.name, item

    def _read(self, reader: SegmentReader, is_closed: bool) -> list[Item]:
        try:
            return reader.read(is_closed, _CHUNK_BYTES)
        except FileNotFoundError:  # delivered, and deleted to make room
            return []

    def _reader(self, name: SegmentName, delivered: int) -> SegmentReader:
        """Return a reader that has not gone beyond what is delivered."""
        reader = self._readers.get(name.name)
        if reader is None or reader.offset > delivered:
            reader = SegmentReader(self._files, self._run.folder / name.name, name.base_ms)
            self._readers[name.name] = reader
        return reader

    def read_to(self) -> dict[str, int]:
        """Return up to where each segment was read, which counts as delivered once all that was read is stored."""
        return {name: reader.offset for name, reader in self._readers.items()}


class Facts:
    """What a run's records say about its processes and its status, gathered as they pass by."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.owners = dict.fromkeys(checkpoint.owners)
        self.left = dict.fromkeys(checkpoint.left)
        self.status = checkpoint.status
        self.last_ms = checkpoint.last_ms

    def watch(self, items: Iterator[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """Pass records on, taking note."""
        for segment, item in items:
            if not isinstance(item, Damage):
                self.last_ms = max(self.last_ms, item.time_ms)
            if isinstance(item, Entry):
                self._note(segment, item)
            yield segment, item

    def _note(self, segment: str, entry: Entry) -> None:
        found = parse_segment_name(segment)
        process = found.process if found else ""
        if entry.kind is Kind.OWNED:
            self.owners[process] = None
        elif entry.kind is Kind.LEFT:
            self.left[process] = None
        elif entry.kind is Kind.UPDATE and entry.content.get("status"):
            self.status = entry.content["status"]
