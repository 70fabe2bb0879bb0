"""What lies below an artifact root, one page after the other: objects, older versions, unfinished uploads, files.

Nothing is kept of a page when the next one comes, so that millions of objects take no more memory than thousands.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from holdfast.artifacts.landing import PART_PREFIX, disk_errors
from holdfast.artifacts.s3.asking import Answer, ask_versioning, is_denied
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.pages import Entry, Upload, object_pages, size_of_parts, upload_pages, version_pages
from holdfast.errors import ArtifactError

_PAGE = 1000
# What every object has to say for itself takes one request; beyond so many the sizes are left out.
_MOST_UPLOADS = 1000


class Stored(NamedTuple):
    """Something that takes room.

    Attributes:
        path: Where below the root.
        size_bytes: Its size.
        modified_s: When it was stored, seconds since the epoch.
        storage_class: Its storage class, by S3's name; empty for a file of this machine.
    """

    path: str
    size_bytes: int
    modified_s: float
    storage_class: str = ""


class Bucketful:
    """What lies below a prefix of a bucket.

    Args:
        connection: The way there. It must be the caller's alone: listings are read in a way of their own.
        bucket: Which bucket.
        prefix: Without a slash at its end; may be empty.
    """

    def __init__(self, connection: S3Connection, bucket: str, prefix: str) -> None:
        self._connection = connection
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def objects(self) -> Iterator[list[Stored]]:
        """Give the present objects.

        Raises:
            ArtifactError: The bucket cannot be listed.
        """
        for page in object_pages(self._connection, self._bucket, self._prefix, _PAGE):
            yield [self._stored(entry) for entry in page]

    def old_versions(self) -> Answer[Iterator[list[Stored]]]:
        """Return versions that are not current, and markers of deletion, which have no size.

        A bucket that was never versioned has none, and is not listed for them.

        Raises:
            ArtifactError: The server cannot be reached.
        """
        versioning = ask_versioning(self._connection, self._bucket)
        if versioning.value == "" or versioning.why_not == "unsupported":
            return Answer(iter(()))
        pages = self._version_pages()
        try:
            first = next(pages, [])
        except ArtifactError as error:
            return _unanswered(error, "s3:ListBucketVersions")
        return Answer(_chained(first, pages))

    def _version_pages(self) -> Iterator[list[Stored]]:
        for page in version_pages(self._connection, self._bucket, self._prefix, _PAGE):
            yield [self._stored(entry) for entry in page if not entry.is_latest]

    def uploads(self) -> Answer[list[Stored]]:
        """Return uploads in parts that were begun and never completed, with what their parts take.

        Raises:
            ArtifactError: The server cannot be reached.
        """
        pages = upload_pages(self._connection, self._bucket, self._prefix)
        try:
            found = list(islice(chain.from_iterable(pages), _MOST_UPLOADS))
            return Answer([self._measured(upload) for upload in found])
        except ArtifactError as error:
            action = "s3:ListMultipartUploadParts" if "parts" in error.message else "s3:ListBucketMultipartUploads"
            return _unanswered(error, action)

    def _measured(self, upload: Upload) -> Stored:
        size_bytes = size_of_parts(self._connection, self._bucket, upload)
        return Stored(upload.key[len(self._prefix) :], size_bytes, upload.begun_s, upload.storage_class)

    def _stored(self, entry: Entry) -> Stored:
        return Stored(entry.key[len(self._prefix) :], entry.size_bytes, entry.modified_s, entry.storage_class)


def _unanswered(error: ArtifactError, action: str) -> Answer[Any]:
    if error.retryable:
        raise error
    # The bucket itself was listed before, so what is refused is this call; servers without it say so in many ways.
    return Answer(None, "denied" if is_denied(error) else "unsupported", action)


def _chained(first: list[Stored], rest: Iterator[list[Stored]]) -> Iterator[list[Stored]]:
    yield first
    yield from rest


def files_below(root: str) -> Iterator[list[Stored]]:
    """Give the files below a folder of this machine, a page at a time; links are followed to files only.

    Raises:
        ArtifactError: A folder cannot be read.
    """
    page: list[Stored] = []
    with disk_errors(f"Cannot list {root}"):
        for where, _, names in os.walk(root, onerror=_refuse):
            inside = os.path.relpath(where, root)
            page += [found for name in names if (found := _file(where, "" if inside == "." else inside, name))]
            if len(page) >= _PAGE:
                yield page
                page = []
    yield page


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _file(where: str, inside: str, name: str) -> Stored | None:
    if name.startswith(PART_PREFIX):
        return None
    try:
        about = os.stat(os.path.join(where, name))
    except FileNotFoundError:
        return None
    path = f"{inside}/{name}" if inside else name
    return Stored(path, about.st_size, about.st_mtime) if stat.S_ISREG(about.st_mode) else None
