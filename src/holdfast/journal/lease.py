"""Who writes to a journal, and whether that process still lives."""

from __future__ import annotations

import json
import os
import platform
import time
from enum import Enum
from functools import cache
from pathlib import Path

from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.locks import lock_process_file, share_process_file

# The leases of this process, which it must never look at: closing any descriptor of one gives its lock away. Their
# names begin with the process's id, so that a forked child does not take its parent's for its own.
_own: set[str] = set()


class Life(Enum):
    """What is known of a process."""

    ALIVE = "alive"
    GONE = "gone"
    ELSEWHERE = "on another machine"


class Lease:
    """This process's sign of life in a journal; the kernel takes it back when the process ends, however it ends.

    Args:
        paths: The journal.

    Attributes:
        process: The name this process has in the journal.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, paths: JournalPaths) -> None:
        self.pid = os.getpid()
        self.process = f"{self.pid}-{time.time_ns():x}-{os.urandom(4).hex()}"
        path = paths.lease(self.process)
        # Under its name only when it is locked: whoever looks at it before would take this process for gone.
        temporary = path.with_suffix(".tmp")
        self._fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            lock_process_file(self._fd)
            about = {
                "pid": self.pid,
                "host": platform.node(),
                "boot": boot_id(),
                "started_ms": time.time_ns() // 1_000_000,
            }
            os.write(self._fd, json.dumps(about).encode())
            os.replace(temporary, path)
        except OSError:
            os.close(self._fd)
            temporary.unlink(missing_ok=True)
            raise
        _own.add(self.process)

    def close(self) -> None:
        """Let go of the lease."""
        _own.discard(self.process)
        os.close(self._fd)


def life_of(paths: JournalPaths, process: str, own: str | None = None) -> Life:
    """Return whether the process of this name lives.

    Args:
        paths: The journal.
        process: Its name.
        own: The name of the calling process in this journal, which is not to be looked at.
    """
    if process == own or (process in _own and process.startswith(f"{os.getpid()}-")):
        return Life.ALIVE
    path = paths.lease(process)
    try:
        about = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return _life_without_lease(path)
    if about.get("host") != platform.node() and about.get("boot") != boot_id():
        return Life.ELSEWHERE
    if about.get("boot") != boot_id():
        return Life.GONE
    return Life.ALIVE if _is_locked(path) else Life.GONE


def leased(paths: JournalPaths) -> list[str]:
    """Return the processes that have a lease in a journal, whether they live or not."""
    names = OsFileSystem().list(paths.processes)
    return [name.removesuffix(".lease") for name in names if name.endswith(".lease")]


def has_writers(paths: JournalPaths, own: str | None = None) -> bool:
    """Whether a process of this machine lives that logs to a journal.

    Args:
        paths: The journal.
        own: The name of the calling process in this journal.
    """
    return any(life_of(paths, process, own) is Life.ALIVE for process in leased(paths))


def _life_without_lease(path: Path) -> Life:
    # A lease without content is that of a process that was just starting, or was killed then.
    if not path.exists():
        return Life.ELSEWHERE
    return Life.ALIVE if _is_locked(path) else Life.GONE


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        share_process_file(fd)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@cache
def boot_id() -> str:
    """Return what tells one boot of this machine from the next; the host's name where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
