"""What lies in a bucket, and deleting it."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from holdfast.artifacts.transfer import StoredFile
from holdfast.errors import ArtifactError

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection

_BATCH = 1000  # what one DeleteObjects takes
_SHOWN = 3


class StoredObject(NamedTuple):
    """An object in a bucket.

    Attributes:
        key: Its key.
        size_bytes: Its size.
        etag: Its ETag, without the quotes.
    """

    key: str
    size_bytes: int
    etag: str


def place_of(root_uri: str, path: str = "") -> tuple[str, str]:
    """Return bucket and key of a path below `s3://bucket/prefix`; the key does not end with a slash."""
    bucket, _, prefix = root_uri.partition("://")[2].partition("/")
    return bucket, "/".join(part for part in (prefix.strip("/"), path.strip("/")) if part)


def list_files(connection: S3Connection, root_uri: str, folder: str = "") -> list[StoredFile]:
    """Return what lies directly under `root_uri/folder`, by path; empty where there is nothing, or a file.

    Folders have no size; the empty objects that mark folders are left out.

    Raises:
        ArtifactError: The bucket cannot be listed.
    """
    bucket, root = place_of(root_uri)
    prefix = _below(place_of(root_uri, folder)[1])
    found: list[StoredFile] = []
    for page in _pages(connection, bucket, prefix, Delimiter="/"):
        folders = (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))
        found += [StoredFile(_relative(key, root), True, None) for key in folders]
        found += [StoredFile(_relative(key, root), False, size) for key, size, _ in _objects(page) if key != prefix]
    return sorted(found, key=lambda file: file.path)


def walk(connection: S3Connection, bucket: str, prefix: str) -> Iterator[list[StoredObject]]:
    """Give all objects whose key begins with `prefix`, by key, a page at a time; markers of folders are left out.

    Raises:
        ArtifactError: The bucket cannot be listed.
    """
    for page in _pages(connection, bucket, prefix):
        yield [found for found in _objects(page) if not _is_marker(found)]


def delete(connection: S3Connection, root_uri: str, path: str = "") -> None:
    """Delete the object at `path`, and all below it as a folder; what is not there is fine.

    Raises:
        ArtifactError: Some could not be deleted: it names the first and says how many. The others are gone.
    """
    bucket, key = place_of(root_uri, path)
    refused: list[dict[str, str]] = []
    # A server that keeps folders would take the key of one for the folder itself.
    if key and is_object(connection, bucket, key):
        refused += _delete_keys(connection, bucket, [key])
    for page in _pages(connection, bucket, _below(key)):
        refused += _delete_keys(connection, bucket, [found.key for found in _objects(page)])
    if refused:
        raise _left_over(connection, bucket, refused)


def is_object(connection: S3Connection, bucket: str, key: str) -> bool:
    """Whether there is an object of just this key; it would be the first of those that begin so.

    Raises:
        ArtifactError: The bucket cannot be listed.
    """
    page = next(_pages(connection, bucket, key, MaxKeys=1), {})
    return any(found.key == key for found in _objects(page))


def _pages(connection: S3Connection, bucket: str, prefix: str, **more: Any) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        page = connection.run("list files", bucket, prefix, _lister(connection, bucket, Prefix=prefix, **more, **token))
        yield page
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _lister(connection: S3Connection, bucket: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        client = connection.client(bucket)
        client.meta.events.register("before-parse.s3.ListObjectsV2", _read_page, unique_id="holdfast-list")
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, **arguments)
        return page

    return call


def _read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read a page in botocore's place, which takes 0.1 s for it, as long as a thousand small files take.

    Of each object only key, size and ETag are kept.
    """
    read = read_xml(response_dict)
    if read is None:
        return
    root, space, top = read
    names = ("Prefix", "Delimiter", "EncodingType", "NextContinuationToken")
    customized_response_dict |= {name: top[name] for name in names if name in top}
    customized_response_dict |= {
        "IsTruncated": top.get("IsTruncated") == "true",
        "Contents": [_entry(item, space) for item in root.iterfind(f"{space}Contents")],
        "CommonPrefixes": [
            {"Prefix": item.findtext(f"{space}Prefix", "")} for item in root.iterfind(f"{space}CommonPrefixes")
        ],
    }
    response_dict["body"] = b"<ListBucketResult/>"


