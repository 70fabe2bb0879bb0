"""What a migration has done so far, on disk: lines of JSON that are only ever added to.

A killed process leaves at most one broken line, the last, which is cut off by whoever goes on. What stands in a whole
line had happened when it was written. Nothing in here is secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.artifacts.landing import disk_errors
from holdfast.errors import HoldfastError
from holdfast.journal.line_file import LineFile
from holdfast.journal.locks import FileLock, lock_folder

FORMAT = 1


class Copied(NamedTuple):
    """A file that is at its new place, read back and compared.

    Attributes:
        size_bytes: Its size.
        mark: What its old place said of it then (see `Entry.mark`): another one means that it has changed since.
        sha256: The SHA-256 of its content, in hexadecimal digits.
        is_ours: Whether the migration has stored it; else it was there already.
    """

    size_bytes: int
    mark: str
    sha256: str
    is_ours: bool


@dataclass
class Progress:
    """What a ledger says of one place.

    Attributes:
        new: The address that its files go to.
        copied: The files that are there, by path below the place.
        begun: The files that the migration has begun to store: what is there under their names is its own.
    """

    new: str
    copied: dict[str, Copied] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


def targets_in(home: Path) -> list[str]:
    """Return the new roots of all migrations whose ledgers are in a folder; only looked at, also while one is at work.

    Args:
        home: The folder of the ledgers' folders; it need not exist.
    """
    found = set()
    for path in home.glob("*/ledger.jsonl"):
        with suppress(OSError, ValueError, AttributeError, KeyError), path.open("rb") as file:
            found.add(str(json.loads(file.readline())["to"]))
    return sorted(found)


class Ledger:
    """The ledger of one migration; one process at a time has it, see `taken`.

    Args:
        folder: Its folder, made when something is noted.

    Attributes:
        places: What is known of each place, by its old address.
        rewritten_at: When locations were rewritten last, or were about to be; an empty text before that.
        rewritten_places: The old addresses of the places whose locations were rewritten, or were about to be: a kill
            may come between the database's commit and the note of it.
        was_there: Whether there was one already: an earlier call with the same arguments.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, Progress] = {}
        self.rewritten_at = ""
        self.rewritten_places: set[str] = set()
        self._path = folder / "ledger.jsonl"
        self._lock = threading.Lock()
        with disk_errors(f"Cannot read the migration's ledger {self._path}"):
            self.was_there = self._path.exists()
            self._load()

    @property
    def staging(self) -> Path:
        """Where files lie for a moment on their way from one bucket to another place."""
        return self.folder / "staging"

    def begin(self, **about: Any) -> None:
        """Note what the migration is, for people."""
        self._add(is_="migration", format=FORMAT, at=_now(), **about)

    def add_place(self, old: str, new: str) -> Progress:
        """Note a place that is moved; return what is known of it."""
        if old not in self.places:
            self._add(is_="place", old=old, new=new)
        return self.places[old]

    def begin_files(self, old: str, paths: Sequence[str]) -> None:
        """Note, before it is done, which files are stored next."""
        fresh = [path for path in paths if path not in self.places[old].begun]
        if fresh:
            self._add(is_="begun", place=old, paths=fresh)

    def end_files(self, old: str, files: Iterable[tuple[str, Copied]]) -> None:
        """Note files that are at their new place and compared; durable when this returns."""
        rows = [[path, *found] for path, found in files]
        if rows:
            self._add(is_="copied", place=old, files=rows)

    def forget_file(self, old: str, path: str) -> None:
        """Note that a file has gone from the old place, so that it need not be at the new one."""
        self._add(is_="gone", place=old, path=path)

    def rewriting(self, rows: int, places: Iterable[str]) -> None:
        """Note that the locations of some places are about to be rewritten."""
        self._add(is_="rewriting", rows=rows, places=sorted(places), at=_now())

    def rewritten(self, rows: int) -> None:
        """Note that they are."""
        self._add(is_="rewritten", rows=rows, at=_now())

    def end(self, **found: Any) -> None:
        """Note that all is done."""
        self._add(is_="end", at=_now(), **found)

    # -- the file ---------------------------------------------------------------------

    def _load(self) -> None:
        whole = 0
        for line in self._lines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        if self.was_there and whole < self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _lines(self) -> Iterator[bytes]:
        if self.was_there:
            with self._path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))

    def _add(self, **record: Any) -> None:
        record = {"is": record.pop("is_"), **record}
        with self._lock, disk_errors(f"Cannot write the migration's ledger {self._path}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            LineFile(self._path).add(record)
            self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["is"]
        if kind == "migration" and record["format"] > FORMAT:
            raise HoldfastError(
                f"The ledger {self._path} was written by a later release of Holdfast.", "pip install --upgrade holdfast"
            )
        if kind == "place":
            self.places.setdefault(record["old"], Progress(record["new"]))
        elif kind in ("rewriting", "rewritten"):
            self.rewritten_at = record["at"]
            self.rewritten_places.update(record.get("places", ()))
        elif kind in ("begun", "copied", "gone"):
            _take_files(self.places[record["place"]], kind, record)


def _take_files(progress: Progress, kind: str, record: dict[str, Any]) -> None:
    if kind == "begun":
        progress.begun.update(record["paths"])
    elif kind == "gone":
        progress.copied.pop(record["path"], None)
    else:
        progress.copied |= {path: Copied(*found) for path, *found in record["files"]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def name_of(*parts: str) -> str:
    """Return the name of a migration's folder: the same for the same arguments."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def taken(folder: Path) -> FileLock:
    """Keep every other migration of the project out while the lock is held; the kernel ends that with the process.

    Args:
        folder: Where the project's migrations have their ledgers; made where it is missing.

    Raises:
        HoldfastError: Another one is under way.
    """
    with disk_errors(f"Cannot make the folder {folder}"):
        return lock_folder(folder, "migration")
