"""Whole listings of a bucket, page by page: objects with all that is said of them, versions, unfinished uploads.

A connection that is used for these must not be used by `listing`, which reads the same answers in another way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from xml.etree import ElementTree

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import read_xml
from holdfast.errors import ArtifactError

PAGE = 1000
_register_lock = threading.Lock()


class Entry(NamedTuple):
    """An object, a version of one, or a delete marker.

    Attributes:
        key: Its key.
        size_bytes: Its size; 0 for a marker.
        modified_s: When it was stored, seconds since the epoch.
        storage_class: Its storage class, by S3's name.
        version_id: Its version; empty in a listing of objects.
        is_latest: Whether it is what a request without a version gets.
        is_marker: Whether it is a delete marker.
    """

    key: str
    size_bytes: int
    modified_s: float
    storage_class: str
    version_id: str = ""
    is_latest: bool = True
    is_marker: bool = False


class Upload(NamedTuple):
    """An upload in parts that was begun and never completed.

    Attributes:
        key: The key that it was to have.
        upload_id: Its id.
        begun_s: When it was begun, seconds since the epoch.
        storage_class: By S3's name.
    """

    key: str
    upload_id: str
    begun_s: float
    storage_class: str


def object_pages(connection: S3Connection, bucket: str, prefix: str, size: int = PAGE) -> Iterator[list[Entry]]:
    """Give the current objects whose key begins with `prefix`, by key.

    Raises:
        ArtifactError: The bucket cannot be listed.
    """
    more: dict[str, Any] = {}
    while True:
        arguments = {"Prefix": prefix, "MaxKeys": size, **more}
        page = _ask(connection, bucket, "ListObjectsV2", "list_objects_v2", "list files", arguments)
        yield page["Contents"]
        more = _next(page, bucket, ContinuationToken="NextContinuationToken")
        if not more:
            return


def version_pages(
    connection: S3Connection, bucket: str, prefix: str, size: int = PAGE, after: str = ""
) -> Iterator[list[Entry]]:
    """Give all versions and markers of keys that begin with `prefix`, by key; of one key not always the newest first.

    Args:
        connection: The way there.
        bucket: Where.
        prefix: How the keys begin.
        size: How many a page has at most.
        after: Only keys that come after this text; a server may give those before as well.

    Raises:
        ArtifactError: The versions cannot be listed.
    """
    more: dict[str, Any] = {"KeyMarker": after} if after else {}
    while True:
        arguments = {"Prefix": prefix, "MaxKeys": size, **more}
        page = _ask(connection, bucket, "ListObjectVersions", "list_object_versions", "list versions", arguments)
        yield page["Contents"]
        more = _next(page, bucket, KeyMarker="NextKeyMarker", VersionIdMarker="NextVersionIdMarker")
        if not more:
            return


def upload_pages(connection: S3Connection, bucket: str, prefix: str) -> Iterator[list[Upload]]:
    """Give the unfinished uploads to keys that begin with `prefix`, by key.

    Raises:
        ArtifactError: They cannot be listed; some servers lack the call (see `is_unsupported` in `asking`).
    """
    more: dict[str, str] = {}
    while True:
        arguments = {"Prefix": prefix, "EncodingType": "url", **more}
        call = _caller(connection, bucket, "list_multipart_uploads", arguments)
        page = connection.run("list unfinished uploads", bucket, prefix, call)
        plain = _decoder(page.get("EncodingType", ""))
        yield [_upload(entry, plain) for entry in page.get("Uploads", ())]
        if not page.get("IsTruncated"):
            return
        more = {"KeyMarker": plain(page["NextKeyMarker"]), "UploadIdMarker": page["NextUploadIdMarker"]}


def size_of_parts(connection: S3Connection, bucket: str, upload: Upload) -> int:
    """Return what the parts of an upload take, in bytes.

    Raises:
        ArtifactError: The parts cannot be listed; `NoSuchUpload` where it is gone.
    """
    size_bytes, more = 0, dict[str, int]()
    while True:
        arguments = {"Key": upload.key, "UploadId": upload.upload_id, **more}
        call = _caller(connection, bucket, "list_parts", arguments)
        page = connection.run("list the parts of an upload", bucket, upload.key, call)
        size_bytes += sum(int(part["Size"]) for part in page.get("Parts", ()))
        if not page.get("IsTruncated"):
            return size_bytes
        more = {"PartNumberMarker": page["NextPartNumberMarker"]}


def _caller(
    connection: S3Connection, bucket: str, method: str, arguments: Mapping[str, Any]
) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        page: dict[str, Any] = getattr(connection.client(bucket), method)(Bucket=bucket, **arguments)
        return page

    return call


def _upload(entry: Mapping[str, Any], plain: Callable[[str], str]) -> Upload:
    begun: datetime = entry["Initiated"]
    return Upload(plain(entry["Key"]), entry["UploadId"], begun.timestamp(), entry.get("StorageClass") or "STANDARD")


def _ask(
    connection: S3Connection, bucket: str, operation: str, method: str, doing: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    def call() -> dict[str, Any]:
        client = connection.client(bucket)
        with _register_lock:
            client.meta.events.register(f"before-parse.s3.{operation}", _read_page, unique_id=f"pages-{operation}")
        page: dict[str, Any] = getattr(client, method)(Bucket=bucket, **arguments)
        return page

    page = connection.run(doing, bucket, arguments["Prefix"], call)
    if "Contents" not in page:
        raise _nonsense(bucket, doing)
    return page


def _next(page: Mapping[str, Any], bucket: str, **names: str) -> dict[str, Any]:
    """Return what asks for the page after this one; nothing where it is the last."""
    if not page["IsTruncated"]:
        return {}
    more = {name: page[said] for name, said in names.items() if page.get(said)}
    if not more:
        raise _nonsense(bucket, "go on with a listing")
    return more


def _nonsense(bucket: str, doing: str) -> ArtifactError:
    return ArtifactError(
        f"Cannot {doing} at s3://{bucket}: the server's answer is no such listing.",
        "see whether MLFLOW_S3_ENDPOINT_URL is an S3 server that knows this call",
        code="NotImplemented",
    )


def _decoder(encoding: str) -> Callable[[str], str]:
    """Return what makes a name of one in an answer: they are asked for encoded, as XML cannot write every letter."""
    from botocore.compat import unquote_str

    return unquote_str if encoding == "url" else str


def _read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read a page in botocore's place, which takes 0.1 s for it: with a million objects that is minutes."""
    read = read_xml(response_dict)
    if read is None or read.root.tag.removeprefix(read.space) not in ("ListBucketResult", "ListVersionsResult"):
        return
    root, space, top = read
    plain = _decoder(top.get("EncodingType", ""))
    names = ("NextContinuationToken", "NextVersionIdMarker")
    customized_response_dict |= {name: top[name] for name in names if name in top}
    customized_response_dict["NextKeyMarker"] = plain(top.get("NextKeyMarker", ""))
    kinds = (f"{space}Contents", f"{space}Version", f"{space}DeleteMarker")
    customized_response_dict |= {
        "IsTruncated": top.get("IsTruncated") == "true",
        "Contents": [_entry(item, space, plain) for item in root if item.tag in kinds],
    }
    response_dict["body"] = b"<ListBucketResult/>"


def _entry(item: ElementTree.Element, space: str, plain: Callable[[str], str]) -> Entry:
    said = {child.tag.removeprefix(space): child.text or "" for child in item}
    return Entry(
        plain(said.get("Key", "")),
        int(said.get("Size", 0)),
        _seconds(said.get("LastModified", "")),
        said.get("StorageClass") or "STANDARD",
        said.get("VersionId", ""),
        said.get("IsLatest", "true") == "true",
        item.tag.endswith("DeleteMarker"),
    )


def _seconds(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC).timestamp()
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
