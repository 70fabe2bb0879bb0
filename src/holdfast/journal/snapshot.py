"""Takes the present content of a file into the journal, as fast as is safe."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import InvalidInputError
from holdfast.journal.leases import Leases
from holdfast.journal.sealing import copy_content

_TRIES = 2
_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


class Snapshot(NamedTuple):
    """What was taken.

    Attributes:
        size_bytes: Its size.
        mtime_ns: When it was modified last, ns since the epoch.
        is_linked: Whether it is a link as yet, of which a copy is being made.
    """

    size_bytes: int
    mtime_ns: int
    is_linked: bool = False


def snapshot(source: Path, target: Path, leases: Leases | None = None) -> Snapshot:
    """Give `target` the content that a file has now; what becomes of the file afterwards does not matter.

    A large file is linked where a lease keeps writers out until it is copied, which takes no time at all; else its
    blocks are shared where the file system can, and else it is copied here and now. Linking comes first because
    sharing blocks waits for what was just written to reach the disk.

    Args:
        source: The file; symbolic links are followed.
        target: A file that must not exist.
        leases: What links files; without it none is.

    Raises:
        InvalidInputError: There is no such file, it is none, it cannot be read, or it changes all the time.
        OSError: `target` cannot be written.
    """
    fd = open_source(source)
    try:
        found = leases.take(fd, target) if leases is not None else None
        if found is not None:
            return Snapshot(found.st_size, found.st_mtime_ns, is_linked=True)
        for _ in range(_TRIES):
            taken = _copied(fd, target)
            if taken is not None:
                return taken
            target.unlink()
    finally:
        os.close(fd)
    raise InvalidInputError(
        f"The artifact {source} changes while it is copied.", "hand it over when it is written, and closed"
    )


def open_source(source: Path) -> int:
    """Return a descriptor of a file that is to be taken.

    Raises:
        InvalidInputError: There is no such file, it is none, or it cannot be read.
    """
    try:
        check_is_file(source)
        return os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise InvalidInputError(
            f"The artifact {source} cannot be read: {error.strerror or error}.", "give the path of a file"
        ) from None


def check_is_file(source: Path) -> os.stat_result:
    """Return what is known of a file.

    Raises:
        InvalidInputError: It is none.
        OSError: There is none.
    """
    found = os.stat(source)
    if not stat.S_ISREG(found.st_mode):
        what = _KINDS.get(stat.S_IFMT(found.st_mode), "is no file")
        raise InvalidInputError(f"The artifact {source} {what}.", "give the path of a file")
    return found


def _copied(fd: int, target: Path) -> Snapshot | None:
    """Copy a file; None where it was changed meanwhile."""
    before = os.fstat(fd)
    out = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    try:
        copy_content(fd, out)
        size_bytes = os.fstat(out).st_size
    except BaseException:
        os.close(out)
        target.unlink()
        raise
    os.close(out)
    after = os.fstat(fd)
    is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    # What has no size of its own (/proc) is as large as what was read.
    if not is_same or (before.st_size and size_bytes != before.st_size):
        return None
    return Snapshot(size_bytes, before.st_mtime_ns)
