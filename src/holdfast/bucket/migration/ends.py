"""The two ends of a migration, a folder or a bucket: what is there, reading it, storing, and taking away one's own."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.landing import PART_PREFIX, disk_errors
from holdfast.artifacts.local import LocalFiles
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import place_of, walk
from holdfast.artifacts.s3.reading import Reader
from holdfast.artifacts.sources import open_source
from holdfast.artifacts.transfer import SILENT, Item
from holdfast.bucket.roots import Root
from holdfast.errors import ArtifactError

_CHUNK_BYTES = 1 << 20
_PAGE = 1000
_GONE = ("NoSuchKey", "ENOENT")


class Entry(NamedTuple):
    """A file at one end.

    Attributes:
        path: Where below the place that was walked.
        size_bytes: Its size.
        mark: Says without a look at the content that it was written anew: its ETag, or when it was modified.
    """

    path: str
    size_bytes: int
    mark: str


class End(Protocol):
    """Files below addresses. Threads may share one; its errors are `ArtifactError`."""

    threads: int
    skipped: list[str]

    def check(self) -> None:
        """See that it is there at all."""

    def walk(self, place: str) -> Iterator[list[Entry]]:
        """Give the files below a place, some at a time; what cannot be moved is added to `skipped`."""

    def mark(self, place: str, path: str) -> str:
        """Return a file's present mark; an empty text where it is gone."""

    def fetch(self, place: str, path: str, staging: Path) -> Path | None:
        """Return where a file's content lies on this machine, perhaps below `staging`; None where it is gone."""

    def digest(self, place: str, path: str) -> str | None:
        """Return the SHA-256 of what is stored, read from there; None where there is nothing."""

    def store(self, place: str, files: Sequence[tuple[Path, str]]) -> None:
        """Store files of this machine below a place."""

    def remove(self, place: str, path: str) -> None:
        """Take one file away."""


def end_of(root: Root, access: S3Access) -> End:
    """Return the end that a root is at.

    Args:
        root: Where.
        access: The way to its bucket, where it is one.
    """
    return BucketEnd(root, access) if root.kind == "s3" else FolderEnd(root)


