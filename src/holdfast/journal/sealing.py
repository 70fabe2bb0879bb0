"""Makes copies of files that were handed over as hard links, while a lease keeps everybody from changing them.

This file is also a program, run by its path in a process of its own (`python -I -S sealing.py JOBS`), and needs
nothing but the standard library. A process it has to be: whoever opens a leased file for writing waits for the lease,
and where an extension module does that with Python's interpreter lock in its hands (`torch.save` does), a thread of
the same process could never finish the copy. The lease ends with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows, which has no leases
    fcntl = None  # type: ignore[assignment]

LINK_SUFFIX = ".link"
_FICLONE = 0x40049409
_CHUNK_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
# What a file system, or a pair of them, says that cannot copy by itself.
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EBADF, errno.EPERM)


class Job(NamedTuple):
    """A file to be sealed.

    Attributes:
        fd: Open for reading, perhaps with a lease.
        data: The name that its copy gets; the link is at this name with `.link`.
        size_bytes: Its size when it was handed over.
        mtime_ns: Its time of modification then, ns since the epoch.
    """

    fd: int
    data: str
    size_bytes: int
    mtime_ns: int


def copy_content(fd: int, out: int) -> None:
    """Give an empty file the content of another one from its beginning: shared where the file system can, else copied.

    Raises:
        OSError: As the file system says; what is in `out` is worth nothing then.
    """
    if not _clone(fd, out):
        _copy(fd, out)


def _clone(fd: int, out: int) -> bool:
    if fcntl is None or sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(out, _FICLONE, fd)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def _copy(fd: int, out: int) -> None:
    done = _copy_in_kernel(fd, out)
    # What says it is empty need not be (/proc), and what is left is read here where the kernel cannot copy.
    os.lseek(out, done, os.SEEK_SET)
    os.lseek(fd, done, os.SEEK_SET)
    while piece := os.read(fd, _PIECE_BYTES):
        left = memoryview(piece)
        while left:
            left = left[os.write(out, left) :]


def _copy_in_kernel(fd: int, out: int) -> int:
    copy = getattr(os, "copy_file_range", None)
    done = 0
    while copy is not None:
        try:
            count = copy(fd, out, _CHUNK_BYTES, done, done)
        except OSError as error:
            if error.errno in _CANNOT:
                break
            raise
        if not count:
            break
        done += count
    return done


def seal(folder: str, job: Job, is_surely_right: Callable[[], bool], sync: str, release: Callable[[], None]) -> bool:
    """Replace a link by a copy of what was handed over.

    Being killed leaves the link, and nothing under the copy's name.

    Args:
        folder: Where both are.
        job: The file.
        is_surely_right: Asked after the copy: whether a lease was in force all the time. Where it was not, size and
            time of modification tell.
        sync: The journal's policy. With `always` the copy is on the disk before the link, which is there already,
            goes; with `interval` it is when this returns.
        release: Called when others may change the file.

    Returns:
        False where its content may have been changed, so that nobody has what was handed over.

    Raises:
        OSError: The copy cannot be written.
    """
    target = os.path.join(folder, job.data)
    temporary = os.path.join(folder, f".{job.data}.{os.getpid()}-{os.urandom(3).hex()}.tmp")
    out = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        copy_content(job.fd, out)
        if os.fstat(out).st_size != job.size_bytes or not (is_surely_right() or _is_as_noted(job)):
            return False
        if sync == "always":
            os.fsync(out)
        os.replace(temporary, target)
        release()
        if sync == "interval":
            os.fsync(out)
    finally:
        os.close(out)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    if sync != "process":
        _sync_folder(folder)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target + LINK_SUFFIX)
    return True


def _is_as_noted(job: Job) -> bool:
    now = os.fstat(job.fd)
    return (now.st_size, now.st_mtime_ns) == (job.size_bytes, job.mtime_ns)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _seal_leased(job: Job, deadline_s: float, sync: str) -> None:
    """Seal one file in the working directory; where that fails, the link stays for whoever comes next."""

    def is_surely_right() -> bool:
        # Until the deadline the kernel lets nobody in; after it, only where nobody has asked.
        return time.monotonic() < deadline_s or fcntl.fcntl(job.fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK

    with contextlib.suppress(OSError):
        seal(".", job, is_surely_right, sync, lambda: os.close(job.fd))
        return
    with contextlib.suppress(OSError):
        os.close(job.fd)


def main() -> None:
    """Seal what the first argument says, in the working directory, which may be renamed meanwhile."""
    asked = json.loads(sys.argv[1])
    for job in asked["jobs"]:
        _seal_leased(Job(*job), asked["deadline_s"], asked["sync"])


if __name__ == "__main__":
    main()
