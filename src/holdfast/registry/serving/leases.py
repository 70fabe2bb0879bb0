"""A folder with a model's files that stays as it is for as long as somebody has it on lease."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

LOCK = "lock"
# What cannot be weakly referred to (a tuple, a number) cannot say when it is gone: kept until the process ends.
_for_good: list[Lease] = []


class Lease:
    """The right to read a folder. A context manager; closing it twice does nothing.

    Args:
        folder: The model's files. They are not to be changed.
        checksum: What they are (`core.manifest`).
        close: Gives the folder back; called once, and only in the process that took the lease.
    """

    def __init__(self, folder: Path, checksum: str, close: Callable[[], None]) -> None:
        self.folder = folder
        self.checksum = checksum
        self._process = os.getpid()
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """Give the folder back."""
        close, self._close = self._close, None
        if close is not None and self._process == os.getpid():
            close()

    def keep_with(self, model: object) -> None:
        """Hold the lease for as long as an object lives: what was loaded may read its files later."""
        try:
            weakref.finalize(model, self.close)
        except TypeError:
            _for_good.append(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def share(folder: Path) -> int | None:
    """Lock a folder against being deleted, beside any number of others that do the same.

    Returns:
        The descriptor that holds the lock until it is closed or its process ends; None where there is no such folder
        (any more).
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except FileNotFoundError:  # deleted while this waited
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def delete_unless_shared(folder: Path, leaving: Path) -> bool:
    """Delete a folder that nobody has locked; False where somebody has, or it cannot be deleted.

    Args:
        folder: The folder.
        leaving: Where it goes under another name first, in one step; on the same file system.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
            return False
        leaving.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, leaving)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    delete(leaving)
    return True


def delete(folder: Path) -> None:
    """Delete a folder with all that is in it; what cannot be deleted stays."""
    shutil.rmtree(folder, ignore_errors=True)


def touch(folder: Path) -> None:
    """Note that a folder was used just now; on a disk that cannot be written nothing is noted."""
    # Not the kernel's own idea of now, which stands still for milliseconds.
    now = time.time_ns()
    with suppress(OSError):
        os.utime(folder / LOCK, ns=(now, now))


def last_used(folder: Path) -> int:
    """Return when a folder was last used, in nanoseconds since the epoch; 0 where nobody knows."""
    try:
        return (folder / LOCK).stat().st_mtime_ns
    except OSError:
        return 0
