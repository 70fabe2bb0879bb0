"""Locks between processes: one for a deliverer, one that tells whether a process lives.

`FileLock` belongs to an open file: two of them exclude each other within one process too. A lease is locked by its
process as a whole, and a child that it forks does not inherit that: the lock is gone exactly when the process is.

Whether a lock is held is asked with a shared one, of which any number go together: those who ask at the same time do
not take each other for its holder. Who wants the lock sees through them (`FileLock.acquire`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType

from holdfast.errors import HoldfastError

_POLL_S = 0.005
_FAR = 1 << 30
# Those who only ask are gone within microseconds, but many may ask.
_ASKED_S = 1.0

if os.name == "nt":
    import msvcrt

    def _lock_open_file(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)  # what is locked cannot be read by others there
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]

    lock_process_file = _lock_open_file

    def _share_open_file(fd: int) -> None:
        _lock_open_file(fd)  # there are no shared locks there

    share_process_file = _share_open_file

    def _unlock_open_file(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
else:
    import fcntl

    def _lock_open_file(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _share_open_file(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _unlock_open_file(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def lock_process_file(fd: int) -> None:
        """Lock for this process, or raise `OSError` where another one has it."""
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def share_process_file(fd: int) -> None:
        """Lock beside others that only ask, or raise `OSError` where a process has it for itself."""
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _is_file(fd: int, path: Path) -> bool:
    """Whether an open file is the one that is at a path."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


# A forked child shares its parent's locks as long as it has their descriptors, and would keep them after the parent.
_held: weakref.WeakSet[FileLock] = weakref.WeakSet()
# Descriptors that a thread is about to get a lock with. It may have it already and not know, when another one forks.
_tried: set[int] = set()
# Held while a descriptor is made or closed, and by whoever forks: in between, the child would have one that is noted
# nowhere. A signal handler that forks inside is the thread's own.
_changing = threading.RLock()


def _open(path: Path, flags: int) -> int:
    """Open a file to lock it; its descriptor is noted as tried."""
    with _changing:
        fd = os.open(path, flags, 0o600)
        _tried.add(fd)
        return fd


def _close(fd: int) -> None:
    with _changing:
        _tried.discard(fd)
        os.close(fd)


def _after_fork() -> None:
    # Closing the child's copy leaves the parent's lock in force.
    try:
        for lock in list(_held):
            _tried.discard(lock.fd)
            lock.release()
        for fd in _tried:
            with contextlib.suppress(OSError):
                os.close(fd)
        _tried.clear()
    finally:
        _changing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_after_fork)


class FileLock:
    """An exclusive lock on a file, free again when it is closed or its process ends.

    Args:
        path: The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def is_held(self) -> bool:
        """Whether this object has it."""
        return self._fd >= 0

    @property
    def fd(self) -> int:
        """The open file; a process that inherits it has the lock too, for as long as it lives."""
        return self._fd

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Take the lock; False where somebody else has it for longer than this.

        Raises:
            OSError: The file cannot be made, for instance because its folder is gone.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            fd = _open(self.path, os.O_CREAT | os.O_RDWR)
            try:
                if self._lock(fd, deadline):
                    return True
                # Deleted, with its folder, by whoever had the lock: it keeps nobody out any more.
            except BlockingIOError:
                return False
            finally:
                if self._fd == fd:
                    _tried.discard(fd)
                else:
                    _close(fd)

    def _lock(self, fd: int, deadline_s: float) -> bool:
        """Take the lock; False where the file is another one by now, `BlockingIOError` where the time is over."""
        asked_until_s = time.monotonic() + _ASKED_S
        while True:
            try:
                _lock_open_file(fd)
            except OSError:
                now_s = time.monotonic()
                if now_s >= deadline_s and (now_s >= asked_until_s or not _is_only_asked(fd)):
                    raise BlockingIOError from None
                time.sleep(_POLL_S)
            else:
                if not _is_file(fd, self.path):
                    return False
                self._fd = fd
                _held.add(self)
                return True

    def release(self) -> None:
        """Let go of the lock; nothing happens where it is not held."""
        with _changing, contextlib.suppress(OSError):
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(folder: Path, what: str) -> FileLock:
    """Return the lock of work that one process at a time may do; the kernel ends it with the process.

    Args:
        folder: Where what the work keeps lies; made where it is missing.
        what: What the work is, for people: `migration`.

    Raises:
        HoldfastError: Another process is at it.
        OSError: The disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    if not lock.acquire():
        raise HoldfastError(
            f"Another {what} of this project is under way (it holds {lock.path}).",
            "wait until it has ended, and give the command again",
            retryable=True,
        )
    return lock


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock, which is not taken for that; the file is not made where it is missing."""
    try:
        while True:
            fd = _open(path, os.O_RDWR)
            try:
                if not _is_only_asked(fd):
                    return True
                if _is_file(fd, path):
                    return False
            finally:
                _close(fd)
    except OSError:
        return False


def _is_only_asked(fd: int) -> bool:
    """Whether nobody has the lock of an open file for himself."""
    try:
        _share_open_file(fd)
    except OSError:
        return False
    _unlock_open_file(fd)
    return True
