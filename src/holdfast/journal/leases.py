"""Takes a file over in no time: a hard link, and a read lease that keeps writers out until there is a copy.

While somebody holds a read lease on a file, the kernel lets everybody wait who opens or truncates it for writing,
for `/proc/sys/fs/lease-break-time` (45 s) at most. Deleting it, or renaming another file over it, is not held up and
does no harm: the link keeps what was there. `sealing` then makes the copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import weakref
from functools import cache
from pathlib import Path

from holdfast.journal import sealing
from holdfast.journal.sealing import LINK_SUFFIX, Job

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Below, a copy takes no longer than to start the process that makes it.
_SMALLEST_BYTES = 8 << 20
_LARGEST_BYTES = 8 << 30
# What a slow disk copies in a second; half of the time is kept for a machine that is busy with other things.
_SLOW_RATE = 400 << 20
_HELPERS = 4
_MARGIN_S = 2.0
_BREAK_TIME = Path("/proc/sys/fs/lease-break-time")


class _Helper:
    """A process that makes copies, and how much it has to copy."""

    def __init__(self, process: subprocess.Popen[bytes], size_bytes: int) -> None:
        self.process = process
        self.size_bytes = size_bytes


class _Helpers:
    """Those that this process has started."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew in a forked child: its parent's are not its own."""
        self._lock = threading.Lock()
        self._all: list[_Helper] = []

    def add(self, helper: _Helper) -> None:
        """Note one."""
        with self._lock:
            self._all.append(helper)

    def at_work(self) -> list[_Helper]:
        """Return those that are not done."""
        with self._lock:
            self._all = [helper for helper in self._all if helper.process.poll() is None]
            return list(self._all)


_helpers = _Helpers()
_open: weakref.WeakSet[Leases] = weakref.WeakSet()


def _after_fork() -> None:
    _helpers.begin()
    for leases in list(_open):
        leases.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Leases:
    """The leased files of one folder, from the first link until a process of its own makes the copies.

    Args:
        sync: The journal's policy.
    """

    def __init__(self, sync: str) -> None:
        self._sync = sync
        self._jobs: list[Job] = []
        self._started_s = 0.0
        _open.add(self)

    def take(self, fd: int, target: Path) -> os.stat_result | None:
        """Link an open file to `target` with `.link`; None where that is not safe, and the file is to be copied.

        It keeps a descriptor of its own. Nobody can change the file from here on, until `start` or `release`.

        Args:
            fd: The file, open for reading.
            target: The name that its copy is to get.
        """
        found = os.fstat(fd)
        if not _is_suitable(found, target.parent, sum(job.size_bytes for job in self._jobs)):
            return None
        # One of its own, opened anew: a lease belongs to an opened file, and the caller closes its own.
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        self._started_s = self._started_s or time.monotonic()
        try:
            _set_lease(own)
            found = os.fstat(own)
            # Of the opened file, whatever is at its path by now; only with `src_dir_fd` is the link in /proc followed.
            os.link(f"/proc/self/fd/{own}", f"{target}{LINK_SUFFIX}", src_dir_fd=own, follow_symlinks=True)
        except OSError:  # open for writing, another file system, not ours, no leases here
            os.close(own)
            return None
        self._jobs.append(Job(own, target.name, found.st_size, found.st_mtime_ns))
        return found

    def start(self, folder: Path, lock_fd: int) -> None:
        """Have the copies made by a process of its own, which has the leases from here on.

        Args:
            folder: Where the links are; it may be renamed meanwhile.
            lock_fd: A lock that this process is to hold while it is at work.

        Raises:
            OSError: No process can be started.
        """
        if not self._jobs:
            return
        asked = {"jobs": self._jobs, "deadline_s": self._started_s + _break_s() - _MARGIN_S, "sync": self._sync}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", sealing.__file__, json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            pass_fds=[*(job.fd for job in self._jobs), lock_fd],
            start_new_session=True,
        )
        _helpers.add(_Helper(process, sum(job.size_bytes for job in self._jobs)))
        self.forget()

    def release(self) -> None:
        """Give the leases up; the links stay."""
        for job in self._jobs:
            with contextlib.suppress(OSError):
                fcntl.fcntl(job.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self.forget()

    def forget(self) -> None:
        """Close the descriptors; a lease lives on where another process has them too."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            with contextlib.suppress(OSError):
                os.close(job.fd)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was linked."""
        return not self._jobs


def _is_suitable(found: os.stat_result, folder: Path, linked_bytes: int) -> bool:
    """Whether a lease can be had for this file, and its copy be made before the kernel takes the lease away."""
    if fcntl is None or sys.platform != "linux" or found.st_size < _SMALLEST_BYTES:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_dev != os.stat(folder).st_dev or not _leases_hold(folder):
        return False
    helpers = _helpers.at_work()
    wanted = sum(helper.size_bytes for helper in helpers) + linked_bytes + found.st_size
    # A copy that finds the disk full leaves nothing but the link; better to know that now.
    room = os.statvfs(folder)
    has_room = room.f_bavail * room.f_frsize > wanted + _SMALLEST_BYTES
    return len(helpers) < _HELPERS and has_room and wanted <= min(_LARGEST_BYTES, int(_break_s() / 2 * _SLOW_RATE))


def _set_lease(fd: int) -> None:
    """Take a read lease of which no signal tells: the usual one, SIGIO, ends a process."""
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # for the moment until the owner is none
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    fcntl.fcntl(fd, fcntl.F_SETOWN, 0)


@cache
def _break_s() -> float:
    try:
        return float(_BREAK_TIME.read_text())
    except (OSError, ValueError):
        return 0.0


def _leases_hold(folder: Path) -> bool:
    return _leases_hold_on(os.stat(folder).st_dev, folder)


_known: dict[int, bool] = {}


def _leases_hold_on(device: int, folder: Path) -> bool:
    """Find out once for each file system whether a lease keeps writers out there; some only say so."""
    found = _known.get(device)
    if found is None:
        found = _known[device] = _break_s() > 0 and _try_lease(folder / f".{os.urandom(6).hex()}.probe")
    return found


def _try_lease(path: Path) -> bool:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600)
    try:
        _set_lease(fd)
        # A writer that does not want to wait is told so.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
    return False
