"""A parcel: the files of one call that handed them over, as they lie in the journal until they are uploaded.

It may also name paths that are to be deleted from the store, once its own files are there.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.journal.filesystem import FileSystem, OsFileSystem, remove_tree, write_whole
from holdfast.journal.layout import FORMAT
from holdfast.journal.locks import FileLock
from holdfast.journal.sealing import LINK_SUFFIX, Job, seal


class ParcelFile(NamedTuple):
    """A file of a parcel.

    Attributes:
        path: Where it goes, below the root.
        data: The name of its content in the parcel's folder.
        size_bytes: Its size.
        mtime_ns: When it was modified last before it was handed over, ns since the epoch.
    """

    path: str
    data: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Entry:
    """What a parcel says of itself.

    A store holds a path of `removes` as long as it holds nothing better: it is deleted after the parcel's own files
    are stored, after earlier parcels have stored the path, and before later ones store it again.

    Attributes:
        run_id: The run's folder in the journal.
        process: Who handed it over.
        root_uri: Where its files go; None for a run that has no such place before it is on the server.
        access: The fingerprint of the access that they are uploaded with.
        handed_ms: When it was handed over, ms since the epoch.
        files: The files.
        removes: What is deleted from the store, below the root; none of the files.
        supersedes: Whether an earlier parcel that still waits need not be sent where all its paths are among the
            files and removals of this one.
    """

    run_id: str
    process: str
    root_uri: str | None
    access: str
    handed_ms: int
    files: tuple[ParcelFile, ...]
    removes: tuple[str, ...] = ()
    supersedes: bool = False

    @property
    def place(self) -> str:
        """Where its paths lie; a run's root is one and the same before and after it is known."""
        return self.run_id if self.root_uri is None else self.root_uri

    def to_json(self) -> bytes:
        """Return it as it is written down."""
        files = [
            {"path": file.path, "data": file.data, "size": file.size_bytes, "mtime_ns": file.mtime_ns}
            for file in self.files
        ]
        content = {"format": FORMAT, "run": self.run_id, "process": self.process, "root": self.root_uri,
                   "access": self.access, "handed_ms": self.handed_ms, "files": files}  # fmt: skip
        if self.removes:
            content["removes"] = list(self.removes)
        if self.supersedes:
            content["supersedes"] = True
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Entry:
        """Return what was written down.

        Raises:
            ValueError, KeyError, TypeError: It is no entry, or one of a later release.
        """
        content = json.loads(text)
        if content["format"] > FORMAT:
            raise ValueError("it was written by a later release of Holdfast")
        files = tuple(
            ParcelFile(file["path"], _plain(file["data"]), file["size"], file["mtime_ns"]) for file in content["files"]
        )
        about = (content["run"], content["process"], content["root"], content["access"], content["handed_ms"])
        removes = tuple(str(path) for path in content.get("removes", ()))
        return cls(*about, files, removes, bool(content.get("supersedes", False)))


class Left(NamedTuple):
    """What is still to be done of a parcel.

    Attributes:
        files: The files that are to be uploaded.
        removes: The paths that are to be deleted then.
    """

    files: tuple[ParcelFile, ...] = ()
    removes: tuple[str, ...] = ()

    @property
    def paths(self) -> frozenset[str]:
        """All paths that it changes."""
        return frozenset(file.path for file in self.files) | frozenset(self.removes)


def _plain(name: str) -> str:
    """Refuse a name that leads out of the parcel's folder."""
    if not name.isdecimal():
        raise ValueError(f"{name!r} is no name of a parcel's file")
    return name


@dataclass(frozen=True)
class Trouble:
    """Why a parcel is not uploaded yet.

    Attributes:
        reason: What was said.
        noted_ms: When, ms since the epoch.
        is_refused: Whether it is not tried again before somebody asks for it.
        doubts: How many tries in a row have failed with nothing but these files to blame.
    """

    reason: str
    noted_ms: int
    is_refused: bool = False
    doubts: int = 0


