"""What lies below a place in a bucket, in all its forms, and removing it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeVar

from holdfast.artifacts.removal.deletion import BATCH, Deleter, Wanted, is_fatal
from holdfast.artifacts.removal.outcomes import Failure, Removal, Versioning, Work, batches_of, failed_by, failure_of
from holdfast.artifacts.s3.asking import ask_versioning, is_denied, is_unsupported
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.pages import (
    PAGE,
    Entry,
    Upload,
    object_pages,
    size_of_parts,
    upload_pages,
    version_pages,
)
from holdfast.artifacts.team import in_parallel
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import ArtifactError
from holdfast.logs import get_logger

# Of 10,000 keys radosgw deletes four requests at once in 12.4 s, one after the other in 20.7 s; moto is no guide.
THREADS = 4
_UPLOAD_BATCH = 50
# Parts that are under way while an upload is aborted are kept: it has to be aborted again.
_MOST_ABORTS = 6
_ABORT_PAUSE_S = 0.5
_PARTS_THREADS = 8
_STATES = {"Enabled": Versioning.ON, "Suspended": Versioning.SUSPENDED, "": Versioning.OFF}
_log = get_logger(__name__)
_E = TypeVar("_E", Entry, Upload)


def split_address(address: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; the key as it is, with slashes at its ends too."""
    bucket, _, key = address.partition("://")[2].partition("/")
    return bucket, key


def versioning_of(connection: S3Connection, bucket: str) -> Versioning:
    """Return whether a bucket keeps versions.

    Raises:
        ArtifactError: There is no such bucket (`NoSuchBucket`), or the server cannot be reached.
    """
    answer = ask_versioning(connection, bucket)
    if answer.value is None:
        return Versioning.OFF if answer.why_not == "unsupported" else Versioning.UNKNOWN
    return _STATES.get(answer.value, Versioning.UNKNOWN)


def list_bucket(connection: S3Connection, bucket: str, key: str) -> Iterator[list[StoredObject]]:
    """Give what is stored under a key and below it, or in the whole bucket where it is empty.

    Raises:
        ArtifactError: It cannot all be listed; the hint names the permission that is missing.
    """
    versioning = versioning_of(connection, bucket)
    if versioning is Versioning.OFF:
        pages = _pages(partial(object_pages, connection, bucket, size=PAGE), bucket, key, "s3:ListBucket")
    else:
        pages = _all_versions(connection, bucket, key, is_sure=versioning is not Versioning.UNKNOWN)
    for page in pages:
        yield [_stored(bucket, entry) for entry in page]
    yield from _unfinished(connection, bucket, key)


def _all_versions(connection: S3Connection, bucket: str, key: str, is_sure: bool) -> Iterator[list[Entry]]:
    """Give versions and markers; where nobody says whether there are any, and the server knows none, the objects."""
    pages = _pages(partial(version_pages, connection, bucket, size=PAGE), bucket, key, "s3:ListBucketVersions")
    try:
        first = next(pages, [])
    except ArtifactError as error:
        if is_sure or not is_unsupported(error):
            raise
        pages = _pages(partial(object_pages, connection, bucket, size=PAGE), bucket, key, "s3:ListBucket")
        first = next(pages, [])
    yield first
    yield from pages


def _unfinished(connection: S3Connection, bucket: str, key: str) -> Iterator[list[StoredObject]]:
    pages = _pages(partial(upload_pages, connection, bucket), bucket, key, "s3:ListBucketMultipartUploads")
    try:
        for page in pages:
            tasks = (partial(_measured, connection, bucket, upload) for upload in page)
            measured = in_parallel(tasks, min(_PARTS_THREADS, len(page)) or 1, threading.Event())
            yield [upload for upload in measured if upload is not None]
    except ArtifactError as error:
        if not is_unsupported(error) and error.code != "NoSuchUpload":  # so rclone says it
            raise
        _log.info("the server does not tell of unfinished uploads", bucket=bucket)


def _measured(connection: S3Connection, bucket: str, upload: Upload) -> StoredObject | None:
    try:
        size_bytes = size_of_parts(connection, bucket, upload)
    except ArtifactError as error:
        if error.code in ("NoSuchUpload", "NoSuchKey"):  # completed or aborted meanwhile
            return None
        raise _naming(error, "s3:ListMultipartUploadParts", bucket) from None
    begun_ms = int(upload.begun_s * 1000)
    return StoredObject(f"s3://{bucket}/{upload.key}", size_bytes, begun_ms, Form.UPLOAD, upload.upload_id)


def _pages(listing: Callable[[str], Iterator[list[_E]]], bucket: str, key: str, action: str) -> Iterator[list[_E]]:
    """Give the entries of a key and those below it, of a listing by prefix."""
    try:
        yield from _below(listing, key) if key else listing("")
    except ArtifactError as error:
        raise _naming(error, action, bucket) from None


def _below(listing: Callable[[str], Iterator[list[_E]]], key: str) -> Iterator[list[_E]]:
    """Give those of `x` and of `x/…`, and none of `xy`.

    What begins with `x` is listed: in the order of keys that is `x` first, then neighbours such as `x-1`, then what is
    below, then neighbours such as `xy`. Pages of neighbours are not read on. A server that keeps no order is read to
    its end.
    """
    below = f"{key}/"
    pages = listing(key)
    try:
        page: list[_E] | None = next(pages, None)
    except ArtifactError as error:
        if not is_denied(error):
            raise
        # A policy may allow `x/*` alone: then there is nothing of ours that is called `x`.
        pages = listing(below)
        page = next(pages, None)
    while page is not None:
        yield [entry for entry in page if entry.key == key or entry.key.startswith(below)]
        last = page[-1].key if page and _is_in_order(page) else below
        if last > below and not last.startswith(below):
            return
        if key < last < below and len(page) >= PAGE:
            yield from listing(below)
            return
        page = next(pages, None)