class Read(NamedTuple):
    """An answer's XML.

    Attributes:
        root: Its root.
        space: The namespace of its tags, as it stands before their names; may be empty.
        top: The texts right below the root, by name.
    """

    root: ElementTree.Element
    space: str
    top: dict[str, str]


def read_xml(response_dict: Mapping[str, Any]) -> Read | None:
    """Return what a raw answer of botocore says; None where that is left to botocore, which knows how to say so."""
    if response_dict["status_code"] != 200:
        return None
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314  # as botocore does; expat has its guards
    except ElementTree.ParseError:
        return None
    space = root.tag.rpartition("}")[0]
    space += "}" if space else ""
    return Read(root, space, {child.tag.removeprefix(space): child.text or "" for child in root})


def _entry(item: ElementTree.Element, space: str) -> dict[str, Any]:
    size = int(item.findtext(f"{space}Size", "0"))
    return {"Key": item.findtext(f"{space}Key", ""), "Size": size, "ETag": item.findtext(f"{space}ETag", "")}


def _objects(page: dict[str, Any]) -> Iterator[StoredObject]:
    for entry in page.get("Contents", ()):
        yield StoredObject(entry["Key"], int(entry["Size"]), entry.get("ETag", "").strip('"'))


def _is_marker(found: StoredObject) -> bool:
    return found.key.endswith("/") and found.size_bytes == 0


def _relative(key: str, root: str) -> str:
    return posixpath.normpath(key[len(root) :].strip("/"))


def _below(key: str) -> str:
    """Return the prefix of all keys below a folder, and of no others: `x/` for `x`, which is none of `xy`."""
    return f"{key}/" if key else ""


def _delete_keys(connection: S3Connection, bucket: str, keys: Sequence[str]) -> list[dict[str, str]]:
    """Delete objects of one bucket; return what the server says of those that it did not."""
    refused: list[dict[str, str]] = []
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        answer = connection.run("delete files", bucket, batch[0], _deleter(connection, bucket, batch))
        refused += [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
    return refused


def _deleter(connection: S3Connection, bucket: str, keys: Sequence[str]) -> Callable[[], dict[str, Any]]:
    objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

    def call() -> dict[str, Any]:
        client = connection.client(bucket)
        client.meta.events.register("before-call.s3.DeleteObjects", add_md5, unique_id="holdfast-md5")
        answer: dict[str, Any] = client.delete_objects(Bucket=bucket, Delete=objects)
        return answer

    return call


def add_md5(params: dict[str, Any], **_: Any) -> None:
    """Give a request of botocore the MD5 of its body, before it is signed."""
    # AWS takes any checksum; older servers want this one, which botocore no longer sends.
    body = params["body"]
    digest = hashlib.md5(body if isinstance(body, bytes) else body.encode(), usedforsecurity=False).digest()
    params["headers"].setdefault("Content-MD5", base64.b64encode(digest).decode())


def _left_over(connection: S3Connection, bucket: str, refused: Sequence[dict[str, str]]) -> ArtifactError:
    first = refused[0]
    names = ", ".join(str(error.get("Key")) for error in refused[:_SHOWN])
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    code = first.get("Code", "")
    return ArtifactError(
        f"{len(refused)} files were not deleted from s3://{bucket}: {names}{more}: {code}: {first.get('Message', '')} "
        f"(account: {connection.access.account})",
        "let the key do s3:DeleteObject there" if code == "AccessDenied" else "call again",
        retryable=code in ("InternalError", "SlowDown", "ServiceUnavailable"),
        code=code,
    )