class FolderEnd:
    """Files below a folder of this machine."""

    threads = 4

    def __init__(self, root: Root) -> None:
        self._root = Path(root.uri)
        self._files = LocalFiles()
        self.skipped: list[str] = []

    def check(self) -> None:
        """See that the folder is there; that of a disk that is not mounted is not."""
        if not self._root.is_dir():
            raise ArtifactError(
                f"The folder {self._root} does not exist.", "see whether its disk is mounted; mend --from if not"
            )

    def walk(self, place: str) -> Iterator[list[Entry]]:
        """Give the files below a folder. Links to folders and what is no regular file are skipped."""
        page: list[Entry] = []
        with disk_errors(f"Cannot list {place}"):
            for found in self._below(place, ""):
                page.append(found)
                if len(page) == _PAGE:
                    yield page
                    page = []
        if page:
            yield page

    def _below(self, place: str, folder: str) -> Iterator[Entry]:
        try:
            entries = sorted(os.scandir(os.path.join(place, folder)), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(place, path)
            elif not entry.name.startswith(PART_PREFIX) and (found := self._entry(entry, place, path)):
                yield found

    def _entry(self, entry: os.DirEntry[str], place: str, path: str) -> Entry | None:
        try:
            about = entry.stat()
        except FileNotFoundError:
            about = None
        if about is not None and stat.S_ISREG(about.st_mode):
            return Entry(path, about.st_size, _mark_of(about))
        if about is not None or entry.is_symlink():
            self.skipped.append(f"{place}/{path}")
        return None

    def mark(self, place: str, path: str) -> str:
        """Return when a file was modified, and its size."""
        try:
            return _mark_of(os.stat(os.path.join(place, path)))
        except FileNotFoundError:
            return ""

    def fetch(self, place: str, path: str, staging: Path) -> Path | None:
        """Return the file itself."""
        found = Path(place) / path
        return found if found.exists() else None

    def digest(self, place: str, path: str) -> str | None:
        """Return the SHA-256 of what is on the disk: the file is synced, and not read from the cache where it can be
        dropped from there."""
        local = Path(place) / path
        with disk_errors(f"Cannot read back {local}"):
            if not local.is_file():
                return None
            descriptor = open_source(local)
            try:
                os.fsync(descriptor)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                return _digest_of(descriptor)
            finally:
                os.close(descriptor)

    def store(self, place: str, files: Sequence[tuple[Path, str]]) -> None:
        """Copy files; each stands under its name only when it is whole, and its name is durable."""
        self._files.upload([Item(local, f"{place}/{path}") for local, path in files])
        with disk_errors(f"Cannot store files in {place}"):
            for folder in {os.path.dirname(os.path.join(place, path)) for _, path in files}:
                _sync_folders(folder, place)

    def remove(self, place: str, path: str) -> None:
        """Delete one file."""
        with disk_errors(f"Cannot delete {place}/{path}"):
            (Path(place) / path).unlink(missing_ok=True)


class BucketEnd:
    """Files below a prefix of a bucket."""

    def __init__(self, root: Root, access: S3Access) -> None:
        self._root = root
        self._connection = S3Connection(access)
        self.threads = access.threads
        self.skipped: list[str] = []

    def check(self) -> None:
        """See that the bucket can be listed."""
        bucket, key = place_of(self._root.uri)
        next(walk(self._connection, bucket, f"{key}/" if key else ""), None)

    def walk(self, place: str) -> Iterator[list[Entry]]:
        """Give the objects below a prefix.

        Raises:
            ArtifactError: There is one whose key is no path, so that no folder could hold it, nor MLflow fetch it.
        """
        bucket, key = place_of(place)
        prefix = f"{key}/" if key else ""
        for page in walk(self._connection, bucket, prefix):
            yield [Entry(_path_in(bucket, found.key, prefix), found.size_bytes, found.etag) for found in page]

    def mark(self, place: str, path: str) -> str:
        """Return an object's ETag."""
        bucket, key = place_of(place, path)
        try:
            head = self._connection.run(
                "look at", bucket, key, lambda: self._connection.client(bucket).head_object(Bucket=bucket, Key=key)
            )
        except ArtifactError as error:
            if error.code in _GONE:
                return ""
            raise
        return str(head["ETag"]).strip('"')

    def fetch(self, place: str, path: str, staging: Path) -> Path | None:
        """Fetch an object to `staging`, checked by the checksum that S3 or Holdfast has stored with it."""
        from holdfast.artifacts.s3.download import download

        try:
            return download(self._connection, place, path, staging)
        except ArtifactError as error:
            if error.code in _GONE:
                return None
            raise

    def digest(self, place: str, path: str) -> str | None:
        """Return the SHA-256 of an object, of which all is read."""
        bucket, key = place_of(place, path)

        def read() -> str:
            opened = Reader(self._connection, bucket).open(key)
            total, size_bytes = hashlib.sha256(), 0
            for chunk in opened.chunks:
                total.update(chunk)
                size_bytes += len(chunk)
            if size_bytes != opened.size_bytes:
                raise ConnectionError(f"{size_bytes} of {opened.size_bytes} bytes came")
            return total.hexdigest()

        try:
            return self._connection.run("read back the file", bucket, key, read)
        except ArtifactError as error:
            if error.code in _GONE:
                return None
            raise

    def store(self, place: str, files: Sequence[tuple[Path, str]]) -> None:
        """Upload files."""
        from holdfast.artifacts.s3.upload import upload_items

        upload_items(self._connection, [Item(local, f"{place}/{path}") for local, path in files], SILENT)

    def remove(self, place: str, path: str) -> None:
        """Delete one object, and nothing below its name."""
        bucket, key = place_of(place, path)
        self._connection.run(
            "delete the file",
            bucket,
            key,
            lambda: self._connection.client(bucket).delete_object(Bucket=bucket, Key=key),
        )


def digest_of_file(local: Path) -> str:
    """Return the SHA-256 of a file of this machine.

    Raises:
        ArtifactError: It cannot be read.
    """
    with disk_errors(f"Cannot read {local}"):
        descriptor = open_source(local)
        try:
            return _digest_of(descriptor)
        finally:
            os.close(descriptor)


def _digest_of(descriptor: int) -> str:
    total, at = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, at):
        total.update(chunk)
        at += len(chunk)
    return total.hexdigest()


def _mark_of(about: os.stat_result) -> str:
    return f"{about.st_mtime_ns}-{about.st_size}-{about.st_ino}"


def _sync_folders(folder: str, top: str) -> None:
    """Make the names in a folder durable, and those of the folders down to it."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if len(folder) < len(top):
            return
        folder = os.path.dirname(folder)


def _path_in(bucket: str, key: str, prefix: str) -> str:
    path = key[len(prefix) :]
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ArtifactError(
            f"The object s3://{bucket}/{key} cannot be moved: its key is no path.",
            "rename or delete it; it has empty parts, or some called . or ..",
            code="InvalidObjectName",
        )
    return path
