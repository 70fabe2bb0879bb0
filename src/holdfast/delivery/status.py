"""What is in a journal and what is still to be delivered, from the files alone: no server is asked."""

from __future__ import annotations

import re
import struct
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.delivery.aside import Aside, aside_of, load_asides
from holdfast.delivery.identity import server_id_of
from holdfast.delivery.offline_files import files_waiting
from holdfast.delivery.places import Journal
from holdfast.delivery.progress import Progress, read_progress
from holdfast.journal import codec
from holdfast.journal.checkpoint import load_checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths, RunPaths, SegmentName, parse_segment_name
from holdfast.journal.lease import Life, life_of
from holdfast.journal.locks import is_held
from holdfast.journal.parcel import Parcel
from holdfast.journal.room import size_of
from holdfast.journal.spool import Spool

_UPLOADER = re.compile(r"uploader-([0-9a-f]+)\.lock")
_HEAD = struct.Struct("<BBIIi")
_CHUNK_BYTES = 1 << 20
# Counting takes a second for about so much; what lies beyond is estimated from the records before it.
_COUNTED_BYTES = 64 << 20
# Records that are for the journal's readers only.
_NOT_SENT = (Kind.NAMES, Kind.OWNED, Kind.LEFT)


class State(StrEnum):
    """Where a run is on its way."""

    DELIVERED = "delivered"
    PENDING = "pending"
    BLOCKED = "blocked"
    OPEN = "open"
    ELSEWHERE = "elsewhere"


@dataclass
class Pending:
    """What is still to be delivered.

    Attributes:
        records: How many records; one holds all metrics of a step.
        size_bytes: Their size.
        oldest_ms: The time of the first of them, ms since the epoch; None where there is none.
        is_estimate: Whether the number was not counted to the end.
    """

    records: int = 0
    size_bytes: int = 0
    oldest_ms: int | None = None
    is_estimate: bool = False

    def add(self, other: Pending) -> None:
        """Add another one."""
        times = [time_ms for time_ms in (self.oldest_ms, other.oldest_ms) if time_ms is not None]
        self.records += other.records
        self.size_bytes += other.size_bytes
        self.oldest_ms = min(times, default=None)
        self.is_estimate |= other.is_estimate

    @property
    def age_s(self) -> float | None:
        """How long ago the first was logged, in seconds."""
        return None if self.oldest_ms is None else max(0.0, time.time() - self.oldest_ms / 1000)


@dataclass
class RunStatus:
    """A run in a journal.

    Attributes:
        run_id: The name of its folder: its id, or a local one.
        server_id: Its id on the server; None where it is not there yet.
        state: `blocked`: the server refuses the run; `pending`: something is to be delivered or uploaded, or the run
            to be ended; `open`: all is delivered, and a process here can write more; `elsewhere`: the same for a
            process of another machine; `delivered`: nobody can write more either.
        pending: What is still to be delivered.
        aside: What was set aside.
        is_alive: Whether a process of this machine that logged to it lives.
        files_waiting: How many files are still to be uploaded, those that were set aside left out.
        files_bytes: Their size.
        removals_waiting: How many paths are still to be deleted from the artifact store.
        files_trouble: Why the last try to upload or delete one of them failed, or an empty text.
        last_ms: When it was last written to, ms since the epoch.
    """

    run_id: str
    server_id: str | None
    state: State
    pending: Pending
    aside: list[Aside] = field(default_factory=list)
    is_alive: bool = False
    files_waiting: int = 0
    files_bytes: int = 0
    removals_waiting: int = 0
    files_trouble: str = ""
    last_ms: int = 0


@dataclass
class ShipperStatus:
    """Who delivers a journal in the background.

    Attributes:
        is_running: Whether one holds the journal.
        said: What the latest one wrote last, which is no sign of life; None where there was none.
    """

    is_running: bool
    said: Progress | None

    @property
    def state(self) -> str:
        """Return what it does, `ended`, or `none` where there was none; `gone` where it was killed."""
        if self.is_running:
            return self.said.state if self.said is not None and self.said.state != "ended" else "starting"
        if self.said is None:
            return "none"
        return "ended" if self.said.state == "ended" else "gone"

    @property
    def rate(self) -> float:
        """Things stored per second, over the last ten seconds; an uploader's are bytes."""
        return self.said.rate if self.is_running and self.said is not None else 0.0


