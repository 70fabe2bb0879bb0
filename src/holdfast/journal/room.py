"""Keeps a journal below its size bound."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from holdfast.errors import JournalFullError
from holdfast.journal.layout import JournalPaths
from holdfast.journal.options import JournalOptions
from holdfast.journal.retention import retire

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_LARGEST_GRANT = 64 << 20
_SMALLEST_GRANT = 4 << 10


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
        none, this waits for the delivery where the policy is `block`.

        Raises:
            JournalFullError: There is no room, and the policy is `error`.
        """
        has_said = False
        while True:
            left = self._options.limit_bytes - size_of(self._paths.root)
            if left < wanted + _SMALLEST_GRANT:
                retire(self._paths, needed_bytes=wanted + _SMALLEST_GRANT - left)
                left = self._options.limit_bytes - size_of(self._paths.root)
            if left >= wanted:
                return max(wanted, min(left // 8, _LARGEST_GRANT))
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
            time.sleep(_POLL_S)


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
