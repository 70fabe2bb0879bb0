"""What lies below an artifact root, one page after the other: objects, older versions, unfinished uploads, files.

Nothing is kept of a page when the next one comes, so that millions of objects take no more memory than thousands.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from xml.etree import ElementTree

from holdfast.artifacts.landing import PART_PREFIX, disk_errors
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import read_xml
from holdfast.bucket.posture import Answer, ask_versioning
from holdfast.errors import ArtifactError

_DENIED = ("AccessDenied", "AllAccessDisabled", "HTTP 403")
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
        more: dict[str, Any] = {}
        while True:
            page = self._call("ListObjectsV2", "list_objects_v2", "list files", more)
            yield [self._stored(entry) for entry in page["Contents"]]
            more = self._next(page, ContinuationToken="NextContinuationToken")
            if not more:
                return

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
        more: dict[str, Any] = {}
        while True:
            page = self._call("ListObjectVersions", "list_object_versions", "list versions", more)
            yield [self._stored(entry) for entry in page["Contents"] if not entry["IsLatest"]]
            more = self._next(page, KeyMarker="NextKeyMarker", VersionIdMarker="NextVersionIdMarker")
            if not more:
                return

    def uploads(self) -> Answer[list[Stored]]:
        """Return uploads in parts that were begun and never completed, with what their parts take.

        Raises:
            ArtifactError: The server cannot be reached.
        """
        try:
            found = list(self._begun())
            return Answer([self._measured(entry) for entry in found])
        except ArtifactError as error:
            action = "s3:ListMultipartUploadParts" if "parts" in error.message else "s3:ListBucketMultipartUploads"
            return _unanswered(error, action)

    def _begun(self) -> Iterator[Mapping[str, Any]]:
        more: dict[str, str] = {}
        count = 0
        while count < _MOST_UPLOADS:
            page = self._connection.run(
                "list unfinished uploads",
                self._bucket,
                self._prefix,
                lambda more=more: self._client.list_multipart_uploads(  # type: ignore[misc]
                    Bucket=self._bucket, Prefix=self._prefix, **more
                ),
            )
            for entry in page.get("Uploads", ()):
                count += 1
                yield entry
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _measured(self, upload: Mapping[str, Any]) -> Stored:
        more: dict[str, int] = {}
        size_bytes = 0
        while True:
            page = self._connection.run(
                "list the parts of an upload",
                self._bucket,
                upload["Key"],
                lambda more=more: self._client.list_parts(  # type: ignore[misc]
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"], **more
                ),
            )
            size_bytes += sum(int(part["Size"]) for part in page.get("Parts", ()))
            if not page.get("IsTruncated"):
                break
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}
        begun: datetime = upload["Initiated"]
        path = str(upload["Key"])[len(self._prefix) :]
        return Stored(path, size_bytes, begun.timestamp(), upload.get("StorageClass") or "STANDARD")

    @property
    def _client(self) -> Any:
        return self._connection.client(self._bucket)

    def _stored(self, entry: Mapping[str, Any]) -> Stored:
        return Stored(entry["Key"][len(self._prefix) :], entry["Size"], entry["Modified"], entry["Class"])

    def _call(self, operation: str, method: str, doing: str, more: Mapping[str, Any]) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            client = self._client
            client.meta.events.register(f"before-parse.s3.{operation}", _read_page, unique_id=f"inventory-{operation}")
            page: dict[str, Any] = getattr(client, method)(
                Bucket=self._bucket, Prefix=self._prefix, MaxKeys=_PAGE, **more
            )
            return page

        page = self._connection.run(doing, self._bucket, self._prefix, ask)
        if "Contents" not in page:
            raise self._nonsense(doing)
        return page

    def _next(self, page: Mapping[str, Any], **names: str) -> dict[str, Any]:
        """Return what asks for the page after this one; nothing where it is the last."""
        if not page["IsTruncated"]:
            return {}
        more = {name: page[said] for name, said in names.items() if page.get(said)}
        if not more:
            raise self._nonsense("go on with a listing")
        return more

    def _nonsense(self, doing: str) -> ArtifactError:
        return ArtifactError(
            f"Cannot {doing} at s3://{self._bucket}: the server's answer is no such listing.",
            "see whether MLFLOW_S3_ENDPOINT_URL is an S3 server that knows this call",
            code="NotImplemented",
        )


def _read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read a page in botocore's place, which takes 0.1 s for it: with a million objects that is minutes."""
    from botocore.compat import unquote_str

    read = read_xml(response_dict)
    if read is None or read.root.tag.removeprefix(read.space) not in ("ListBucketResult", "ListVersionsResult"):
        return
    root, space, top = read
    # botocore asks for names in this form, since XML cannot write every letter.
    plain = unquote_str if top.get("EncodingType") == "url" else str
    names = ("NextContinuationToken", "NextVersionIdMarker")
    customized_response_dict |= {name: top[name] for name in names if name in top}
    customized_response_dict["NextKeyMarker"] = plain(top.get("NextKeyMarker", ""))
    kinds = (f"{space}Contents", f"{space}Version", f"{space}DeleteMarker")
    customized_response_dict |= {
        "IsTruncated": top.get("IsTruncated") == "true",
        "Contents": [_entry(item, space, plain) for item in root if item.tag in kinds],
    }
    response_dict["body"] = b"<ListBucketResult/>"


def _entry(item: ElementTree.Element, space: str, plain: Callable[[str], str]) -> dict[str, Any]:
    said = {child.tag.removeprefix(space): child.text or "" for child in item}
    return {
        "Key": plain(said.get("Key", "")),
        "Size": int(said.get("Size", 0)),
        "Modified": _seconds(said.get("LastModified", "")),
        "Class": said.get("StorageClass") or "STANDARD",
        "IsLatest": said.get("IsLatest", "true") == "true",
    }


def _seconds(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC).timestamp()
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _unanswered(error: ArtifactError, action: str) -> Answer[Any]:
    if error.retryable:
        raise error
    # The bucket itself was listed before, so what is refused is this call; servers without it say so in many ways.
    return Answer(None, "denied" if error.code in _DENIED else "unsupported", action)


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
