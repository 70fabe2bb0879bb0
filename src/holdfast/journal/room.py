"""Keeps a journal below its size bound."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from holdfast.errors import JournalFullError
from holdfast.journal.checkpoint import is_behind, load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.options import JournalOptions
from holdfast.journal.retention import retire
from holdfast.journal.spool import Spool

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_LARGEST_GRANT = 64 << 20
_SMALLEST_GRANT = 4 << 10
# Nothing to be delivered for so long: what is in the journal stays, and there is nothing to wait for.
_IN_VAIN_S = 3.0


class Room:
    """Hands out bytes to the writers of one process, counting the journal anew each time.

    A grant is an eighth of what is left, so that several processes together overshoot the bound by little.

    Args:
        paths: The journal.
        options: Its bound, and what happens there.
    """

    def __init__(self, paths: JournalPaths, options: JournalOptions) -> None:
        self._paths = paths
        self._options = options

    def grant(self, wanted: int) -> int:
        """Return how many bytes may be written before asking again, `wanted` or more.

        What is delivered and only kept for `holdfast verify` is deleted where that makes the room. If there is
        none, this waits for the delivery where the policy is `block`, unless there never will be.

        Raises:
            JournalFullError: There is no room, and the policy is `error`; or so much never fits, whatever is delivered.
        """
        if wanted > self._options.limit_bytes:
            raise self._never_fits(wanted, "is more than")
        has_said, in_vain_s = False, time.monotonic() + _IN_VAIN_S
        while (left := self._left(wanted)) < wanted:
            if self._options.when_full == "error":
                raise JournalFullError(
                    f"The journal {self._paths.root} has reached its bound of {self._options.limit_bytes:,} bytes; "
                    "this call was not logged.",
                    "bring the server back or run `holdfast sync`, set a larger HOLDFAST_JOURNAL_LIMIT, "
                    "or HOLDFAST_JOURNAL_FULL=block to wait",
                    retryable=True,
                )
            if not has_said:
                _log.warning("the journal %s is full: calls that log wait for the delivery", self._paths.root)
                has_said = True
            if self._has_something_to_deliver():
                in_vain_s = time.monotonic() + _IN_VAIN_S
            elif time.monotonic() >= in_vain_s:
                raise self._never_fits(wanted, "does not fit, beside what stays in the journal, below")
            time.sleep(_POLL_S)
        return max(wanted, min(left // 8, _LARGEST_GRANT))

    def _left(self, wanted: int) -> int:
        """Return how many bytes are left, once what can be deleted has made room."""
        left = self._options.limit_bytes - size_of(self._paths.root)
        if left >= wanted + _SMALLEST_GRANT:
            return left
        retire(self._paths, needed_bytes=wanted + _SMALLEST_GRANT - left)
        return self._options.limit_bytes - size_of(self._paths.root)

    def _never_fits(self, wanted: int, how: str) -> JournalFullError:
        return JournalFullError(
            f"What was to be logged takes {wanted:,} bytes, which {how} the bound of {self._options.limit_bytes:,} "
            f"bytes of the journal {self._paths.root}; this call was not logged.",
            "set a larger HOLDFAST_JOURNAL_LIMIT, or store files with wait=True, which needs no journal",
        )

    def _has_something_to_deliver(self) -> bool:
        """Whether room may still be made: files wait, are being handed over, or a run is not delivered."""
        files = OsFileSystem()
        if any(not parcel.is_refused for parcel in Spool(self._paths).parcels()):
            return True
        if any(name.endswith(".new") for name in files.list(self._paths.files)):
            return True
        runs = [self._paths.run(name) for name in files.list(self._paths.runs) if not name.startswith(".")]
        return any(
            is_behind(files, run.folder, load_checkpoint(files, run.checkpoint))
            or bool(files.list(run.folder / "artifacts"))
            for run in runs
        )


def size_of(root: Path) -> int:
    """Return the size of all files below a folder in bytes."""
    total = 0
    folders = [root]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += _size(entry)
        except OSError:  # deleted meanwhile
            continue
    return total


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0
