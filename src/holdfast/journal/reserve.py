"""Room for a checkpoint on a full disk: what is delivered can only be deleted once that is written down."""

from __future__ import annotations

import contextlib
import os

from holdfast.journal.layout import JournalPaths

_SIZE_BYTES = 256 << 10


def make_reserve(paths: JournalPaths) -> None:
    """Take the room, where there is any; it is not taken twice."""
    with contextlib.suppress(OSError):
        if paths.reserve.exists():
            return
        fd = os.open(paths.reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            # Written, not just sized: a file with holes reserves nothing.
            os.write(fd, bytes(_SIZE_BYTES))
        finally:
            os.close(fd)


def use_reserve(paths: JournalPaths) -> bool:
    """Give the room back to the disk; False where it is gone already."""
    try:
        paths.reserve.unlink()
    except OSError:
        return False
    return True
