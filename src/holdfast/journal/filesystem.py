"""The file operations that the journal is made of, so that tests can fail or crash before each of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

_IS_WINDOWS = os.name == "nt"


class FileSystem(Protocol):
    """What the journal asks of a file system. Every method raises `OSError`."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it; one that exists is fine."""

    def open_new(self, path: Path) -> int:
        """Create a file that must not exist and open it for appending."""

    def write(self, fd: int, data: bytes) -> int:
        """Append; return how many bytes were taken, which may be fewer than given."""

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to this size."""

    def sync(self, fd: int) -> None:
        """Return when the content is on the disk."""

    def close(self, fd: int) -> None:
        """Close."""

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's entries are on the disk."""

    def sync_file(self, path: Path) -> None:
        """Return when the content of a closed file is on the disk."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over the target if there is one, in one step."""

    def unlink(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""

    def read(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """Return at most so many bytes from an offset; `FileNotFoundError` where there is no file."""

    def list(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted; empty where there is none."""

    def size(self, path: Path) -> int:
        """Return a file's size in bytes; 0 where there is none."""


class OsFileSystem:
    """The real file system."""

    # Bound directly: a logging call pays for one function call less.
    write = staticmethod(os.write)
    close = staticmethod(os.close)
    sync = staticmethod(getattr(os, "fdatasync", os.fsync))

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it."""
        path.mkdir(parents=True, exist_ok=True)

    def open_new(self, path: Path) -> int:
        """Create a file that must not exist and open it for appending."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to this size."""
        os.ftruncate(fd, size_bytes)

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's entries are on the disk; Windows has no such call and needs none."""
        if _IS_WINDOWS:
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_file(self, path: Path) -> None:
        """Return when the content of a closed file is on the disk."""
        fd = os.open(path, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over the target if there is one."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()

    def read(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """Return at most so many bytes from an offset."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)

    def list(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: Path) -> int:
        """Return a file's size in bytes; 0 where there is none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


def write_whole(files: FileSystem, path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut; durable when this returns.

    Raises:
        OSError: As the file system says; the file is as it was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(3).hex()}.tmp")
    fd = files.open_new(temporary)
    try:
        try:
            _write_all(files, fd, data)
            files.sync(fd)
        finally:
            files.close(fd)
        files.replace(temporary, path)
    except OSError:
        files.unlink(temporary)
        raise
    files.sync_folder(path.parent)


def remove_tree(files: FileSystem, folder: Path) -> None:
    """Delete a folder that holds files only; one that is missing is fine."""
    for name in files.list(folder):
        files.unlink(folder / name)
    files.remove_folder(folder)


def _write_all(files: FileSystem, fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[files.write(fd, bytes(left)) :]
