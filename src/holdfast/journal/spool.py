"""Files that were handed over and are still to be uploaded: parcels in the journal's folder `files`."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.errors import InvalidInputError, JournalError
from holdfast.journal.filesystem import FileSystem, OsFileSystem, remove_tree
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import Life, life_of
from holdfast.journal.leases import Leases
from holdfast.journal.locks import FileLock
from holdfast.journal.options import JournalOptions
from holdfast.journal.parcel import Entry, Parcel, ParcelFile
from holdfast.journal.segment import HINTS
from holdfast.journal.snapshot import Snapshot, check_is_file, snapshot
from holdfast.journal.superseding import drop_superseded, inherited

_PARCEL = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_NEW = re.compile(r"\.(?P<id>[0-9a-f]{16}-[0-9a-f]{8})\.(?P<process>.+)\.new")
_GONE = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{8}\.gone")
# What a parcel takes beside its files: its entry, and what their names and lengths take in it.
_FILE_BYTES = 512

Take = Callable[[Path, Path, Leases | None], Snapshot]


class Spool:
    """The parcels of a journal, as one process hands them over and everybody sees them. Threads may share it.

    Args:
        paths: The journal.
        files: The file system.
        options: How the journal is kept.
        grant: Asked before so many bytes are written; raises `JournalFullError` where there is no room.
        may_link: Whether large files may be linked, of which a process of its own then makes copies.
        take: Takes the content of a file; another one in tests.

    Attributes:
        handed: The runs that this process has handed files over for.
    """

    def __init__(
        self,
        paths: JournalPaths,
        files: FileSystem | None = None,
        options: JournalOptions | None = None,
        grant: Callable[[int], int] = lambda wanted: wanted,
        may_link: bool = True,
        take: Take = snapshot,
    ) -> None:
        self.paths = paths
        self._files = files or OsFileSystem()
        self._options = options or JournalOptions()
        self._grant = grant
        self._may_link = may_link
        self._take = take
        self.begin()

    def begin(self) -> None:
        """Begin anew, also in a forked child."""
        self._lock = threading.Lock()
        self._last_ns = 0
        self._unsynced: list[Parcel] = []
        self.handed: set[str] = set()

    # -- handing over -----------------------------------------------------------------

    def hand_over(
        self,
        sources: Sequence[tuple[Path, str]],
        run_id: str,
        root_uri: str | None,
        access: str,
        process: str,
        removes: Sequence[str] = (),
        supersedes: bool = False,
    ) -> str:
        """Take the present content of files into the journal; what becomes of the files afterwards does not matter.

        All of them are taken, or none. When this returns, a killed process loses nothing of it; it is on the disk
        as the journal's policy says.

        Args:
            sources: The files, and where each goes, below the root.
            run_id: The run's folder in the journal.
            root_uri: Where they go; None for a run that is not on the server yet.
            access: The fingerprint of the access that they are uploaded with.
            process: The name of this process in the journal.
            removes: What is to be deleted from there, once these files and all earlier ones of the same paths are
                there; none of these files.
            supersedes: Whether what still waits need not be sent where this stores or deletes all of it; see
                `superseding`.

        Returns:
            The parcel's id.

        Raises:
            InvalidInputError: One of them is no file, or cannot be read.
            JournalFullError: The journal has reached its bound.
            JournalError: It cannot be written to; nothing was taken.
        """
        if supersedes:
            self.drop_superseded()  # which makes room
        paths_bytes = _FILE_BYTES * (1 + len(sources) + len(removes))
        self._grant(sum(_size_of(source) for source, _ in sources) + paths_bytes)
        parcel_id = self._new_id()
        folder = self.paths.files / f".{parcel_id}.{process}.new"
        leases = Leases(self._options.sync)
        try:
            with self._translated():
                self._files.make_folder(folder)
                about = Entry(run_id, process, root_uri, access, _now_ms(), (), tuple(removes), supersedes)
                entry = self._fill(folder, sources, leases, about)
                if supersedes:
                    entry = self._with_inherited(parcel_id, entry)
                self._commit(folder, parcel_id, entry, leases)
        except BaseException:
            leases.release()
            with contextlib.suppress(Exception):
                remove_tree(self._files, folder)
            raise
        with self._lock:
            self.handed.add(run_id)
        return parcel_id

    def _new_id(self) -> str:
        with self._lock:
            # A clock that is set back must not bring a file before an earlier one of the same name.
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return f"{self._last_ns:016x}-{os.urandom(4).hex()}"

    def _fill(self, folder: Path, sources: Sequence[tuple[Path, str]], leases: Leases, about: Entry) -> Entry:
        # The large ones last: they are linked, and nobody can write to them until a process makes the copies.
        order = sorted(range(len(sources)), key=lambda at: _size_of(sources[at][0]))
        taken: dict[int, ParcelFile] = {}
        for number in order:
            source, path = sources[number]
            found = self._take(source, folder / str(number), leases if self._may_link else None)
            taken[number] = ParcelFile(path, str(number), found.size_bytes, found.mtime_ns)
            if self._options.sync == "always":
                self._files.sync_file(folder / f"{number}{'.link' if found.is_linked else ''}")
        return replace(about, files=tuple(taken[number] for number in range(len(sources))))

    def _with_inherited(self, parcel_id: str, entry: Entry) -> Entry:
        """Take the removals of those upon the new parcel that need not be sent then."""
        if self._is_other_under_way(parcel_id, entry.process):
            return entry
        earlier = [parcel for parcel in self.parcels() if parcel.id < parcel_id]
        paths = [*(file.path for file in entry.files), *entry.removes]
        return replace(entry, removes=(*entry.removes, *inherited(earlier, entry, paths)))

    def _is_other_under_way(self, parcel_id: str, own: str) -> bool:
        """Whether a file that nobody sees yet might be stored under a path that would be inherited as a removal."""
        news = [found for name in self._files.list(self.paths.files) if (found := _NEW.fullmatch(name))]
        return any(new["id"] < parcel_id and life_of(self.paths, new["process"], own) is not Life.GONE for new in news)

    def _commit(self, folder: Path, parcel_id: str, entry: Entry, leases: Leases) -> None:
        fd = self._files.open_new(folder / "entry.json")
        try:
            text = entry.to_json()
            if self._files.write(fd, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._options.sync == "always":
                self._files.sync(fd)
        finally:
            self._files.close(fd)
        if self._options.sync == "always":
            self._files.sync_folder(folder)
        self._start_copies(folder, leases)
        parcel = Parcel(self.paths.files / parcel_id, self._files)
        self._files.replace(folder, parcel.folder)
        if self._options.sync == "always":
            self._sync_names()
        elif self._options.sync == "interval":
            with self._lock:
                self._unsynced.append(parcel)

    def _start_copies(self, folder: Path, leases: Leases) -> None:
        if leases.is_empty:
            return
        with FileLock(folder / "sealing") as lock:
            lock.acquire()
            with contextlib.suppress(OSError):
                leases.start(folder, lock.fd)
                return
        # No process may be started here.
        leases.release()
        self._may_link = False
        parcel = Parcel(folder, self._files)
        if not parcel.seal(self._options.sync) or parcel.broken():
            raise JournalError(
                f"The files {', '.join(file.path for file in parcel.broken())} changed while they were copied.",
                "hand them over when they are written, and closed",
            )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except InvalidInputError:
            raise
        except OSError as error:
            raise JournalError(
                f"The journal {self.paths.root} cannot take these files: {error.strerror or error}. None of them was "
                "taken; what was logged before is whole.",
                HINTS.get(error.errno or 0, f"see `ls -ld '{self.paths.root}'`, or set HOLDFAST_JOURNAL elsewhere"),
                retryable=True,
            ) from None

    # -- syncing ----------------------------------------------------------------------

    def sync(self) -> None:
        """Force what was handed over to the disk; what cannot be synced is tried again the next time."""
        with self._lock:
            parcels, self._unsynced = self._unsynced, []
        left = [parcel for parcel in parcels if not self._sync_one(parcel)]
        with self._lock:
            self._unsynced += left

    def drop_superseded(self, parcels: Sequence[Parcel] | None = None) -> int:
        """Delete the parcels that need not be sent any more; return how many. See `superseding`.

        Args:
            parcels: Those that it is about, the oldest first; all if not given.
        """
        with self._lock:
            unsynced = {parcel.id for parcel in self._unsynced}
        is_synced = self._options.sync == "process"
        every = self.parcels() if parcels is None else parcels
        return drop_superseded(every, lambda parcel: is_synced or self._sync_one(parcel), unsynced)

    def _sync_one(self, parcel: Parcel) -> bool:
        try:
            for name in self._files.list(parcel.folder):
                # Links are left out: their copies are synced by whoever makes them.
                if name.isdecimal() or name == "entry.json":
                    self._files.sync_file(parcel.folder / name)
            self._files.sync_folder(parcel.folder)
            self._sync_names()
        except FileNotFoundError:  # uploaded already
            return True
        except OSError:
            return False
        return True

    def _sync_names(self) -> None:
        self._files.sync_folder(self.paths.files)
        self._files.sync_folder(self.paths.root)

    # -- looking ----------------------------------------------------------------------

    def parcels(self) -> list[Parcel]:
        """Return the parcels, the oldest first; one that cannot be read too."""
        names = self._files.list(self.paths.files)
        return [Parcel(self.paths.files / name, self._files) for name in names if _PARCEL.fullmatch(name)]

    def of_runs(self, run_ids: Iterable[str]) -> list[Parcel]:
        """Return the parcels of some runs, the oldest first."""
        wanted = set(run_ids)
        return [parcel for parcel in self.parcels() if parcel.entry is not None and parcel.entry.run_id in wanted]

    def processes(self) -> set[str]:
        """Return the processes that what is here names."""
        found = {parcel.entry.process for parcel in self.parcels() if parcel.entry is not None}
        return found | {new["process"] for name in self._files.list(self.paths.files) if (new := _NEW.fullmatch(name))}

    def clean(self, own: str | None = None) -> None:
        """Delete what killed processes have left of hand-overs and of removals.

        Args:
            own: The name of the calling process in this journal.
        """
        for name in self._files.list(self.paths.files):
            new = _NEW.fullmatch(name)
            is_left = new is not None and life_of(self.paths, new["process"], own) is Life.GONE
            if is_left or _GONE.fullmatch(name):
                with contextlib.suppress(OSError):
                    remove_tree(self._files, self.paths.files / name)


def _size_of(source: Path) -> int:
    try:
        return check_is_file(source).st_size
    except OSError as error:
        raise InvalidInputError(
            f"The artifact {source} cannot be read: {error.strerror or error}.", "give the path of a file"
        ) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
