"""Copies the files of one place, and compares: what was read at the old place, and what is read back at the new one.

Files go in batches. Of each batch the ledger is told before it is stored, so that after a kill what is there under
those names is known to be the migration's own, and again when every file of it was read back and has the SHA-256 of
what was read. A batch that was killed in between is done again; S3 and folders are not sent what they have.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from holdfast.artifacts.landing import disk_errors
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import Meter
from holdfast.bucket.migration.ends import End, Entry, digest_of_file
from holdfast.bucket.migration.ledger import Copied, Ledger, Progress
from holdfast.bucket.migration.looking import conflict, named
from holdfast.errors import ArtifactError

_T = TypeVar("_T")
_BATCH_FILES = 500
_BATCH_BYTES = 128 << 20
_TRIES = 3
# What an upload says of a file that was written to, or deleted, while it was sent.
_RESTLESS = ("FileChanged", "NoSuchFile")


@dataclass
class Tally:
    """What was done.

    Attributes:
        files: How many files were stored.
        size_bytes: Their size.
        unchanged: How many were there already, with the same content.
        mended: How many copies were not what had been read, and were stored anew.
        restless: Files that changed or went while they were copied; the next pass sees to them.
        gone: Files that went from the old place after they had been copied; their copies are kept.
        late: Files that came or changed at the old place when MLflow looked for them at the new one already, and that
            are there with other content: that is kept.
    """

    files: int = 0
    size_bytes: int = 0
    unchanged: int = 0
    mended: int = 0
    restless: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


@dataclass
class _Load:
    """A file that is being copied: what it is, where its content lies here, and the SHA-256 of that."""

    entry: Entry
    local: Path
    sha256: str


class Copier:
    """Copies from one end to the other.

    Args:
        source: Where the files are.
        target: Where they go.
        ledger: Is told.
        overwrite: Whether other content under the same names at the new place may be replaced.
        meter: Is told of each file that is compared.
    """

    def __init__(self, source: End, target: End, ledger: Ledger, overwrite: bool, meter: Meter) -> None:
        self._source = source
        self._target = target
        self._ledger = ledger
        self._overwrite = overwrite
        self._meter = meter
        self.tally = Tally()

    def pass_over(self, old: str, is_free: bool = False) -> bool:
        """Copy what the old place has and the new one has not yet; return whether there was nothing left to do.

        Args:
            old: The place, which the ledger knows.
            is_free: Whether MLflow looks for the files at the new place already: only what came late is copied then,
                and nothing that somebody has changed or deleted at the new place is touched.

        Raises:
            ArtifactError: A file cannot be read or stored, differs from one that was there before, or could not be
                stored as it is in three tries. What was compared by then stays known.
        """
        progress = self._ledger.places[old]
        at_target = {entry.path: entry.size_bytes for page in self._target.walk(progress.new) for entry in page}
        seen: set[str] = set()
        is_quiet = True
        for batch in _batches(self._wanted(old, progress, None if is_free else at_target, seen)):
            is_quiet = False
            self._copy(old, progress, batch, at_target, is_free)
        return (is_free or self._note_gone(old, progress, seen)) and is_quiet

    def _wanted(self, old: str, progress: Progress, expected: dict[str, int] | None, seen: set[str]) -> Iterator[Entry]:
        """Give what is new or has changed, and what is expected at the new place and is not there."""
        late = set(self.tally.late)
        for page in self._source.walk(old):
            for entry in page:
                seen.add(entry.path)
                done = progress.copied.get(entry.path)
                is_known = done is not None and (done.size_bytes, done.mark) == (entry.size_bytes, entry.mark)
                is_there = expected is None or expected.get(entry.path) == entry.size_bytes
                if not (is_known and is_there) and f"{old}/{entry.path}" not in late:
                    yield entry

    def _note_gone(self, old: str, progress: Progress, seen: set[str]) -> bool:
        """Note files that went in the middle. Their copies stay: nothing tells a deletion from a disk that is gone."""
        gone = [path for path in progress.copied if path not in seen]
        if gone and not seen:
            raise ArtifactError(
                f"{old} is empty, and held {len(gone)} files before.",
                "see whether its disk is still mounted; if they were deleted on purpose, there is nothing to move",
                code="ENOENT",
            )
        for path in gone:
            self._ledger.forget_file(old, path)
        self.tally.gone += [f"{old}/{path}" for path in gone]
        return not gone

    # -- a batch ----------------------------------------------------------------------

    def _copy(
        self, old: str, progress: Progress, batch: Sequence[Entry], at_target: dict[str, int], is_free: bool
    ) -> None:
        with self._staging() as staging:
            loads = self._read(old, batch, staging)
            if is_free:
                loads = self._without_late(old, progress, loads)
            present = [load for load in loads if self._is_foreign(load, progress, at_target)]
            others = self._differing(progress.new, present)
            if others and not self._overwrite:
                raise conflict(progress.new, [load.entry.path for load in others])
            same = _without(present, others)
            ours = _without(loads, same)
            self._ledger.begin_files(old, [load.entry.path for load in ours])
            stored = self._store(old, progress.new, ours)
            self._note(old, same, is_ours=False)
            self._note(old, stored, is_ours=True)

    def _without_late(self, old: str, progress: Progress, loads: Sequence[_Load]) -> list[_Load]:
        """Leave out, and note, what is at the new place with content that neither is this nor was copied there."""

        def is_late(load: _Load) -> bool:
            path = load.entry.path
            there, done = self._target.digest(progress.new, path), progress.copied.get(path)
            return there not in (load.sha256, done.sha256 if done is not None else None)

        tasks = [partial(lambda load: (load, is_late(load)), load) for load in loads]
        late = [load for load, was_late in _each(tasks, self._target.threads) if was_late]
        self.tally.late += [f"{old}/{load.entry.path}" for load in late]
        return _without(loads, late)

    def _read(self, old: str, batch: Sequence[Entry], staging: Path) -> list[_Load]:
        def read(number: int, entry: Entry) -> _Load | None:
            try:
                local = self._source.fetch(old, entry.path, staging / str(number))
                return None if local is None else _Load(entry, local, digest_of_file(local))
            except ArtifactError as error:
                if error.code in _RESTLESS:
                    return None
                raise

        tasks = [partial(read, number, entry) for number, entry in enumerate(batch)]
        found = {load.entry.path: load for load in _each(tasks, self._source.threads) if load is not None}
        self.tally.restless += [f"{old}/{entry.path}" for entry in batch if entry.path not in found]
        return [found[entry.path] for entry in batch if entry.path in found]

    @staticmethod
    def _is_foreign(load: _Load, progress: Progress, at_target: dict[str, int]) -> bool:
        """Whether something is there under its name that the migration has not stored."""
        path = load.entry.path
        done = progress.copied.get(path)
        return path in at_target and path not in progress.begun and (done is None or not done.is_ours)

    def _store(self, old: str, new: str, loads: list[_Load]) -> list[_Load]:
        """Store files and read them back; return those that are at the new place as they were read at the old one."""
        left, wrong = loads, []
        for _ in range(_TRIES):
            self._send(new, left)
            found = self._differing(new, left)
            restless = [load for load in found if self._source.mark(old, load.entry.path) != load.entry.mark]
            self.tally.restless += [f"{old}/{load.entry.path}" for load in restless]
            loads = _without(loads, restless)
            wrong = _without(found, restless)
            if not wrong:
                return loads
            # A checksum may have arrived whole, by which the copy would be taken for what it is not.
            for load in wrong:
                self._target.remove(new, load.entry.path)
            self.tally.mended += len(wrong)
            left = wrong
        raise _damaged(new, [load.entry.path for load in wrong])

    def _send(self, new: str, loads: Sequence[_Load]) -> None:
        try:
            self._target.store(new, [(load.local, load.entry.path) for load in loads])
        except ArtifactError as error:
            if error.code not in _RESTLESS:
                raise

    def _differing(self, new: str, loads: Sequence[_Load]) -> list[_Load]:
        """Return the files that are at the new place with other content, or not at all."""

        def is_same(load: _Load) -> bool:
            # Where it differs it is read again: the damage may have been in the reading.
            return any(self._target.digest(new, load.entry.path) == load.sha256 for _ in range(2))

        def compare(load: _Load) -> _Load | None:
            return None if is_same(load) else load

        found = _each([partial(compare, load) for load in loads], self._target.threads)
        return [load for load in found if load is not None]

    def _note(self, old: str, loads: Sequence[_Load], is_ours: bool) -> None:
        files = [
            (load.entry.path, Copied(load.entry.size_bytes, load.entry.mark, load.sha256, is_ours)) for load in loads
        ]
        self._ledger.end_files(old, files)
        for load in loads:
            self._meter.advance(load.entry.size_bytes)
            self._meter.file_done()
            self.tally.files += is_ours
            self.tally.unchanged += not is_ours
            self.tally.size_bytes += load.entry.size_bytes if is_ours else 0

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        folder = self._ledger.staging
        with disk_errors(f"Cannot use the folder {folder}"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _without(loads: Sequence[_Load], others: Sequence[_Load]) -> list[_Load]:
    paths = {load.entry.path for load in others}
    return [load for load in loads if load.entry.path not in paths]


def _each(tasks: Sequence[Callable[[], _T]], threads: int) -> list[_T]:
    return in_parallel(tasks, max(1, min(threads, len(tasks))), threading.Event()) if tasks else []


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        if batch and (len(batch) >= _BATCH_FILES or size_bytes + entry.size_bytes > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(entry)
        size_bytes += entry.size_bytes
    if batch:
        yield batch


def _damaged(new: str, paths: Sequence[str]) -> ArtifactError:
    return ArtifactError(
        f"{named(paths)} not at {new} as read from the old place, in {_TRIES} tries. No location was rewritten.",
        "something on the way or in the store alters them: see to the network, proxies and disks, and give the "
        "command again",
        retryable=True,
        code="Damaged",
    )