class Parcel:
    """A parcel in a journal.

    Args:
        folder: Its folder.
        files: The file system.
    """

    def __init__(self, folder: Path, files: FileSystem | None = None) -> None:
        self.folder = folder
        self._files = files or OsFileSystem()
        self._known: tuple[Entry | None, str] | None = None

    def __repr__(self) -> str:
        return f"Parcel({self.id!r})"

    @property
    def id(self) -> str:
        """Its name; the later it was handed over, the greater."""
        return self.folder.name

    def _read(self) -> tuple[Entry | None, str]:
        if self._known is None:
            try:
                self._known = Entry.from_json(self._files.read(self.folder / "entry.json", 0, 1 << 30)), ""
            except FileNotFoundError:
                self._known = None, "its entry.json is missing"
            except (ValueError, KeyError, TypeError) as error:
                self._known = None, f"its entry.json cannot be read: {error}"
            except OSError as error:  # which may be another the next time
                return None, f"its entry.json cannot be read: {error.strerror or error}"
        return self._known

    @property
    def entry(self) -> Entry | None:
        """What it says of itself; None where that cannot be read."""
        return self._read()[0]

    @property
    def problem(self) -> str:
        """Why its entry cannot be read, or an empty text."""
        return self._read()[1]

    @property
    def is_damaged(self) -> bool:
        """Whether its entry can never be read."""
        return self.entry is None and self._known is not None

    @property
    def size_bytes(self) -> int:
        """The size of its files that are still to be uploaded."""
        return sum(file.size_bytes for file in self.left.files)

    @property
    def left(self) -> Left:
        """What is still to be done; nothing where its entry cannot be read."""
        if self.entry is None:
            return Left()
        whole = Left(self.entry.files, self.entry.removes)
        if not self.entry.removes:
            return whole
        try:
            content = json.loads(self._files.read(self.folder / "left.json", 0, 1 << 30))
            return Left(() if content["sent"] else whole.files, tuple(str(path) for path in content["removes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return whole

    @property
    def is_there(self) -> bool:
        """Whether it is still to be uploaded."""
        return "entry.json" in self._files.list(self.folder)

    def lock(self) -> FileLock:
        """Return the lock that is held by whoever uploads it."""
        return FileLock(self.folder / "lock")

    def data(self, file: ParcelFile) -> Path:
        """Return where a file's content is."""
        return self.folder / file.data

    def note(self, file: ParcelFile) -> ParcelNote:
        """Return what keeps an upload in parts of this file."""
        return ParcelNote(self.folder / f"upload-{file.data}.json")

    # -- what is there ----------------------------------------------------------------

    def seal(self, sync: str) -> bool:
        """Make copies of what was only linked and has nobody any more who does; return whether all are there.

        Raises:
            OSError: A copy cannot be written.
        """
        names = set(self._files.list(self.folder))
        linked = [file for file in self.left.files if file.data not in names and file.data + LINK_SUFFIX in names]
        if not linked:
            return True
        with FileLock(self.folder / "sealing") as lock:
            if not lock.acquire():
                return False
            for file in linked:
                self._seal(file, sync)
        return True

    def _seal(self, file: ParcelFile, sync: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # done in the meantime
            fd = os.open(self.folder / (file.data + LINK_SUFFIX), os.O_RDONLY)
            try:
                job = Job(fd, file.data, file.size_bytes, file.mtime_ns)
                seal(str(self.folder), job, lambda: False, sync, lambda: None)
            finally:
                os.close(fd)

    def broken(self) -> list[ParcelFile]:
        """Return the files whose content is not what was handed over, once `seal` has done what it could."""
        names = set(self._files.list(self.folder))
        return [
            file
            for file in self.left.files
            if file.data not in names or self._files.size(self.data(file)) != file.size_bytes
        ]

    @property
    def is_being_copied(self) -> bool:
        """Whether somebody makes copies of what was only linked."""
        if not any(name.endswith(LINK_SUFFIX) for name in self._files.list(self.folder)):
            return False
        with FileLock(self.folder / "sealing") as lock:
            return not lock.acquire()

    # -- what became of it ------------------------------------------------------------

    @property
    def trouble(self) -> Trouble | None:
        """Why it is not uploaded yet; None where nothing was said."""
        try:
            content = json.loads(self._files.read(self.folder / "trouble.json", 0, 1 << 20))
            doubts = int(content.get("doubts", 0))
            return Trouble(str(content["reason"]), int(content["noted_ms"]), bool(content["is_refused"]), doubts)
        except (AttributeError, OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def is_refused(self) -> bool:
        """Whether it is set aside."""
        trouble = self.trouble
        return trouble is not None and trouble.is_refused

    def note_trouble(self, reason: str, is_refused: bool = False, doubts: int = 0) -> None:
        """Write down why it is not uploaded; durable when this returns.

        Raises:
            OSError: As the file system says.
        """
        trouble = Trouble(reason, time.time_ns() // 1_000_000, is_refused, doubts)
        write_whole(self._files, self.folder / "trouble.json", json.dumps(asdict(trouble)).encode())

    def forgive(self) -> None:
        """Forget why it was not uploaded, so that it is tried again."""
        self._files.unlink(self.folder / "trouble.json")

    def note_left(self, left: Left) -> None:
        """Write down what is still to be done, as far as it is more than nothing; durable when this returns.

        The content of files that are stored is deleted then: it is not sent again, over later files perhaps.

        Raises:
            OSError: As the file system says.
        """
        content = {"format": FORMAT, "sent": not left.files, "removes": list(left.removes)}
        write_whole(self._files, self.folder / "left.json", json.dumps(content).encode())
        if not left.files and self.entry is not None:
            for file in self.entry.files:
                for name in (file.data, file.data + LINK_SUFFIX, f"upload-{file.data}.json"):
                    self._files.unlink(self.folder / name)

    def remove(self) -> None:
        """Delete it: it is uploaded, or not wanted any more. Being killed leaves it as it was, or leaves nothing.

        Raises:
            OSError: As the file system says.
        """
        grave = self.folder.with_name(f".{self.id}.gone")
        self._files.replace(self.folder, grave)
        remove_tree(self._files, grave)


class ParcelNote:
    """What is known of an upload in parts; lost after a power cut, perhaps, and then the store is asked.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Mapping[str, Any]:
        """Return what was saved last; empty where there is nothing."""
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep it; an empty one is forgotten. A full disk keeps none, and what was sent is sent again then."""
        with contextlib.suppress(OSError):
            if not content:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f".{self._path.name}.tmp")
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(dict(content)))
            os.replace(temporary, self._path)
