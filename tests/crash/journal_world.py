"""A journal on a faulty file system, and what must be true of it whatever happens to it.

`World` logs through the real writer, notes what was acknowledged, and compares that with what the real reader finds.
Which classes are the real ones is said by a `Build`, so that bugs can be planted.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from holdfast.errors import JournalError
from holdfast.journal import checkpoint as checkpoints
from holdfast.journal import codec, retention
from holdfast.journal import writer as writer_module
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import FileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths, SegmentName, parse_segment_name
from holdfast.journal.locks import FileLock
from holdfast.journal.options import JournalOptions
from holdfast.journal.reader import Damage, Entry, Item, Metrics, SegmentReader
from holdfast.journal.segment import Place
from holdfast.journal.writer import RunWriter
from holdfast.testing.filesystem import Crash, FaultyFileSystem

ROOT = Path("/journal")
RUN_ID = "run-1"
START_MS = 1_760_000_000_000
SURE, MAYBE, NEVER = "acknowledged", "interrupted", "refused"
# Read when this is imported: the environment is cleaned for each test.
IS_LONG = bool(os.environ.get("HOLDFAST_LONG_TESTS"))


def seeded(seed: int | None) -> Random | None:
    """Return what chooses at random, the same each time; None where there is no seed, or 0."""
    return Random(seed) if seed else None  # noqa: S311


class Interrupt(KeyboardInterrupt):
    """What a signal handler raises."""


class HandlerError(JournalError):
    """The error of a call that a signal handler made, and lets pass into the call it interrupted."""


class Clock:
    """A clock that goes on a little each time it is asked."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def time_ns(self) -> int:
        self.now_ms += 1
        return self.now_ms * 1_000_000


class Unbounded:
    """Room without end, granted in small pieces."""

    def __init__(self, grant_bytes: int) -> None:
        self._grant_bytes = grant_bytes

    def grant(self, wanted: int) -> int:
        return max(wanted, self._grant_bytes)


class ModelJournal(ProcessJournal):
    """The real household of a process, but for what the kernel keeps: its lease, its thread, the size of the disk."""

    def __init__(self, name: str, options: JournalOptions, files: FileSystem, build: Build) -> None:
        super().__init__(ROOT, options, files)
        self._name = name
        self._build = build
        self._room = Unbounded(200)  # type: ignore[assignment]

    def _take_lease(self) -> Any:
        return SimpleNamespace(process=self._name)

    def _start_syncer(self) -> None:
        self._syncer = object()  # type: ignore[assignment] # synced by the test

    def writer(self, run_id: str) -> RunWriter:
        if run_id not in self._writers:
            place = self._build.place(self.paths.run(run_id), self, self.files, self.options)
            self._writers[run_id] = self._build.writer(place)
        return self._writers[run_id]


@dataclass(frozen=True)
class Build:
    """The classes and functions under test; a planted bug replaces one."""

    writer: type[RunWriter] = RunWriter
    place: type[Place] = Place
    household: type[ModelJournal] = ModelJournal
    reader: type[SegmentReader] = SegmentReader
    load_checkpoint: Callable[..., checkpoints.Checkpoint] = checkpoints.load_checkpoint
    save_checkpoint: Callable[..., None] = checkpoints.save_checkpoint
    delete_delivered: Callable[..., int] = retention.delete_delivered
    lock: type[FileLock] = FileLock
    saves_before: bool = False  # whether the deliverer notes as delivered what it is about to send
    process_journal: type[ProcessJournal] = ProcessJournal  # in real processes


@dataclass(eq=False)
class Logged:
    """What a test logged, or tried to.

    Attributes:
        number: Which call it was; found again as the step, or in the content.
        writer: The process, or the process and `b` for a call within a call.
        names, values: The metrics.
        time_ms: Their timestamp, where the test gave one.
        span_ms: When the call began and ended.
        kind, content: The entry, where it is one.
        fate: What the caller knows of it.
        is_durable: Whether a power cut must not lose it.
        may_be_lost: Whether the disk was damaged where it lies.
    """

    number: int
    writer: str
    names: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    time_ms: int | None = None
    span_ms: tuple[int, int] = (0, 1 << 62)
    kind: Kind | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    fate: str = NEVER
    is_durable: bool = False
    may_be_lost: bool = False

    def difference(self, item: Item) -> str:
        """Say where what was read differs from this, or return an empty text."""
        if isinstance(item, Metrics):
            same = self.kind is None and item.names == self.names and _bits(item.values) == _bits(self.values)
        else:
            same = isinstance(item, Entry) and item.kind is self.kind and item.content == dict(self.content)
        low, high = (self.time_ms, self.time_ms) if self.time_ms is not None else self.span_ms
        if isinstance(item, Damage) or not same or not low <= item.time_ms <= high:
            return f"call {self.number} was {self}, and is read as {item}"
        return ""


