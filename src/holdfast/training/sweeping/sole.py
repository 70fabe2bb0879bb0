"""One process at a time works on a sweep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.delivery.target import journal_folder
from holdfast.errors import RunStateError
from holdfast.journal.locks import FileLock
from holdfast.settings import Settings


@contextmanager
def alone(settings: Settings, parent_id: str) -> Iterator[None]:
    """Hold a sweep, so that no other process of the project goes on with it meanwhile.

    The lock is a file beside the project's journals. It is seen by processes of this machine, and of those that share
    the folder; it is free when its process is gone, whatever way it went.

    Raises:
        RunStateError: Another process has it, or the file cannot be made.
    """
    lock = FileLock(journal_folder(settings) / "sweeps" / f"{parent_id}.lock")
    try:
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        is_ours = lock.acquire()
    except OSError as error:
        raise RunStateError(
            f"The sweep {parent_id} cannot be locked: {lock.path}: {error.strerror}.",
            "make it writable, or set HOLDFAST_JOURNAL to a folder that is",
        ) from None
    if not is_ours:
        raise RunStateError(
            f"The sweep {parent_id} is being worked on by another process{_who(lock)}.",
            "wait for it or end it (Ctrl-C or SIGTERM), then go on; or begin another sweep: leave --resume out",
        )
    os.ftruncate(lock.fd, 0)
    os.write(lock.fd, str(os.getpid()).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # where a file that is open cannot be deleted
            lock.path.unlink()
        lock.release()


def _who(lock: FileLock) -> str:
    """Return which process has the lock, as far as it has said so."""
    with contextlib.suppress(OSError, ValueError):
        return f", {int(lock.path.read_text())}"
    return ""
