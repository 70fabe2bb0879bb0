"""Uploads: many small files at once, large ones in parts, and nothing that is there already."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from holdfast.artifacts.s3.bodies import Body, crc_of, read_body, read_whole
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.content import Upload, arguments_of, fast_options, is_fast, upload_of
from holdfast.artifacts.s3.fast_store import fits
from holdfast.artifacts.s3.parts import upload_in_parts
from holdfast.artifacts.s3.sending import Sending
from holdfast.artifacts.s3.unchanged import Present
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import Item, Meter, Sent
from holdfast.core.crc import to_text

# Up to here obstore is the fastest. Its limit on the time of a request counts from its start, so that a larger body
# on a slow line would run into it; boto3's counts anew with every piece.
_OBSTORE_BYTES = 1 << 20
# Up to the last of these a file goes in one request; those of one size are sent together.
_WHOLE_BYTES = (_OBSTORE_BYTES, 4 << 20, 16 << 20)
# Bodies in memory at once: leaves most of the 256 MiB that a process may take to Python and the clients.
_BODIES_BYTES = 64 << 20


def upload_items(connection: S3Connection, items: Sequence[Item], meter: Meter) -> Sent:
    """Store files; see `FileStore.upload`.

    Args:
        connection: The way to the S3.
        items: The files; each goes to an address of its own.
        meter: Is told.

    Raises:
        ArtifactError: One could not be stored; those stored before it stay.
        InvalidInputError: An address names no file in S3.
    """
    uploads = [upload_of(item) for item in items]
    meter.begin(len(uploads), sum(upload.size for upload in uploads))
    stop = threading.Event()
    try:
        return _upload_all(Sending(connection, meter, stop), uploads)
    finally:
        stop.set()


def _upload_all(sending: Sending, uploads: Sequence[Upload]) -> Sent:
    buckets: dict[str, list[Upload]] = defaultdict(list)
    for upload in uploads:
        buckets[upload.bucket].append(upload)
    sent = Sent()
    for bucket, its in buckets.items():
        present = Present(sending.connection, bucket, its, sending.stop)
        for largest in _WHOLE_BYTES:
            # As many at once as leave memory bounded; each thread keeps for itself what it has used once.
            threads = min(sending.connection.access.threads, _BODIES_BYTES // largest)
            fitting = [upload for upload in its if _class_of(upload) == largest]
            if fitting:
                done = in_parallel(_tasks(sending, present, fitting), min(threads, len(fitting)), sending.stop)
                sent = sum(done, sent)
        for upload in its:
            if _class_of(upload) is None:
                sent += upload_in_parts(sending, present, upload)
    return sent


def _class_of(upload: Upload) -> int | None:
    """Return the size that bounds the files which are sent together with it; None for one that goes in parts."""
    return next((size for size in _WHOLE_BYTES if upload.size <= size), None)


def _tasks(sending: Sending, present: Present, uploads: Sequence[Upload]) -> Iterator[Callable[[], Sent]]:
    put_arguments = sending.connection.access.put_arguments
    fast = sending.connection.uses_store and is_fast(put_arguments)
    fast = fast and sending.connection.access.checksums != "always"
    for upload in uploads:
        yield partial(_upload_whole, sending, present, upload, fast)


def _upload_whole(sending: Sending, present: Present, upload: Upload, fast: bool) -> Sent:
    import google_crc32c

    content: bytes | Body
    if upload.size <= _OBSTORE_BYTES:
        content = read_whole(upload)
        crc = google_crc32c.value(content)
    else:
        content = read_body(upload)
        crc = crc_of(content)
    if present.has(upload, content, crc):
        return sending.skipped(upload)
    sending.pace.take(upload.size, sending.stop)
    arguments = arguments_of(upload.item.local, crc, sending.connection.access.put_arguments)
    if fast and isinstance(content, bytes) and fits(upload.key):
        sending.run(upload, partial(_put_fast, sending, upload, content, fast_options(arguments)))
    else:
        body = content if isinstance(content, Body) or not content else Body(content)
        sending.run(upload, partial(_put, sending, upload, body, crc, arguments), checked=True)
    return sending.stored(upload)


def _put_fast(sending: Sending, upload: Upload, content: bytes, options: dict[str, Any]) -> None:
    import obstore

    obstore.put(sending.connection.store(upload.bucket), upload.key, content, use_multipart=False, **options)


def _put(sending: Sending, upload: Upload, body: Body | bytes, crc: int, arguments: dict[str, Any]) -> None:
    dialect = sending.connection.dialect(upload.bucket)
    checksum = {"ChecksumCRC32C": to_text(crc)} if dialect.sends_checksums else {}
    client = sending.connection.client(upload.bucket, signs_payload=dialect.verifies is not True)
    answer = client.put_object(Bucket=upload.bucket, Key=upload.key, Body=body, **{**arguments, **checksum})
    if checksum:
        dialect.heard(answer["ResponseMetadata"]["HTTPHeaders"])