def _is_in_order(page: Sequence[Entry | Upload]) -> bool:
    return all(one.key <= other.key for one, other in pairwise(page))


def _naming(error: ArtifactError, action: str, bucket: str) -> ArtifactError:
    """Return a refusal with the permission that it is about."""
    if not is_denied(error):
        return error
    return ArtifactError(error.message, f"let the key do {action} on s3://{bucket}", error.retryable, error.code)


def _stored(bucket: str, entry: Entry) -> StoredObject:
    form = (Form.MARKER if entry.is_marker else Form.OBJECT) if entry.is_latest else Form.OLD
    return StoredObject(
        f"s3://{bucket}/{entry.key}", entry.size_bytes, int(entry.modified_s * 1000), form, entry.version_id
    )


def remove_from_buckets(connection: S3Connection, objects: Sequence[StoredObject], work: Work) -> None:
    """Remove objects, versions, markers and uploads.

    Older versions go first: were the current object or marker gone before them, an older version would be seen as the
    object for a while, or for good where it cannot be removed. What has an older version that was not removed stays
    (`OlderVersionLeft`).
    """
    first = [stored for stored in objects if stored.form is Form.OLD]
    uploads = [stored for stored in objects if stored.form is Form.UPLOAD]
    last = [stored for stored in objects if stored.form in (Form.OBJECT, Form.MARKER)]
    abort = partial(_abort, connection, work)
    work.do(batches_of(uploads, _UPLOAD_BATCH), abort, THREADS)
    left = _remove_all(connection, first, work)
    held = [stored for stored in last if stored.version_id and stored.address in left]
    if held and not work.is_over:
        work.note(Removal(failed=tuple(map(_held_back, held))))
        last = [stored for stored in last if stored not in set(held)]
    _remove_all(connection, last, work)


def _held_back(stored: StoredObject) -> Failure:
    message = f"{stored.address} is not deleted: an older version could not be, and would be the object then"
    return failure_of(stored, "OlderVersionLeft", message, retryable=True)


def _remove_all(connection: S3Connection, objects: Sequence[StoredObject], work: Work) -> set[str]:
    """Remove what is no upload; return the addresses of those that failed."""
    failed: set[str] = set()
    deleters: dict[str, Deleter] = {}
    batches: list[Sequence[StoredObject]] = []
    by_bucket: dict[str, list[StoredObject]] = {}
    for stored in objects:
        by_bucket.setdefault(split_address(stored.address)[0], []).append(stored)
    for bucket, found in by_bucket.items():
        deleters[bucket] = Deleter(connection, bucket, work.stop)
        batches += batches_of(found, BATCH)

    def remove(batch: Sequence[StoredObject]) -> Removal:
        done = _remove(deleters[split_address(batch[0].address)[0]], batch)
        failed.update(failure.address for failure in done.failed)
        return done

    work.do(batches, remove, THREADS)
    return failed


def _remove(deleter: Deleter, batch: Sequence[StoredObject]) -> Removal:
    wanted = {Wanted(split_address(stored.address)[1], stored.version_id): stored for stored in batch}
    answers = deleter.delete(list(wanted))
    return Removal(
        removed=tuple(stored for one, stored in wanted.items() if one in answers.gone),
        failed=tuple(failed_by(wanted[one], error) for one, error in answers.refused.items()),
        untried=tuple(
            stored for one, stored in wanted.items() if one not in answers.gone and one not in answers.refused
        ),
        error=answers.error,
    )


def _abort(connection: S3Connection, work: Work, batch: Sequence[StoredObject]) -> Removal:
    done = Removal()
    for upload in batch:
        if work.is_over or done.error is not None:
            done += Removal(untried=(upload,))
            continue
        try:
            _abort_one(connection, upload, work.stop)
            done += Removal(removed=(upload,))
        except ArtifactError as error:
            denied = _naming(error, "s3:AbortMultipartUpload", split_address(upload.address)[0])
            done += Removal(failed=(failed_by(upload, denied),), error=error if is_fatal(error) else None)
    return done


def _abort_one(connection: S3Connection, upload: StoredObject, stop: threading.Event) -> None:
    bucket, key = split_address(upload.address)
    where = {"Bucket": bucket, "Key": key, "UploadId": upload.version_id}

    def call() -> None:
        connection.client(bucket).abort_multipart_upload(**where)

    def look() -> bool:
        return bool(connection.client(bucket).list_parts(**where).get("Parts"))

    for _ in range(_MOST_ABORTS):
        try:
            connection.run("abort an upload", bucket, key, call, stop=stop)
            if not connection.run("list the parts of an upload", bucket, key, look, stop=stop):
                return
        except ArtifactError as error:
            # Gone; or nobody says, and then it is as AWS has it where nothing is under way.
            if error.code == "NoSuchUpload" or (error.message.startswith("Cannot list") and not error.retryable):
                return
            raise
        stop.wait(_ABORT_PAUSE_S)
    raise ArtifactError(
        f"The upload to {upload.address} still has parts after {_MOST_ABORTS} aborts.",
        "end the process that is sending them, then call again",
        retryable=True,
        code="PartsLeft",
    )