@dataclass
class JournalStatus:
    """A journal.

    Attributes:
        root: Its folder.
        destination: Its tracking store, without a password.
        size_bytes: How large it is.
        shipper: Who delivers it.
        runs: Its runs, those in which something is to be done first, the latest of each kind first.
        uploaders: Who uploads its files, by the fingerprint of their access.
        unreadable: The parcels of files whose entry cannot be read, and why.
    """

    root: Path
    destination: str
    size_bytes: int
    shipper: ShipperStatus
    runs: list[RunStatus]
    uploaders: dict[str, ShipperStatus] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def pending(self) -> Pending:
        """What is still to be delivered of all runs."""
        total = Pending()
        for run in self.runs:
            total.add(run.pending)
        return total


_URGENCY = [State.BLOCKED, State.PENDING, State.OPEN, State.ELSEWHERE, State.DELIVERED]


def status_of(journal: Journal, only: set[str] | None = None) -> JournalStatus:
    """Return what is in a journal and what is still to be delivered.

    Args:
        journal: The journal.
        only: The names of the folders to look at; all if not given.

    Raises:
        JournalError: It was written by a later release.
    """
    lives = cache(lambda process: life_of(journal.paths, process))
    counted = _Budget()
    parcels = _parcels_by_run(journal.paths)
    runs = [
        _run_status(journal.paths, run_id, lives, counted, parcels.get(run_id, []))
        for run_id in journal.run_ids()
        if only is None or run_id in only
    ]
    runs.sort(key=lambda run: (_URGENCY.index(run.state), -run.last_ms))
    return JournalStatus(
        journal.root,
        journal.destination,
        size_of(journal.root),
        shipper_status(journal.paths),
        runs,
        _uploaders(journal.paths),
        {parcel.id: parcel.problem for parcel in Spool(journal.paths).parcels() if parcel.problem},
    )


def _uploaders(paths: JournalPaths) -> dict[str, ShipperStatus]:
    locks = [_UPLOADER.fullmatch(name) for name in OsFileSystem().list(paths.root)]
    return {
        found[1]: ShipperStatus(is_held(paths.uploader_lock(found[1])), read_progress(paths.uploader_state(found[1])))
        for found in locks
        if found is not None
    }


def shipper_status(paths: JournalPaths) -> ShipperStatus:
    """Return who delivers a journal: whoever holds its lock, whatever a file says."""
    return ShipperStatus(is_held(paths.shipper_lock), read_progress(paths.shipper_state))


class _Budget:
    """How many bytes are still counted record by record, and what the counting has found so far."""

    def __init__(self) -> None:
        self.left_bytes = _COUNTED_BYTES
        self.records = 0
        self.size_bytes = 0

    def estimate(self, size_bytes: int) -> int:
        """Return how many records so many bytes hold, by those that were counted."""
        return size_bytes * self.records // self.size_bytes if self.size_bytes else 0


def _parcels_by_run(paths: JournalPaths) -> dict[str, list[Parcel]]:
    found: dict[str, list[Parcel]] = {}
    for parcel in Spool(paths).parcels():
        if parcel.entry is not None:
            found.setdefault(parcel.entry.run_id, []).append(parcel)
    return found


def _run_status(paths: JournalPaths, run_id: str, lives: Any, budget: _Budget, parcels: list[Parcel]) -> RunStatus:
    files, run = OsFileSystem(), paths.run(run_id)
    checkpoint = load_checkpoint(files, run.checkpoint)
    names = [found for name in files.list(run.folder) if (found := parse_segment_name(name))]
    pending = Pending()
    for name in names:
        pending.add(_pending_in(files, run, name, checkpoint.segments.get(name.name, 0), budget))
    known: set[Life] = {lives(process) for process in {name.process for name in names}}
    refused = [parcel for parcel in parcels if parcel.is_refused]
    open_parcels = [parcel for parcel in parcels if parcel not in refused]
    asides = [*load_asides(files, run.aside), *map(aside_of, refused)]
    server_id = server_id_of(paths, run_id)
    left = [parcel.left for parcel in open_parcels]
    waiting = files_waiting(run) + sum(len(parcel.files) for parcel in left)
    troubles = [trouble.reason for parcel in open_parcels if (trouble := parcel.trouble) is not None]
    is_left = bool(pending.size_bytes or waiting or open_parcels) or server_id is None
    state = _state(asides, is_left, known, checkpoint.complete_ms is not None)
    return RunStatus(
        run_id,
        server_id,
        state,
        pending,
        asides,
        is_alive=Life.ALIVE in known,
        files_waiting=waiting,
        files_bytes=sum(parcel.size_bytes for parcel in open_parcels),
        removals_waiting=sum(len(parcel.removes) for parcel in left),
        files_trouble=troubles[0] if troubles else "",
        last_ms=_last_ms(run, names),
    )


