"""What lies below a folder of this machine, and removing it without ever following a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from typing import Self

from holdfast.artifacts.landing import PART_PREFIX, disk_errors
from holdfast.artifacts.removal.outcomes import Failure, Removal, Work, batches_of, failure_of
from holdfast.core.cleanup.records import Form, StoredObject

_PAGE = 1000
_THREADS = 4
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def list_folder_tree(place: str) -> Iterator[list[StoredObject]]:
    """Give every file below a folder, or the file itself; links are things of their own, and not followed.

    Raises:
        ArtifactError: A folder cannot be read.
    """
    page: list[StoredObject] = []
    with disk_errors(f"Cannot list {place}"):
        for stored in _walk(place):
            page.append(stored)
            if len(page) >= _PAGE:
                yield page
                page = []
    yield page


def _walk(place: str) -> Iterator[StoredObject]:
    try:
        about = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(about.st_mode):
        yield _stored(place, about)
        return
    folders = [place]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for entry in entries:
            with suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    yield _stored(entry.path, entry.stat(follow_symlinks=False))


def _stored(path: str, about: os.stat_result) -> StoredObject:
    size_bytes = about.st_size if stat.S_ISREG(about.st_mode) else 0
    is_part = os.path.basename(path).startswith(PART_PREFIX)
    return StoredObject(path, size_bytes, _modified_ms(about), Form.UPLOAD if is_part else Form.OBJECT)


def _modified_ms(about: os.stat_result) -> int:
    return about.st_mtime_ns // 1_000_000


def remove_files(objects: Sequence[StoredObject], root: str, work: Work) -> None:
    """Remove files below a root, and the folders between that are empty then.

    A file that was written since it was listed stays (`Changed`), as does one that a link leads to by now (`ELOOP`).
    """
    ordered = sorted(objects, key=lambda stored: os.path.dirname(stored.address))
    # A thread costs more than the few files of a run.
    work.do(batches_of(ordered, _PAGE), partial(_remove, root), _THREADS if len(ordered) > _PAGE else 0)


def _remove(root: str, batch: Sequence[StoredObject]) -> Removal:
    done = Removal()
    with _Root(root) as top:
        for folder, found in groupby(batch, key=lambda stored: os.path.dirname(stored.address)):
            files = list(found)
            try:
                with top.opened(folder) as handle:
                    done += _remove_in(handle, files)
            except (FileNotFoundError, NotADirectoryError) as error:
                # A link in the way is `ENOTDIR` too, for it is opened as a folder. A root that is gone may be a disk
                # that is not mounted, with all its files.
                is_gone = isinstance(error, FileNotFoundError) and os.path.isdir(root)
                failed = () if is_gone else tuple(_failure(stored, error) for stored in files)
                done += Removal(removed=tuple(files) if is_gone else (), failed=failed)
            except OSError as error:
                done += Removal(failed=tuple(_failure(stored, error) for stored in files))
            top.remove_empty(folder)
    return done


class _Root:
    """A folder below which things are removed, opened once: whatever takes its name meanwhile is another one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def _top(self) -> int:
        if self._handle is None:
            handle = os.open(self._path, _FOLDER)
            # A run's folder may have become a link since the root was found: then this is another folder of that name.
            if os.path.realpath(self._path) != self._path:
                os.close(handle)
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
            self._handle = handle
        return self._handle

    @contextmanager
    def opened(self, folder: str) -> Iterator[int]:
        """Give a handle of a folder, to which no link leads, neither below the root nor above it."""
        handle = os.dup(self._top())
        try:
            for name in self._names_below(folder):
                below = os.open(name, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def _names_below(self, folder: str) -> list[str]:
        """Return the names that lead from the root to a folder."""
        return [name for name in folder[len(self._path.rstrip("/")) :].split("/") if name]

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that is empty, and then those above that are, below the root."""
        while self._names_below(folder):
            above, name = os.path.split(folder)
            try:
                with self.opened(above) as handle:
                    os.rmdir(name, dir_fd=handle)
            except FileNotFoundError:
                pass
            except OSError:  # it is not empty, or may not be removed: then it is listed again, with what is in it
                return
            folder = above


def _remove_in(handle: int, files: Sequence[StoredObject]) -> Removal:
    removed, failed = [], []
    for stored in files:
        try:
            failure = _unlink(handle, stored)
        except FileNotFoundError:
            failure = None
        except OSError as error:
            failure = _failure(stored, error)
        if failure is None:
            removed.append(stored)
        else:
            failed.append(failure)
    return Removal(tuple(removed), tuple(failed))


def _unlink(handle: int, stored: StoredObject) -> Failure | None:
    name = os.path.basename(stored.address)
    about = os.stat(name, dir_fd=handle, follow_symlinks=False)
    if stored.modified_ms is not None and stored.modified_ms != _modified_ms(about):
        return failure_of(stored, "Changed", f"{stored.address} was written since it was listed; it is left")
    os.unlink(name, dir_fd=handle)
    return None


def _failure(stored: StoredObject, error: OSError) -> Failure:
    code = errno.errorcode.get(error.errno or 0, "")
    why = "a link is in its way by now" if code in ("ELOOP", "ENOTDIR") else error.strerror or str(error)
    retryable = error.errno in (errno.EIO, errno.ESTALE, errno.EBUSY)
    return failure_of(stored, code, f"Cannot delete {stored.address}: {why}", retryable)


def prune(place: str, root: str) -> None:
    """Remove the empty folders of a place, itself included, and then those above it that are empty, below the root."""
    found = []
    for where, folders, _ in os.walk(place):
        folders[:] = [name for name in folders if not os.path.islink(os.path.join(where, name))]
        found.append(where)
    with _Root(root) as top:
        for folder in sorted(found, key=lambda where: where.count("/"), reverse=True) or [place]:
            top.remove_empty(folder)
