"""A disk in memory, with what is on it and what is only in the kernel; see `filesystem`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

_FIRST_FD = 1_000_000  # so that a real descriptor is never meant


@dataclass(eq=False)
class File:
    """A file: its content in the kernel, and what of it is on the disk."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    floor: int = 0  # the shortest it was since it was synced

    def sync(self) -> None:
        """Bring the content to the disk."""
        self.synced = bytes(self.content)
        self.floor = len(self.synced)

    def lose(self, random: Random | None) -> None:
        """Keep what a power cut leaves."""
        self.content = bytearray(self._after_power_cut(random))
        self.sync()

    def _after_power_cut(self, random: Random | None) -> bytes:
        whole = bytes(self.content)
        if random is None or whole == self.synced:
            return self.synced
        if self.floor < len(self.synced) and random.random() < 0.5:
            return self.synced  # it was cut, and the cut is not on the disk
        kept = random.randint(min(self.floor, len(whole)), len(whole))
        rest = len(whole) - kept
        return whole[:kept] + random.choice((b"", b"", bytes(rest), random.randbytes(rest)))


@dataclass(eq=False)
class Folder:
    """A folder: its entries in the kernel, and those on the disk."""

    entries: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)

    def lose(self, random: Random | None) -> None:
        """Keep what a power cut leaves."""
        self.entries = dict(self.synced)
        for node in self.entries.values():
            node.lose(random)

    def walk(self, path: Path) -> Iterator[Path]:
        """Yield every file below."""
        for name, node in self.entries.items():
            if isinstance(node, Folder):
                yield from node.walk(path / name)
            else:
                yield path / name


Node: TypeAlias = File | Folder


@dataclass(eq=False)
class _Change:
    """A change of folders that is in the kernel and not on the disk: entries to remove, and one to add."""

    removed: Sequence[tuple[Folder, str]]
    added: tuple[Folder, str, Node] | None = None

    def touches(self, folder: Folder) -> bool:
        return any(folder is other for other, _ in self.removed) or (self.added is not None and self.added[0] is folder)

    def apply(self) -> None:
        for folder, name in self.removed:
            folder.synced.pop(name, None)
        if self.added is not None:
            folder, name, node = self.added
            folder.synced[name] = node


class MemoryDisk:
    """Files and folders, opened files, and what is not synced of them. The operations are those of `FileSystem`."""

    def __init__(self) -> None:
        self.root = Folder()
        self._open: dict[int, tuple[File, Path]] = {}
        self._next_fd = _FIRST_FD
        self._pending: list[_Change] = []

    def close_all(self) -> None:
        """Close every file, as the kernel does for a process that ended."""
        self._open.clear()

    def lose_power(self, random: Random | None) -> None:
        """Keep what a power cut leaves: of changes of folders any, of files what was synced and some of the rest."""
        for change in self._pending:
            if random is not None and random.random() < 0.5:
                change.apply()
        self._pending.clear()
        self.root.lose(random)

    def path_of(self, fd: int) -> Path:
        """Return the path that a descriptor was opened under."""
        return self._open[fd][1] if fd in self._open else Path(f"descriptor {fd}")

    def file(self, path: Path) -> File:
        """Return a file."""
        node = self._folder(path.parent).entries.get(path.name)
        if not isinstance(node, File):
            raise _error(errno.ENOENT, path)
        return node

    def put(self, path: Path, content: bytes) -> None:
        """Make or change a file, on the disk at once."""
        folder = self.make_folder(path.parent)
        node = folder.entries.get(path.name)
        file = node if isinstance(node, File) else File()
        folder.entries[path.name] = folder.synced[path.name] = file
        file.content[:] = content
        file.sync()

    # -- the operations ---------------------------------------------------------------

    def make_folder(self, path: Path) -> Folder:
        """Make a folder and those above it."""
        folder = self.root
        for part in path.parts[1:]:
            node = folder.entries.get(part)
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            if node is None:
                node = Folder()
                self._change([], (folder, part, node))
            folder = node
        return folder

    def open_new(self, path: Path) -> int:
        """Create a file and open it for appending."""
        folder = self._folder(path.parent)
        if path.name in folder.entries:
            raise _error(errno.EEXIST, path)
        file = File()
        self._change([], (folder, path.name, file))
        self._next_fd += 1
        self._open[self._next_fd] = (file, path)
        return self._next_fd

    def write(self, fd: int, data: bytes) -> int:
        """Append."""
        self._opened(fd).content.extend(data)
        return len(data)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to a size, or fill it up with zeros."""
        file = self._opened(fd)
        file.content[size_bytes:] = bytes(max(size_bytes - len(file.content), 0))
        file.floor = min(file.floor, size_bytes)

    def sync(self, fd: int) -> None:
        """Bring a file's content to the disk."""
        self._opened(fd).sync()

    def close(self, fd: int) -> None:
        """Close."""
        self._opened(fd)
        del self._open[fd]

    def sync_folder(self, path: Path) -> None:
        """Bring a folder's entries to the disk."""
        folder = self._folder(path)
        for change in [change for change in self._pending if change.touches(folder)]:
            change.apply()
            self._pending.remove(change)

    def replace(self, source: Path, target: Path) -> None:
        """Rename."""
        old, new = self._folder(source.parent), self._folder(target.parent)
        if source.name not in old.entries:
            raise _error(errno.ENOENT, source)
        self._change([(old, source.name)], (new, target.name, old.entries[source.name]))

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        folder = self._folder(path.parent)
        if path.name in folder.entries:
            self._change([(folder, path.name)])

    def remove_folder(self, path: Path) -> None:
        """Delete a folder that is empty."""
        folder = self._folder(path.parent)
        node = folder.entries.get(path.name)
        if isinstance(node, Folder):
            if node.entries:
                raise _error(errno.ENOTEMPTY, path)
            self._change([(folder, path.name)])

    def read(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """Return a part of a file."""
        return bytes(self.file(path).content[offset : offset + size_bytes])

    def names(self, path: Path) -> Sequence[str]:
        """Return the names in a folder, sorted."""
        try:
            return sorted(self._folder(path).entries)
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        """Return a file's size."""
        try:
            return len(self.file(path).content)
        except FileNotFoundError:
            return 0

    # -- inside -----------------------------------------------------------------------

    def _change(self, removed: Sequence[tuple[Folder, str]], added: tuple[Folder, str, Node] | None = None) -> None:
        for folder, name in removed:
            folder.entries.pop(name, None)
        if added is not None:
            added[0].entries[added[1]] = added[2]
        self._pending.append(_Change(removed, added))

    def _folder(self, path: Path) -> Folder:
        folder = self.root
        for part in path.parts[1:]:
            node = folder.entries.get(part)
            if not isinstance(node, Folder):
                raise _error(errno.ENOENT, path)
            folder = node
        return folder

    def _opened(self, fd: int) -> File:
        if fd not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[fd][0]


def _error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))