def _state(asides: list[Aside], is_left: bool, lives: set[Life], is_complete: bool) -> State:
    if any(item.what == "run" for item in asides):
        return State.BLOCKED
    if is_left:
        return State.PENDING
    if Life.ALIVE in lives:
        return State.OPEN
    if is_complete:
        return State.DELIVERED
    return State.ELSEWHERE if Life.ELSEWHERE in lives else State.PENDING


def _last_ms(run: RunPaths, names: list[SegmentName]) -> int:
    times = [run.about, *(run.folder / name.name for name in names)]
    return max((_modified_ms(path) for path in times), default=0)


def _modified_ms(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def _pending_in(files: OsFileSystem, run: RunPaths, name: SegmentName, delivered: int, budget: _Budget) -> Pending:
    path = run.folder / name.name
    size = files.size(path)
    start = max(delivered, len(codec.HEADER))
    if size <= start:
        return Pending()
    found = Pending(size_bytes=size - start)
    end = _count(files, path, start, min(size, start + budget.left_bytes), found, name.base_ms)
    budget.left_bytes -= end - start
    budget.records += found.records
    budget.size_bytes += end - start
    if budget.left_bytes <= 0 and end < size:
        found.records += budget.estimate(size - end)
        found.is_estimate = True
    return found


def _count(files: OsFileSystem, path: Path, start: int, limit: int, found: Pending, base_ms: int) -> int:
    """Count records from head to head, without reading what they hold; return up to where."""
    while start < limit:
        try:
            data = files.read(path, start, min(_CHUNK_BYTES, limit - start + _HEAD.size))
        except FileNotFoundError:  # delivered, and deleted
            break
        at = 0
        while at + _HEAD.size <= len(data):
            magic, kind, size, _, offset_ms = _HEAD.unpack_from(data, at)
            at += codec.OVERHEAD + size
            if magic != codec.MAGIC or start + at > limit:  # damaged, or being written
                return limit
            found.oldest_ms = base_ms + offset_ms if found.oldest_ms is None else found.oldest_ms
            found.records += kind not in _NOT_SENT
        if not at:
            break
        start += at
    return start


# -- for programs -------------------------------------------------------------------------


def as_document(status: JournalStatus, limit_bytes: int) -> dict[str, Any]:
    """Return a journal's status as plain data."""
    pending = status.pending
    return {
        "path": str(status.root),
        "destination": status.destination,
        "size_bytes": status.size_bytes,
        "limit_bytes": limit_bytes,
        "shipper": _shipper_document(status.shipper),
        "uploaders": {access: _shipper_document(uploader) for access, uploader in status.uploaders.items()},
        "unreadable_files": status.unreadable,
        "pending": _pending_document(pending),
        "aside": sum(len(run.aside) for run in status.runs),
        "runs": [_run_document(run) for run in status.runs],
    }


def _shipper_document(shipper: ShipperStatus) -> dict[str, Any]:
    said = shipper.said
    return {
        "is_running": shipper.is_running,
        "state": shipper.state,
        "rate": shipper.rate,
        "last_error": said.last_error if said else "",
        "last_error_ms": said.last_error_ms if said else 0,
        "retry_ms": said.retry_ms if said and shipper.is_running else 0,
        "updated_ms": said.updated_ms if said else 0,
        "pid": said.pid if said else 0,
        "host": said.host if said else "",
    }


def _run_document(run: RunStatus) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "server_id": run.server_id,
        "state": run.state.value,
        "is_alive": run.is_alive,
        "pending": _pending_document(run.pending),
        "aside": [asdict(item) for item in run.aside],
        "files_waiting": run.files_waiting,
        "files_bytes": run.files_bytes,
        "removals_waiting": run.removals_waiting,
        "files_trouble": run.files_trouble,
        "last_ms": run.last_ms,
    }


def _pending_document(pending: Pending) -> dict[str, Any]:
    return {**asdict(pending), "age_s": pending.age_s}
