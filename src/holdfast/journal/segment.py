"""The files that a writer appends to, and what it needs of its process for that."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.errors import JournalError
from holdfast.journal import codec
from holdfast.journal.filesystem import FileSystem
from holdfast.journal.layout import RunPaths, segment_name
from holdfast.journal.options import JournalOptions

HINTS = {
    errno.ENOSPC: "free some space, or set HOLDFAST_JOURNAL to a folder on another disk",
    errno.EDQUOT: "free some of your quota, or set HOLDFAST_JOURNAL to a folder on another disk",
    errno.EROFS: "set HOLDFAST_JOURNAL to a folder that can be written to",
    errno.EACCES: "make it writable for this user, or set HOLDFAST_JOURNAL to another folder",
    errno.EIO: "the disk has an error; set HOLDFAST_JOURNAL to a folder on another one",
}


@dataclass(frozen=True, eq=False)
class OpenSegment:
    """A segment that is open for appending.

    Attributes:
        fd: Its descriptor.
        path: Its file.
    """

    fd: int
    path: Path

    def abandon(self, files: FileSystem) -> None:
        """Close without another word: it belongs to the parent of this forked process."""
        with contextlib.suppress(OSError):
            files.close(self.fd)


class Household(Protocol):
    """What the writers of one process share."""

    @property
    def process(self) -> str:
        """The name of the calling process in this journal; a new one after a fork."""

    def grant(self, wanted: int) -> int:
        """Return how many bytes may be written, `wanted` or more."""

    def retire(self, segment: OpenSegment) -> None:
        """Sync and close a segment that is written to no more, away from the calling thread."""


class Place:
    """Where the segments of a run go.

    Args:
        run: The run's folder.
        household: What the process's writers share.
        files: The file system.
        options: How the journal is kept.
    """

    def __init__(self, run: RunPaths, household: Household, files: FileSystem, options: JournalOptions) -> None:
        self.run = run
        self.files = files
        self.sync_each = options.sync == "always"
        self.segment_bytes = options.segment_bytes
        self._is_synced = options.sync != "process"
        self._household = household

    def open_segment(self, letter: str, number: int, base_ms: int) -> OpenSegment:
        """Create a segment with its header.

        The run's first is durable by name when this returns, unless nothing is synced; so is each where calls are
        synced. The name of a later one is synced with its content, so that the call that finds the one before
        full need not wait for the disk.

        Raises:
            JournalError: It cannot be made.
        """
        path = self.run.folder / segment_name(self._household.process, letter, number, base_ms)
        try:
            self.files.make_folder(self.run.folder)
            fd = self.files.open_new(path)
        except OSError as error:
            raise self.failure(error) from None
        try:
            if self.files.write(fd, codec.HEADER) != len(codec.HEADER):
                raise OSError(errno.ENOSPC, "no space left on device")
            if self.sync_each or (self._is_synced and number == 0):
                self.files.sync_folder(self.run.folder)
            if self._is_synced and number == 0:  # the folder itself may be new
                self.files.sync_folder(self.run.folder.parent)
        except OSError as error:
            self._discard(fd, path)
            raise self.failure(error) from None
        return OpenSegment(fd, path)

    def _discard(self, fd: int, path: Path) -> None:
        with contextlib.suppress(OSError):
            self.files.close(fd)
        with contextlib.suppress(OSError):
            self.files.unlink(path)

    def grant(self, wanted: int) -> int:
        """Return how many bytes may be written, `wanted` or more.

        Raises:
            JournalFullError: The journal has reached its bound.
        """
        return self._household.grant(wanted)

    def retire(self, segment: OpenSegment) -> None:
        """Sync and close a segment that is written to no more."""
        self._household.retire(segment)

    def failure(self, error: OSError | None) -> JournalError:
        """Return the error of a call that was not logged; None stands for a write that took a part only."""
        code = errno.ENOSPC if error is None else error.errno
        reason = "no space left on the disk" if error is None else error.strerror or str(error)
        return JournalError(
            f"The journal {self.run.folder} cannot be written to: {reason}. This call was not logged; "
            "what was logged before is whole.",
            HINTS.get(code or 0, f"see `ls -ld '{self.run.folder}'`, or set HOLDFAST_JOURNAL to another folder"),
            retryable=True,
        )