def _bits(values: tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def number_of(item: Item) -> int | None:
    """Return which call an item came from."""
    if isinstance(item, Metrics):
        return item.step
    return int(item.content["n"]) if isinstance(item, Entry) else None


class Store:
    """A tracking store that keeps what it has once, and remembers the order in which it came."""

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self.arrivals: list[int] = []

    def take(self, item: Item) -> None:
        number = number_of(item)
        assert number is not None
        self.arrivals.append(number)
        assert number not in self.items or _same(self.items[number], item), "a record changed between two deliveries"
        self.items[number] = item


def _same(one: Item, other: Item) -> bool:
    if isinstance(one, Metrics) and isinstance(other, Metrics):
        return (one.names, one.step, _bits(one.values)) == (other.names, other.step, _bits(other.values))
    return one == other


class World:
    """A run, the processes that log to it, and the disk under it.

    Args:
        build: The classes under test.
        sync: The journal's policy.
        segment_bytes: How large a segment may grow.
        chunk_bytes: How much the reader reads at once.
    """

    def __init__(
        self, build: Build, sync: Any = "interval", segment_bytes: int = 700, chunk_bytes: int = 1 << 20
    ) -> None:
        self.build = build
        self.files = FaultyFileSystem()
        self.paths = JournalPaths(ROOT)
        self.run = self.paths.run(RUN_ID)
        self.clock = Clock()
        self.store = Store()
        self.calls: list[Logged] = []
        self.flipped: dict[str, int] = {}
        self._options = JournalOptions(sync=sync, segment_bytes=segment_bytes)
        self._chunk_bytes = chunk_bytes
        self._made = 0
        self._torn: set[str] = set()
        self._fired = 0
        self._clock_patch = mock.patch.object(writer_module, "time", self.clock)
        self._clock_patch.start()
        for folder in (self.paths.processes, self.paths.runs):
            self.files.make_folder(folder)
        self.files.sync_folder(ROOT.parent)
        self.files.sync_folder(ROOT)
        self.journals = [self._new_journal(), self._new_journal()]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the clock back."""
        self._clock_patch.stop()

    def _new_journal(self) -> ModelJournal:
        self._made += 1
        return self.build.household(
            f"{1000 + self._made}-{self._made:x}-{self._made:08x}", self._options, self.files, self.build
        )

    # -- logging ----------------------------------------------------------------------

    def metrics(self, values: Mapping[str, float], slot: int = 0, time_ms: int | None = None) -> Logged:
        """Log metrics."""
        call = self._new_call(slot)
        call.names, call.values, call.time_ms = tuple(values), tuple(values.values()), time_ms
        return self._do(call, lambda writer: writer.metrics(values, call.number, time_ms), slot)

    def raising(self, values: Mapping[str, float], slot: int = 0) -> None:
        """Log metrics as a handler does that lets the error of its call pass."""
        call = self._new_call(slot)
        call.names, call.values, call.fate = tuple(values), tuple(values.values()), MAYBE
        try:
            self.journals[slot].writer(RUN_ID).metrics(values, call.number)
        except HandlerError:  # of another handler, inside this one's call
            raise
        except JournalError as error:
            call.fate = NEVER
            raise HandlerError(error.message) from None
        call.fate, call.is_durable = SURE, self._options.sync == "always"

    def entry(self, kind: Kind, content: Mapping[str, Any], slot: int = 0) -> Logged:
        """Log something else."""
        call = self._new_call(slot)
        call.kind, call.content = kind, {**content, "n": call.number}
        return self._do(call, lambda writer: writer.entry(kind, call.content), slot)

    def _new_call(self, slot: int) -> Logged:
        journal = self.journals[slot]
        writer = journal._name + ("b" if journal.writer(RUN_ID)._busy else "a")
        call = Logged(len(self.calls), writer)
        self.calls.append(call)
        return call

    def _do(self, call: Logged, log: Callable[[RunWriter], None], slot: int) -> Logged:
        begun = self.clock.now_ms
        call.fate = MAYBE
        try:
            log(self.journals[slot].writer(RUN_ID))
        except HandlerError:
            raise
        except JournalError:
            call.fate = NEVER
        else:
            call.fate = SURE
            call.is_durable = self._options.sync == "always"
        finally:
            call.span_ms = (begun, self.clock.now_ms)
            self._note_faults()
        return call

    def _note_faults(self) -> None:
        if self.files.fired != self._fired:
            self._fired = self.files.fired
            self._torn.update(name.name for name in self.segments())

    def sync(self) -> None:
        """Have everything synced, as the thread does every second."""
        fired = self.files.fired
        living = {journal._name for journal in self.journals}
        sure = [call for call in self.calls if call.fate == SURE and call.writer[:-1] in living]
        for journal in self.journals:
            journal.sync()
        if self.files.fired == fired and self._options.sync != "process":
            for call in sure:
                call.is_durable = True

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something in which a fault may strike; after a crash, start again. Return whether it came to its end."""
        try:
            action()
        except Crash:
            self.reboot()
            return False
        except (Interrupt, HandlerError, OSError):  # OSError: of the deliverer, which tries again
            self._note_faults()
            return False
        self._note_faults()
        return True

    # -- what happens to it -----------------------------------------------------------

    def kill(self, slot: int) -> None:
        """End a process without a word, and start another."""
        self._torn.update(name.name for name in self.segments())
        self.journals[slot] = self._new_journal()

    def reboot(self, power_cut: bool = False, random: Random | None = None) -> None:
        """End both processes, or the machine."""
        self.files.reboot(power_cut, random)
        self._torn.update(name.name for name in self.segments())
        if power_cut:
            for call in self.calls:
                call.may_be_lost |= not call.is_durable
                call.fate = call.fate if call.fate != NEVER else MAYBE  # cut off in the kernel only
                call.is_durable = True  # what is there after a power cut is there
        self.journals = [self._new_journal(), self._new_journal()]

    def flip(self, name: SegmentName, bit: int) -> None:
        """Flip a bit of a segment, once; only its record may be lost."""
        path = self.run.folder / name.name
        data = self.files.content(path)
        for start, end, number in records_in(data):
            if start <= bit // 8 < end and number is not None:
                self.calls[number].may_be_lost = True
        self.flipped[name.name] = bit // 8
        self.files.flip(path, bit)

    def cut(self, name: SegmentName, size: int) -> None:
        """Cut the end off a segment that nobody writes."""
        path = self.run.folder / name.name
        data = self.files.content(path)
        for _, end, number in records_in(data):
            if end > size and number is not None:
                self.calls[number].may_be_lost = True
        self._torn.add(name.name)
        self.files.put(path, data[:size])

    # -- delivery ---------------------------------------------------------------------

    def deliver(self) -> None:
        """Deliver what is not, note that, delete what can go: as the delivery does, with the store above."""
        build, files = self.build, self.files
        if not self.segments():
            return
        checkpoint = build.load_checkpoint(files, self.run.checkpoint)
        ends: dict[str, int] = {}
        to_send: list[Item] = []
        for name, items in self.read(is_closed=False, checkpoint=checkpoint):
            to_send.extend(item for item in items if item.end > checkpoint.segments.get(name.name, 0))
            ends[name.name] = items[-1].end if items else 0
        checkpoint = checkpoint.advanced(ends)
        if build.saves_before:
            build.save_checkpoint(files, self.run.checkpoint, checkpoint)
        for item in to_send:
            files.size(Path("/wire"))  # an operation, so that a crash can come between two records
            if not isinstance(item, Damage):
                self.store.take(item)
        build.save_checkpoint(files, self.run.checkpoint, checkpoint)
        build.delete_delivered(files, self.run, checkpoint)

    # -- reading ----------------------------------------------------------------------

    def segments(self) -> list[SegmentName]:
        """Return the segments, writer by writer."""
        found = [path for path in self.files.paths() if path.parent == self.run.folder]
        return sorted(
            (name for path in found if (name := parse_segment_name(path.name))),
            key=lambda name: (name.writer, name.number, name.base_ms),
        )

    def size(self, name: SegmentName) -> int:
        """Return the size of a segment; no operation."""
        return len(self.files.content(self.run.folder / name.name))

    def read(
        self, is_closed: bool = True, checkpoint: checkpoints.Checkpoint | None = None
    ) -> Iterator[tuple[SegmentName, list[Item]]]:
        """Read every segment from its beginning; the last one of a living writer is read as such."""
        names = self.segments()
        living = {journal._name for journal in self.journals}
        for index, name in enumerate(names):
            is_last = index + 1 == len(names) or names[index + 1].writer != name.writer
            reader = self.build.reader(self.files, self.run.folder / name.name, name.base_ms)
            yield name, self._read_one(reader, is_closed or name.process not in living or not is_last)

    def _read_one(self, reader: SegmentReader, is_closed: bool) -> list[Item]:
        items: list[Item] = []
        for _ in range(10_000):
            found = reader.read(is_closed, self._chunk_bytes)
            if not found:
                return items
            items.extend(found)
        raise AssertionError(f"the reader does not come to the end of {reader.path.name}")

    # -- what must be true ------------------------------------------------------------

    def check(self) -> None:
        """Deliver and read everything with all processes gone; raise `AssertionError` where something is wrong."""
        self.files.calm()
        self.reboot()
        read = list(self.read())
        self._check_damage(read)
        self._check_items(read)
        self._check_order(read)
        self.deliver()
        self._check_store()

    def _check_items(self, read: list[tuple[SegmentName, list[Item]]]) -> None:
        items = [item for _, found in read for item in found if not isinstance(item, Damage)]
        counts = Counter(number_of(item) for item in items)
        twice = [number for number, count in counts.items() if count > 1]
        assert not twice, f"read more than once: {twice}"
        for item in items:
            number = number_of(item)
            assert number is not None, f"read and never logged: {item}"
            assert 0 <= number < len(self.calls), f"read and never logged: {item}"
            call = self.calls[number]
            assert call.fate != NEVER, f"refused, and read nevertheless: {call}"
            assert not call.difference(item), call.difference(item)
        there = set(counts) | set(self.store.items)
        lost = [c for c in self.calls if c.fate == SURE and not c.may_be_lost and c.number not in there]
        assert not lost, f"lost: {lost}"

    def _check_order(self, read: list[tuple[SegmentName, list[Item]]]) -> None:
        last: dict[str, int] = {}
        for name, items in read:
            for item in items:
                number = number_of(item)
                if number is not None:
                    assert number > last.get(name.writer, -1), f"out of order: {number} in {name.name}"
                    assert name.process in self.calls[number].writer, f"{number} was logged by another process"
                    last[name.writer] = number

    def _check_damage(self, read: list[tuple[SegmentName, list[Item]]]) -> None:
        for name, items in read:
            damage = [item for item in items if isinstance(item, Damage)]
            if name.name in self.flipped:
                at = self.flipped[name.name]
                if at < self.size(name):
                    found = [d for d in damage if d.start <= at < d.end]
                    assert found, f"the flipped bit at byte {at} of {name.name} is not reported: {damage}"
                    damage = [item for item in damage if item is not found[0]]
            inner = [item for item in damage if not item.is_tail]
            assert not inner, f"damage is reported where there is none, in {name.name}: {inner}"
            assert not damage or name.name in self._torn, f"a whole segment has a torn tail: {name.name} {damage}"

    def _check_store(self) -> None:
        for number, item in self.store.items.items():
            call = self.calls[number]
            assert call.fate != NEVER or call.may_be_lost, f"refused, and delivered nevertheless: {call}"
            assert not call.difference(item), call.difference(item)
        lost = [
            call
            for call in self.calls
            if call.fate == SURE and not call.may_be_lost and call.number not in self.store.items
        ]
        assert not lost, f"not delivered: {lost}"


def records_in(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Yield (start, end, call) for each record of a segment that is not damaged; no call for a set of names."""
    position = len(codec.HEADER)
    while (frame := codec.parse(data, position)) is not None:
        yield frame.start, frame.end, _call_of(frame)
        position = frame.end


def _call_of(frame: codec.Frame) -> int | None:
    if frame.kind == Kind.METRICS:
        return int.from_bytes(frame.payload[:8], "little")
    if frame.kind == Kind.METRICS_AT:
        return int.from_bytes(frame.payload[8:16], "little")
    if frame.kind == Kind.NAMES:
        return None
    with suppress(ValueError, KeyError):
        return int(json.loads(frame.payload)["n"])
    return None
