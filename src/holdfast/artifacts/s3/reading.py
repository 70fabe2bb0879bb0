"""One GET: what the answer says of the object, and its bytes as they come.

obstore answers small requests many times faster than boto3, but it has no way to name the bucket's owner and takes
no key with empty parts; boto3 does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.artifacts.s3.content import crc_in

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection

CHUNK_BYTES = 1 << 20
# obstore says so, without a class for it, where a Range is answered with the whole.
_NOT_PARTIAL = "non-partial"


class NoRangesError(Exception):
    """The server answers a Range with the whole object."""


class Opened(NamedTuple):
    """An object whose bytes are still to be read.

    Attributes:
        size_bytes: The size of the whole object.
        etag: Its ETag, without quotes.
        crc_text: The CRC-32C of the whole that Holdfast has stored with it; empty where others have stored it.
        chunks: Gives the bytes, once.
    """

    size_bytes: int
    etag: str
    crc_text: str
    chunks: Iterator[Any]


class Reader:
    """Asks for the objects of one bucket.

    Args:
        connection: The way there.
        bucket: Which.
    """

    def __init__(self, connection: S3Connection, bucket: str) -> None:
        self._connection = connection
        self._bucket = bucket
        self._is_fast = connection.uses_store

    def open(self, key: str, part: tuple[int, int] | None = None, etag: str = "") -> Opened:
        """Ask for an object; to be called within `S3Connection.run`.

        Args:
            key: Which.
            part: From where to before where; None for all.
            etag: What its ETag has to be still.

        Raises:
            NoRangesError: A part was asked for, and all came.
            Exception: What the clients raise.
        """
        if self._is_fast and _is_plain(key):
            return _with_obstore(self._connection.store(self._bucket), key, part, etag)
        return _with_boto3(self._connection.client(self._bucket), self._bucket, key, part, etag)


def _is_plain(key: str) -> bool:
    return not any(segment in ("", ".", "..") for segment in key.split("/")) and key.isprintable()


def _with_obstore(store: Any, key: str, part: tuple[int, int] | None, etag: str) -> Opened:
    import obstore

    options: dict[str, Any] = {}
    if part is not None:
        options["range"] = part
    if etag:
        options["if_match"] = f'"{etag}"'
    get: Any = obstore.get
    try:
        found = get(store, key, options=options or None)
    except Exception as error:
        if _NOT_PARTIAL in str(error):
            raise NoRangesError from None
        raise
    meta, (start, end) = found.meta, found.range
    if end - start <= 4 * CHUNK_BYTES:
        chunks = iter((found.bytes(),) if end > start else ())
    else:
        chunks = iter(found.stream(min_chunk_size=CHUNK_BYTES))
    return Opened(meta["size"], (meta["e_tag"] or "").strip('"'), crc_in(found.attributes), chunks)


def _with_boto3(client: Any, bucket: str, key: str, part: tuple[int, int] | None, etag: str) -> Opened:
    more = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
    more |= {"IfMatch": f'"{etag}"'} if etag else {}
    found = client.get_object(Bucket=bucket, Key=key, **more)
    content_range = found.get("ContentRange", "")
    if part and not content_range:
        found["Body"].close()
        raise NoRangesError
    size = int(content_range.rpartition("/")[2]) if content_range else int(found["ContentLength"])
    return Opened(
        size,
        found.get("ETag", "").strip('"'),
        crc_in(found.get("Metadata", {})),
        found["Body"].iter_chunks(CHUNK_BYTES),
    )
