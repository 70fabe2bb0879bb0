"""A test of the tests: for each bug planted here, a check fails; without one, none does (`test_journal_model.py`)."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis.stateful import run_state_machine_as_test
from journal_checks import CHECKS
from journal_machine import JournalMachine, bounded
from journal_world import IS_LONG, Build, ModelJournal
from process_checks import check_forks, check_sudden_ends

from holdfast.journal import codec
from holdfast.journal.checkpoint import Checkpoint, save_checkpoint
from holdfast.journal.filesystem import FileSystem, OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import FORMAT, RunPaths, parse_segment_name
from holdfast.journal.locks import FileLock
from holdfast.journal.reader import SegmentReader
from holdfast.journal.retention import delete_delivered
from holdfast.journal.segment import OpenSegment, Place
from holdfast.journal.writer import RunWriter


class NoSync(ModelJournal):
    """The segment is never synced."""

    def sync(self) -> None:
        return


class NoSyncOfTheLeft(ModelJournal):
    """A segment that is full is closed without being synced."""

    def retire(self, segment: OpenSegment) -> None:
        with contextlib.suppress(OSError):
            self.files.close(segment.fd)


class NoFolderSync(Place):
    """The name of a new segment is not synced."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_synced = False


class NoUndo(RunWriter):
    """What a failed write left stays in the way."""

    def _undo(self, error: OSError | None) -> None:
        self._is_torn = False
        raise self._place.failure(error)


class ShortIsWhole(RunWriter):
    """A write that took a part counts as done."""

    def _undo(self, error: OSError | None) -> None:
        if error is not None:
            super()._undo(error)


class SequenceStands(RunWriter):
    """Every record after an entry has the entry's sequence."""

    def entry(self, kind: codec.Kind, content: Mapping[str, Any]) -> None:
        before = self._sequence
        super().entry(kind, content)
        self._sequence = min(before, self._sequence)


class NamesOnce(RunWriter):
    """A set of names is written once."""

    def _record(self, kind: codec.Kind, payload: bytes, offset_ms: int) -> None:
        number = int.from_bytes(payload[:2], "little")
        if kind is not codec.Kind.NAMES or getattr(self, "_last", None) != (self._number, number):
            super()._record(kind, payload, offset_ms)
        self._last = (self._number, number) if kind is codec.Kind.NAMES else None


class NoSettling(RunWriter):
    """After an exception from a signal handler the segment is written on, though it may hold the record."""

    def _settle(self) -> None:
        self._is_torn = False


class NoSpare(RunWriter):
    """A call within a call writes to the segment of the call it interrupted."""

    def _other(self) -> RunWriter:
        self._busy = False
        return self


class SpareOfTheSameName(RunWriter):
    """A call within a call within a call writes under the name of the second."""

    def _other(self) -> RunWriter:
        if self._spare is None:
            self._spare = SpareOfTheSameName(self._place, "b")
        return self._spare


class SyncFailsAfterwards(RunWriter):
    """With `always`, a record whose sync failed stays."""

    def _sync(self) -> None:
        try:
            self._place.files.sync(self._fd)
        except OSError as error:
            raise self._place.failure(error) from None


class StopsAtNames(SegmentReader):
    """A piece in which only names are counts as the end."""

    def read(self, is_closed: bool, limit_bytes: int = 1 << 20) -> list[Any]:
        items: list[Any] = []
        if self.offset == 0:
            self._pass_header()
        data = self._files.read(self.path, self.offset, max(limit_bytes, 4096))
        self.offset += self._parse(data, items, len(data) < max(limit_bytes, 4096), is_closed)
        return items


class SkipsOneMore(SegmentReader):
    """After damage, the reader begins one record too late."""

    def _damage(self, start: int, end: int, missing: int, is_tail: bool = False) -> Any:
        damage = super()._damage(start, end, missing, is_tail)
        self._skip = not is_tail
        return damage

    def _take(self, frame: codec.Frame, items: list[Any]) -> None:
        before = len(items)
        super()._take(frame, items)
        if getattr(self, "_skip", False):
            self._skip = False
            del items[before:]


def _save_in_place(files: FileSystem, path: Path, checkpoint: Checkpoint) -> None:
    files.unlink(path)
    fd = files.open_new(path)
    files.write(fd, json.dumps({"format": FORMAT, **asdict(checkpoint)}).encode())
    files.sync(fd)
    files.close(fd)
    files.sync_folder(path.parent)


def _save_without_sync(files: FileSystem, path: Path, checkpoint: Checkpoint) -> None:
    temporary = path.with_name(f".{path.name}.{files.count}.tmp")  # type: ignore[attr-defined]
    fd = files.open_new(temporary)
    files.write(fd, json.dumps({"format": FORMAT, **asdict(checkpoint)}).encode())
    files.close(fd)
    files.replace(temporary, path)


def _delete_too_much(files: FileSystem, run: RunPaths, checkpoint: Checkpoint) -> int:
    """Delete every segment of which something was delivered."""
    for name in files.list(run.folder):
        if parse_segment_name(name) and checkpoint.segments.get(name, 0):
            files.unlink(run.folder / name)
    return 0


