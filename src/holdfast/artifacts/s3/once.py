"""Writing an object in a bucket only where there is none yet."""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import Any

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import is_object, place_of
from holdfast.errors import ArtifactError

# How servers that do not know `If-None-Match` with a PUT refuse it.
_UNKNOWN = ("NotImplemented", "XNotImplemented", "InvalidRequest", "InvalidArgument", "HTTP 400", "HTTP 501")


def put_once(
    connection: S3Connection, root_uri: str, path: str, content: bytes, stop: threading.Event | None = None
) -> bool:
    """Store an object under a key that has none, in one request (`If-None-Match: *`).

    A server that refuses the condition is looked at before each write instead, for as long as this process lives; two
    that write at the same moment are then not told apart. One that does not heed the condition, and does not say so,
    overwrites.

    Args:
        connection: The way to the S3.
        root_uri: `s3://bucket/prefix`.
        path: Below it.
        content: All of it.
        stop: Ends the waiting between attempts.

    Returns:
        Whether it was written; False where there is an object of that key, which stays as it is.

    Raises:
        ArtifactError: It could not be stored.
    """
    bucket, key = place_of(root_uri, path)
    dialect = connection.dialect(bucket)
    if dialect.writes_once:
        try:
            _put(connection, bucket, key, content, stop, IfNoneMatch="*")
        except ArtifactError as error:
            if error.code == "PreconditionFailed":
                return False
            if error.code not in _UNKNOWN:
                raise
        else:
            return True
    if is_object(connection, bucket, key):
        return False
    _put(connection, bucket, key, content, stop)
    dialect.writes_once = False  # it was the condition that was refused, for the same object went without
    return True


def _put(
    connection: S3Connection, bucket: str, key: str, content: bytes, stop: threading.Event | None, **condition: str
) -> None:
    # Buckets with object lock want it; all others verify it.
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()

    def call() -> Any:
        arguments = {"ContentMD5": digest, **connection.access.put_arguments, **condition}
        return connection.client(bucket).put_object(Bucket=bucket, Key=key, Body=content, **arguments)

    connection.run(f"store the file {key.rpartition('/')[2]}", bucket, key, call, stop=stop)
