"""Files in a folder of this machine, or one that is mounted here."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from holdfast.artifacts.landing import PART_PREFIX, Landing, disk_errors, landing, target_in
from holdfast.artifacts.sources import look_at, open_source
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, StoredFile
from holdfast.core.uris import normalize_artifact_root, scheme_of
from holdfast.errors import ArtifactError

_THREADS = 4
_CHUNK_BYTES = 1 << 20
_RANGE_BYTES = 64 << 20
_FICLONE = 0x40049409  # linux/fs.h
# What the kernel says where it cannot copy by itself: between these file systems, or not at all.
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY)


class LocalFiles:
    """Files under paths and `file:` URIs (which are percent-encoded, names included). Threads may share one.

    Files are copied to a temporary name in the same folder and renamed, by reference where the file system can.
    """

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files; one that is there with the same content is left alone.

        Raises:
            ArtifactError: A file cannot be read or written, is no regular one, or its path holds `..`.
        """
        found = [(item, _path_of_item(item.uri)) for item in items]
        with disk_errors("Cannot store files"):
            meter.begin(len(found), sum(look_at(item.local).st_size for item, _ in found))

        def store(item: Item, target: Path) -> Sent:
            with disk_errors(f"Cannot store {item.local.name} in {target.parent}"):
                sent = _put(item.local, target, meter)
            meter.file_done()
            return sent

        tasks = (partial(store, item, target) for item, target in found)
        return sum(in_parallel(tasks, min(_THREADS, len(found) or 1), threading.Event()), Sent())

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under a folder, by path; half-written files are left out.

        Raises:
            ArtifactError: The folder cannot be read, or its path leads out of the root.
        """
        root = _root(root_uri)
        where = target_in(root, folder)
        with disk_errors(f"Cannot list {where}"):
            if not where.is_dir():
                return []
            found = [_entry(entry, root) for entry in os.scandir(where) if not entry.name.startswith(PART_PREFIX)]
        return sorted(entry for entry in found if entry is not None)

    def download(self, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
        """Copy a file or folder to `into/path`; return that path.

        Raises:
            ArtifactError: There is no such file or folder, it cannot be read or written, or its path leads out.
        """
        root = _root(root_uri)
        source, target = target_in(root, path), target_in(into, path)
        with disk_errors(f"Cannot fetch {source}"):
            if not os.path.lexists(source):
                raise ArtifactError(
                    f"There is no {path or 'folder'} in {root}.", "list the folder to see what is there"
                )
            files = list(_files_below(source)) if source.is_dir() else [source]
            meter.begin(len(files), sum(look_at(file).st_size for file in files))
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)

            def fetch(file: Path) -> None:
                _put(file, target / file.relative_to(source), meter)
                meter.file_done()

            tasks = (partial(fetch, file) for file in files)
            in_parallel(tasks, min(_THREADS, len(files) or 1), threading.Event())
        return target

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file, or a folder and all below it; what is not there is fine.

        Raises:
            ArtifactError: It cannot be deleted, or its path leads out of the root.
        """
        where = target_in(_root(root_uri), path)
        with disk_errors(f"Cannot delete {where}"), suppress(FileNotFoundError):
            if where.is_dir() and not where.is_symlink():
                shutil.rmtree(where)
            else:
                where.unlink()


def _root(uri: str) -> Path:
    return Path(normalize_artifact_root(uri, "The artifact root"))


def _path_of_item(uri: str) -> Path:
    """Return the path of a file, whose name may end in blanks, and may be a link that is to be replaced."""
    folder, slash, name = uri.rpartition("/")
    name = unquote(name) if scheme_of(uri) == "file" else name
    if not name or name in (".", "..") or ".." in unquote(folder).split("/"):
        raise ArtifactError(f"{uri!r} is no path of a file.", "leave out the parts called ..")
    return _root(folder or ("/" if slash else ".")) / name


def _entry(entry: os.DirEntry[str], root: Path) -> StoredFile | None:
    path = Path(entry.path).relative_to(root).as_posix()
    try:
        return StoredFile(path, True, None) if entry.is_dir() else StoredFile(path, False, entry.stat().st_size)
    except FileNotFoundError:  # a link that leads nowhere, or deleted meanwhile
        return None


def _files_below(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where) / name for name in sorted(names) if not name.startswith(PART_PREFIX))


def _put(local: Path, target: Path, meter: Meter) -> Sent:
    with os.fdopen(open_source(local), "rb", buffering=0) as source:
        about = os.fstat(source.fileno())
        if _is_same(source.fileno(), about, target):
            meter.advance(about.st_size)
            return Sent(files=1, unchanged=1)
        with landing(target) as landed:
            copied = _copy(source.fileno(), landed, about.st_size, meter)
            os.utime(landed.handle, ns=(about.st_atime_ns, about.st_mtime_ns))
    return Sent(files=1, sent_bytes=copied)


def _is_same(source: int, about: os.stat_result, target: Path) -> bool:
    """Whether the target holds what the source holds: the very same file, or the same bytes."""
    try:
        there = target.lstat()
        if not stat.S_ISREG(there.st_mode) or there.st_size != about.st_size:
            return False
        if (there.st_dev, there.st_ino) == (about.st_dev, about.st_ino):
            return True
        with open(target, "rb", buffering=0) as other:
            return _same_bytes(source, other.fileno())
    except (FileNotFoundError, PermissionError):
        return False


def _same_bytes(source: int, other: int) -> bool:
    at = 0
    while True:
        ours, theirs = os.pread(source, _CHUNK_BYTES, at), os.pread(other, _CHUNK_BYTES, at)
        if ours != theirs:
            return False
        if not ours:
            return True
        at += len(ours)


def _copy(source: int, target: Landing, size_bytes: int, meter: Meter) -> int:
    """Copy a whole file: by reference, else within the kernel, else by hand; return its size."""
    with suppress(OSError):
        fcntl.ioctl(target.handle, _FICLONE, source)
        meter.advance(size_bytes)
        return size_bytes
    copied = _copy_in_kernel(source, target.handle, size_bytes, meter)
    # The kernel's way ends early on some special file systems; what it has left is read here, which is mostly nothing.
    while chunk := os.pread(source, _CHUNK_BYTES, copied):
        target.write(chunk, copied)
        copied += len(chunk)
        meter.advance(len(chunk))
    return copied


def _copy_in_kernel(source: int, target: int, size_bytes: int, meter: Meter) -> int:
    copied = 0
    if not hasattr(os, "copy_file_range"):  # not on Linux
        return copied
    try:
        while count := os.copy_file_range(
            source, target, min(_RANGE_BYTES, max(size_bytes - copied, 1)), copied, copied
        ):
            copied += count
            meter.advance(count)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    return copied
