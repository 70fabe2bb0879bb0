"""A file system in memory that fails, crashes and loses power where a test says.

What is modelled:

* A file has its content in the kernel, and what of it is on the disk. `write` and `truncate` change the first, `sync`
  makes the second equal to it.
* A folder has its entries in the kernel, and those on the disk. Creating, renaming and deleting change the first;
  `sync_folder` makes them durable. A folder is an entry of the one above it, and is lost with that.
* A killed process (`reboot()`) leaves the kernel's view. A power cut (`reboot(power_cut=True)`) leaves what was
  synced, any prefix of what was appended since (or zeros, or garbage, in the place of the rest), and any of the
  changes of folders since, each as a whole.

Every operation has a number, counted from 0 as in `FaultyFileSystem.log`, so that a test runs a scenario once to count
them and then again for each of them with a fault there.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from holdfast.testing._memory_disk import MemoryDisk

_T = TypeVar("_T")


class Crash(BaseException):
    """The process was killed, or the machine lost its power."""


class Operation(NamedTuple):
    """One operation that was asked for.

    Attributes:
        name: The method.
        path: What it was about.
    """

    name: str
    path: Path


@dataclass
class _Fault:
    error: Callable[[], BaseException] | None = None
    taken: int | None = None  # bytes that a write takes before
    action: Callable[[], None] | None = None
    is_after: bool = False
    is_crash: bool = False


class FaultyFileSystem:
    """A `holdfast.journal.filesystem.FileSystem` in memory, with faults.

    Attributes:
        log: Every operation that was asked for, in order; the position in it is the operation's number.
        fired: How many faults have struck.
    """

    def __init__(self) -> None:
        self.log: list[Operation] = []
        self.fired = 0
        self._disk = MemoryDisk()
        self._lock = threading.RLock()
        self._faults: dict[int, _Fault] = {}
        self._is_down = False

    # -- what a test asks for ---------------------------------------------------------

    @property
    def count(self) -> int:
        """How many operations there were: the number of the next one."""
        return len(self.log)

    def fail(self, before: int, code: int = errno.EIO, count: int = 1) -> None:
        """Have operations raise an `OSError` instead of taking place.

        Args:
            before: The number of the first one.
            code: The error's number, such as `errno.ENOSPC`.
            count: How many in a row.
        """
        for number in range(before, before + count):
            self._faults[number] = _Fault(error=lambda: OSError(code, os.strerror(code)))

    def shorten(self, at: int, taken: int, code: int | None = None) -> None:
        """Have a write take only some bytes; then return their number, or raise an `OSError`.

        Args:
            at: The number of the operation; one that is no write fails with `code`, or takes place.
            taken: How many bytes it takes at most; all but one where there are fewer.
            code: The error's number, or None.
        """
        error = None if code is None else lambda: OSError(code, os.strerror(code))
        self._faults[at] = _Fault(error=error, taken=taken)

    def crash(self, before: int, taken: int | None = None) -> None:
        """Crash before an operation; every later one raises `Crash` too, until `reboot`.

        Args:
            before: The number of the operation.
            taken: How many bytes a write takes before that.
        """
        self._faults[before] = _Fault(error=Crash, taken=taken, is_crash=True)

    def strike(self, at: int, action: Callable[[], None], after: bool = False) -> None:
        """Call a function in the middle of an operation, as a signal handler would be; it may raise.

        Args:
            at: The number of the operation.
            action: The function.
            after: Whether the operation has taken place by then.
        """
        self._faults[at] = _Fault(action=action, is_after=after)

    def calm(self) -> None:
        """Forget every fault that has not struck."""
        self._faults.clear()

    def reboot(self, power_cut: bool = False, random: Random | None = None) -> None:
        """Begin anew after a crash, or crash here and now; nothing is open, and no fault is left.

        Args:
            power_cut: Whether what is not synced may be lost.
            random: Chooses what is lost; everything that may be is where none is given.
        """
        self._disk.close_all()
        self._faults.clear()
        self._is_down = False
        if power_cut:
            self._disk.lose_power(random)

    def content(self, path: Path) -> bytes:
        """Return a file's content as the kernel has it; no operation."""
        return bytes(self._disk.file(path).content)

    def paths(self) -> list[Path]:
        """Return every file, sorted; no operation."""
        return sorted(self._disk.root.walk(Path("/")))

    def put(self, path: Path, content: bytes) -> None:
        """Make a file, or change it on the disk behind everybody's back; no operation."""
        self._disk.put(path, content)

    def flip(self, path: Path, bit: int) -> None:
        """Flip one bit of a file, counted from its beginning; no operation."""
        file = self._disk.file(path)
        file.content[bit // 8] ^= 1 << (bit % 8)
        if bit // 8 < len(file.synced):
            synced = bytearray(file.synced)
            synced[bit // 8] ^= 1 << (bit % 8)
            file.synced = bytes(synced)

    # -- the operations ---------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it."""
        self._operate("make_folder", path, lambda: self._disk.make_folder(path))

    def open_new(self, path: Path) -> int:
        """Create a file that must not exist and open it for appending."""
        return self._operate("open_new", path, lambda: self._disk.open_new(path))

    def write(self, fd: int, data: bytes) -> int:
        """Append; return how many bytes were taken."""
        return self._operate("write", self._disk.path_of(fd), lambda: self._disk.write(fd, data), (fd, data))

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to this size, or fill it up with zeros."""
        self._operate("truncate", self._disk.path_of(fd), lambda: self._disk.truncate(fd, size_bytes))

    def sync(self, fd: int) -> None:
        """Return when the content is on the disk; the file's name is another matter."""
        self._operate("sync", self._disk.path_of(fd), lambda: self._disk.sync(fd))

    def close(self, fd: int) -> None:
        """Close."""
        self._operate("close", self._disk.path_of(fd), lambda: self._disk.close(fd))

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's entries are on the disk."""
        self._operate("sync_folder", path, lambda: self._disk.sync_folder(path))

    def sync_file(self, path: Path) -> None:
        """Return when the content of a closed file is on the disk; the file's name is another matter."""
        self._operate("sync_file", path, lambda: self._disk.file(path).sync())

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over the target if there is one, in one step."""
        self._operate("replace", target, lambda: self._disk.replace(source, target))

    def unlink(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""
        self._operate("unlink", path, lambda: self._disk.unlink(path))

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""
        self._operate("remove_folder", path, lambda: self._disk.remove_folder(path))

    def read(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """Return at most so many bytes from an offset."""
        return self._operate("read", path, lambda: self._disk.read(path, offset, size_bytes))

    def size(self, path: Path) -> int:
        """Return a file's size in bytes; 0 where there is none."""
        return self._operate("size", path, lambda: self._disk.size(path))

    # -- faults -----------------------------------------------------------------------

    def _operate(self, name: str, path: Path, work: Callable[[], _T], written: tuple[int, bytes] | None = None) -> _T:
        """Do an operation, and what was asked for at its number."""
        with self._lock:
            if self._is_down:
                raise Crash
            fault = self._faults.pop(len(self.log), None)
            self.log.append(Operation(name, path))
            if fault is None:
                return work()
            self.fired += 1
        if fault.action is not None:
            return self._interrupt(fault.action, work, fault.is_after)
        return self._break(fault, work, written)

    def _interrupt(self, action: Callable[[], None], work: Callable[[], _T], is_after: bool) -> _T:
        if not is_after:
            action()
        with self._lock:
            if self._is_down:
                raise Crash
            done = work()
        if is_after:
            action()
        return done

    def _break(self, fault: _Fault, work: Callable[[], _T], written: tuple[int, bytes] | None) -> _T:
        with self._lock:
            self._is_down = self._is_down or fault.is_crash
            taken = self._take(written, fault.taken)
            if fault.error is not None:
                raise fault.error()
            return work() if taken is None else taken  # type: ignore[return-value] # a write returns a number

    def _take(self, written: tuple[int, bytes] | None, taken: int | None) -> int | None:
        """Write a part only; return how much, or None where that was not asked for."""
        if written is None or taken is None:
            return None
        fd, data = written
        return self._disk.write(fd, data[: min(taken, max(len(data) - 1, 0))])

    # Last, because the annotations above mean the built-in of this name.
    def list(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted."""
        return self._operate("list", path, lambda: [*self._disk.names(path)])
