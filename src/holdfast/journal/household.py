"""The writers of one process in one journal, and the thread that syncs what they write."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from pathlib import Path

from holdfast.errors import JournalError
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import FileSystem, OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import Lease
from holdfast.journal.options import JournalOptions
from holdfast.journal.room import Room
from holdfast.journal.segment import OpenSegment, Place
from holdfast.journal.spool import Spool
from holdfast.journal.writer import RunWriter

_households: weakref.WeakSet[ProcessJournal] = weakref.WeakSet()


class ProcessJournal:
    """What one process writes to one journal.

    Making one does nothing; the folder and the lease are made when the first record is written. A forked child that
    uses it becomes a process of its own, with segments of its own.

    Args:
        root: The journal's folder.
        options: How it is kept.
        files: The file system.
        may_link: Whether files that are handed over may be linked, of which a process of its own then makes copies.

    Attributes:
        spool: The files that this process hands over.
    """

    def __init__(
        self,
        root: Path,
        options: JournalOptions | None = None,
        files: FileSystem | None = None,
        may_link: bool = True,
    ) -> None:
        self.paths = JournalPaths(root)
        self.options = options or JournalOptions()
        self.files = files or OsFileSystem()
        self._room = Room(self.paths, self.options)
        self._writers: dict[str, RunWriter] = {}
        self.spool = Spool(self.paths, self.files, self.options, self._room.grant, may_link)
        self._begin()
        _households.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._lease: Lease | None = None
        self._retired: list[OpenSegment] = []
        self._synced: dict[OpenSegment, int] = {}
        self._syncer: threading.Thread | None = None
        self._stop = threading.Event()
        self._syncing = threading.RLock()
        self.spool.begin()

    @property
    def process(self) -> str:
        """The name of this process in the journal.

        Raises:
            JournalError: The journal's folder cannot be written to.
        """
        with self._lock:
            if self._lease is None:
                self._lease = self._take_lease()
                self._start_syncer()
            return self._lease.process

    @property
    def known_process(self) -> str | None:
        """The name of this process in the journal, or None where it has written nothing."""
        return None if self._lease is None else self._lease.process

    def _take_lease(self) -> Lease:
        try:
            for folder in (self.paths.processes, self.paths.runs):
                self.files.make_folder(folder)
            lease = Lease(self.paths)
        except OSError as error:
            raise Place(self.paths.run("."), self, self.files, self.options).failure(error) from None
        if self.options.sync != "process":
            # After a power cut a process without a lease would count as one of another machine.
            with contextlib.suppress(OSError):
                self.files.sync_folder(self.paths.processes)
        return lease

    def writer(self, run_id: str) -> RunWriter:
        """Return this process's writer of a run: the same one at each call."""
        with self._lock:
            found = self._writers.get(run_id)
            if found is None:
                place = Place(self.paths.run(run_id), self, self.files, self.options)
                found = self._writers[run_id] = RunWriter(place)
            return found

    def written(self) -> list[str]:
        """Return the ids of the runs that this process has logged to."""
        with self._lock:
            return [run_id for run_id, writer in self._writers.items() if writer.has_written]

    def leave(self) -> None:
        """Note in every run that this process reached its end in good order, and sync."""
        for run_id in self.written():
            with contextlib.suppress(JournalError):
                self._writers[run_id].entry(Kind.LEFT, {})
        self.sync()

    def close(self) -> None:
        """Take leave, close the files and give the lease back; a writer that is used again begins anew."""
        self.leave()
        self._stop.set()
        for writer in self._writers.values():
            writer.close()
        self.sync()
        self._close_all()
        if self._lease is not None:
            self._lease.close()
        self._writers = {}
        self._begin()

    def _close_all(self) -> None:
        while self._retired:
            with contextlib.suppress(OSError):
                self.files.close(self._retired.pop().fd)

    # -- the household of the writers -------------------------------------------------

    def grant(self, wanted: int) -> int:
        """Return how many bytes may be written, `wanted` or more."""
        return self._room.grant(wanted)

    def retire(self, segment: OpenSegment) -> None:
        """Have a segment synced and closed; without the thread for it, it is closed here."""
        if self.options.sync == "process" or self._syncer is None:
            with contextlib.suppress(OSError):
                self.files.close(segment.fd)
            return
        self._retired.append(segment)

    # -- syncing ----------------------------------------------------------------------

    def _start_syncer(self) -> None:
        if self.options.sync == "interval":
            self._syncer = threading.Thread(target=self._sync_forever, name="holdfast-sync", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is ending
                self._syncer.start()

    def _sync_forever(self) -> None:
        stop = self._stop
        while not stop.wait(self.options.sync_interval_s):
            self.sync()

    def sync(self) -> None:
        """Force what was written to the disk, unless nothing is to be.

        What cannot be synced is tried again the next time.
        """
        if self.options.sync == "process":
            return
        with self._syncing:
            self._sync_all()
            self.spool.sync()

    def _sync_all(self) -> None:
        with self._lock:
            writers = [part for writer in self._writers.values() for part in writer.parts()]
        positions = [position for writer in writers if (position := writer.position()) is not None]
        for segment, end in positions:
            if self._synced.get(segment) != end:
                with contextlib.suppress(OSError):
                    self._sync_one(segment)
                    self._synced[segment] = end
        self._close_retired()

    def _sync_one(self, segment: OpenSegment) -> None:
        self.files.sync(segment.fd)
        if segment not in self._synced:  # its name is new
            self.files.sync_folder(segment.path.parent)

    def _close_retired(self) -> None:
        for _ in range(len(self._retired)):
            if not self._retired:
                return
            segment = self._retired.pop(0)
            try:
                self._sync_one(segment)
            except OSError:
                self._retired.append(segment)
                continue
            self._synced.pop(segment, None)
            with contextlib.suppress(OSError):
                self.files.close(segment.fd)

    def forget(self) -> None:
        """Begin anew in a forked child; its parent's files, lock and thread are not its own."""
        for writer in self._writers.values():
            writer.forget()
        self._begin()


def _after_fork() -> None:
    for household in list(_households):
        household.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