def _delete_first(files: FileSystem, run: RunPaths, checkpoint: Checkpoint) -> int:
    """Delete segments, and note that afterwards."""
    with mock.patch("holdfast.journal.retention.save_checkpoint"):
        before = set(files.list(run.folder))
        freed = delete_delivered(files, run, checkpoint)
    gone = tuple(before - set(files.list(run.folder)))
    save_checkpoint(files, run.checkpoint, checkpoint.without(gone))
    return freed


class NoLock(FileLock):
    """A lock that everybody gets."""

    def acquire(self, timeout_s: float = 0.0) -> bool:
        return True


@dataclass(frozen=True)
class Bug:
    """A bug: a build, or something to replace while the check runs, and the checks that are known to find it."""

    build: Build
    found_by: tuple[str, ...]
    replaced: tuple[str, Any] | None = None


def _no_sum(data: Any) -> int:
    return 0


BUGS = {
    "no sync of a segment": Bug(Build(household=NoSync), ("power_cuts",)),
    "no sync of a full segment": Bug(Build(household=NoSyncOfTheLeft), ("power_cuts",)),
    "no sync of the folder": Bug(Build(place=NoFolderSync), ("power_cuts",)),
    "the sum is not checked": Bug(Build(), ("flipped_bits",), ("holdfast.journal.codec.crc32c", _no_sum)),
    "noted as delivered first": Bug(Build(saves_before=True), ("kills",)),
    "a failed write is not cut off": Bug(Build(writer=NoUndo), ("short_writes",)),
    "a short write is taken as whole": Bug(Build(writer=ShortIsWhole), ("short_writes",)),
    "the sequence stands still": Bug(Build(writer=SequenceStands), ("without_faults",)),
    "names are written once": Bug(Build(writer=NamesOnce), ("flipped_bits",)),
    "an interrupted segment is written on": Bug(Build(writer=NoSettling), ("interrupts",)),
    "a call within a call shares the segment": Bug(Build(writer=NoSpare), ("calls_within_calls",)),
    "two depths share a name": Bug(Build(writer=SpareOfTheSameName), ("three_depths",)),
    "a record whose sync failed stays": Bug(Build(writer=SyncFailsAfterwards), ("failures",)),
    "a piece with names only is the end": Bug(Build(reader=StopsAtNames), ("many_names",)),
    "one record too many is lost": Bug(Build(reader=SkipsOneMore), ("flipped_bits",)),
    "the checkpoint is written in place": Bug(Build(save_checkpoint=_save_in_place), ("checkpoints",)),
    "the checkpoint is not synced": Bug(Build(save_checkpoint=_save_without_sync), ("checkpoints",)),
    "what is not delivered is deleted": Bug(Build(delete_delivered=_delete_too_much), ("failures",)),
    "deleted before it is noted": Bug(Build(delete_delivered=_delete_first), ("deletions",)),
    "two deliverers at once": Bug(Build(lock=NoLock), ("two_deliverers",)),
}


@contextlib.contextmanager
def _planted(bug: Bug) -> Any:
    if bug.replaced is None:
        yield
    else:
        with mock.patch(*bug.replaced):
            yield


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    bug = BUGS[name]
    with _planted(bug):
        for check in [CHECKS[name] for name in bug.found_by]:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the bug leads to
                check(bug.build)


def test_a_fork_that_writes_into_its_parents_segment_is_found() -> None:
    with mock.patch.object(ProcessJournal, "forget"), pytest.raises(AssertionError):
        check_forks()


def test_a_lost_record_of_a_killed_process_is_found() -> None:
    """The writer keeps its records in memory for a while, as a buffered file does."""
    kept: list[tuple[int, bytes]] = []

    def write(fd: int, data: bytes) -> int:
        kept.append((fd, data))
        if len(kept) == 100:
            for where, record in kept:
                os.write(where, record)
            kept.clear()
        return len(data)

    with mock.patch.object(OsFileSystem, "write", staticmethod(write)), pytest.raises(AssertionError):
        check_sudden_ends(5)


# Found by chance too, so that the random histories are known to reach these places.
_FOUND_BY_CHANCE = (
    "no sync of a segment",
    *(["no sync of the folder"] if IS_LONG else []),  # takes a thousand histories
    "the sum is not checked",
    "a failed write is not cut off",
    "a short write is taken as whole",
    "the sequence stands still",
    "names are written once",
    "a call within a call shares the segment",
    "what is not delivered is deleted",
)


@pytest.mark.parametrize("name", _FOUND_BY_CHANCE)
def test_a_planted_bug_is_found_by_chance(name: str) -> None:
    bug = BUGS[name]
    machine: Callable[[], JournalMachine] = type("Planted", (JournalMachine,), {"build": bug.build})
    with _planted(bug), pytest.raises(BaseException):  # noqa: B017, PT011 - whatever the bug leads to
        run_state_machine_as_test(machine, settings=bounded(3000, 40, shrinks=False))
