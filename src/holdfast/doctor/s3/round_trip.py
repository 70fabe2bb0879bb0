"""Whether a file can be stored, read, looked at, listed and deleted, each the way that transfers do it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from holdfast.artifacts.s3.content import crc_in
from holdfast.artifacts.s3.listing import walk
from holdfast.artifacts.s3.reading import Reader
from holdfast.core.crc import to_text
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.probe import WRITER, Probe, Stored, is_denied, probe_of, put_actions, refused
from holdfast.doctor.s3.reach import LISTS
from holdfast.errors import ArtifactError

_T = TypeVar("_T")
# Some servers' listings lag behind what was stored.
_LISTED_WITHIN_S = 2.0
_PAUSE_S = 0.1
_VERSIONS_STAY = (
    "what an examination writes stays as non-current versions in this bucket, for the key may not delete them "
    "(s3:ListBucketVersions, s3:DeleteObjectVersion); a lifecycle rule takes them away (see s3.lifecycle_noncurrent)"
)
_OR_READ = ", or, if it shall only read: holdfast doctor --role reader"
_ALTERED = "see a proxy or gateway before the S3 server: it alters what passes"


def _put(context: Context) -> Finding:
    probe = probe_of(context)
    given = probe.connection.access.put_arguments
    try:
        stored = probe.share()
    except ArtifactError as error:
        # What may list may well be a reader's, and right for that.
        remedy = f"{WRITER}{_OR_READ}" if context.noted(LISTS) else WRITER
        return refused(error, *put_actions(given), remedy=remedy)
    with_what = f" with {', '.join(sorted(given))}" if given else ""
    return ok(f"stored {len(probe.content)} bytes{with_what} in {_ms(stored.took_s)}", Evidence.TRIED, **_took(stored))


def _get(context: Context) -> Finding:
    probe = probe_of(context)
    reader = Reader(probe.connection, probe.bucket)

    def read() -> bytes:
        return b"".join(bytes(chunk) for chunk in reader.open(probe.shared_key).chunks)

    try:
        content, took_s = _timed(lambda: probe.connection.run("fetch a probe", probe.bucket, probe.shared_key, read))
    except ArtifactError as error:
        return refused(error, "s3:GetObject")
    if content != probe.content:
        return failed(f"{probe.uri(probe.shared_key)} came back with other bytes than were stored", _ALTERED)
    return ok(f"fetched what was stored in {_ms(took_s)}, unaltered", Evidence.TRIED, took_ms=_in_ms(took_s))


def _head(context: Context) -> Finding:
    probe = probe_of(context)

    def ask() -> Mapping[str, Any]:
        client = probe.connection.client(probe.bucket)
        found: Mapping[str, Any] = client.head_object(Bucket=probe.bucket, Key=probe.shared_key, ChecksumMode="ENABLED")
        return found

    try:
        found, took_s = _timed(lambda: probe.connection.run("look at a probe", probe.bucket, probe.shared_key, ask))
    except ArtifactError as error:
        return refused(error, "s3:GetObject")
    if found["ContentLength"] != len(probe.content):
        said = f"the server says {found['ContentLength']} bytes of an object of {len(probe.content)}"
        return failed(said, _ALTERED, Evidence.TOLD)
    if crc_in(found.get("Metadata", {})) != to_text(probe.crc):
        return warning(
            "the server does not give back the metadata of an object: files are checked by their ETag alone",
            "have whoever runs the server, or the gateway before it, keep the headers x-amz-meta-*",
            Evidence.TRIED,
        )
    wanted = probe.connection.access.put_arguments.get("StorageClass", "STANDARD")
    if found.get("StorageClass", "STANDARD") != wanted:
        return warning(
            f"the settings ask for the storage class {wanted}, and the server keeps files in "
            f"{found.get('StorageClass', 'STANDARD')}",
            "unset HOLDFAST_S3_STORAGE_CLASS: this server does not heed it",
            Evidence.TRIED,
        )
    return ok(
        f"looked at the object in {_ms(took_s)}; size and metadata are right", Evidence.TRIED, took_ms=_in_ms(took_s)
    )


def _list(context: Context) -> Finding:
    probe = probe_of(context)
    until = time.monotonic() + _LISTED_WITHIN_S
    try:
        is_there, took_s = _timed(lambda: _is_listed(probe))
        while not is_there and time.monotonic() < until:
            threading.Event().wait(_PAUSE_S)
            is_there = _is_listed(probe)
    except ArtifactError as error:
        return refused(error, "s3:ListBucket")
    if not is_there:
        return failed(
            f"what was stored is not in the listing {_LISTED_WITHIN_S:g} s later",
            "see a cache of listings in the server, or in a gateway before it: folders would look empty",
        )
    return ok(f"listed the object in {_ms(took_s)}", Evidence.TRIED, took_ms=_in_ms(took_s))


def _is_listed(probe: Probe) -> bool:
    pages = walk(probe.connection, probe.bucket, f"{probe.folder}/")
    return any(found.key == probe.shared_key for page in pages for found in page)


def _delete(context: Context) -> Finding:
    probe = probe_of(context)
    key = f"{probe.folder}/deleted"
    try:
        # Of what is not there: a key that may not delete leaves nothing more behind.
        probe.remove(key)
        probe.store(key)
        is_all, took_s = _timed(lambda: probe.remove(key))
    except ArtifactError as error:
        return refused(error, "s3:DeleteObject")
    if _is_there(probe, key):
        return failed(
            f"{probe.uri(key)} is still there after it was deleted",
            "see a hold or a retention on the bucket, or the server's log: what is deleted stays",
        )
    stays = "" if is_all else f"; {_VERSIONS_STAY}"
    return ok(
        f"deleted an object in {_ms(took_s)}{stays}", Evidence.TRIED, took_ms=_in_ms(took_s), leaves_versions=not is_all
    )


def _is_there(probe: Probe, key: str) -> bool:
    def ask() -> object:
        return probe.connection.client(probe.bucket).head_object(Bucket=probe.bucket, Key=key)

    try:
        probe.connection.run("look at a probe", probe.bucket, key, ask)
    except ArtifactError as error:
        if error.code == "NoSuchKey" or is_denied(error):
            return False
        raise
    return True


def _timed(call: Callable[[], _T]) -> tuple[_T, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def _took(stored: Stored) -> dict[str, Any]:
    return {"took_ms": _in_ms(stored.took_s)}


def _in_ms(took_s: float) -> float:
    return round(took_s * 1000, 1)


def _ms(took_s: float) -> str:
    return f"{took_s * 1000:.0f} ms"


CHECKS = (
    Check("s3.put", "Can a file be stored, with what the settings send along?", _put, ("s3.bucket",)),
    Check("s3.get", "Does it come back, and unaltered?", _get, ("s3.put",)),
    Check("s3.head", "Does the server say what it has stored?", _head, ("s3.put",)),
    Check("s3.list", "Is it listed?", _list, ("s3.put",)),
    Check("s3.delete", "Can what an examination stores be deleted?", _delete, ("s3.put",)),
)
