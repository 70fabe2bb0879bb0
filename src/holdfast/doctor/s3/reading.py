"""What is asked with keys that only read: a file that is there is looked at and fetched, and nothing is stored.

These stand in for the checks of the same names that store a probe first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from holdfast.artifacts.s3.listing import StoredObject, walk
from holdfast.artifacts.s3.reading import NoRangesError, Reader
from holdfast.core.locations import PROBES
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped
from holdfast.doctor.context import Context
from holdfast.doctor.s3.probe import READER, Probe, bucket_of, probe_of, refused
from holdfast.errors import ArtifactError

_FOUND = "s3.file"
_PART_BYTES = 4096
_RATE_BYTES = 4 << 20
_MIB = float(1 << 20)
_NOTHING_IS_WRITTEN = "nothing is written for a reader (--role reader)"
# Where files or runs would be made.
_WRITING = (
    *("s3.put", "s3.delete", "s3.leftovers", "s3.multipart", "s3.abort", "s3.checksums", "s3.conditional_put"),
    *("server.run", "server.artifacts"),
)


def for_readers(check: Check) -> Check:
    """Return what is asked in a check's place where the keys only read."""
    if check.name in _WRITING:
        return replace(check, run=lambda context: skipped(_NOTHING_IS_WRITTEN), needs=())
    run = _IN_PLACE.get(check.name)
    return check if run is None else replace(check, run=run, needs=("s3.bucket",))


def _file(context: Context) -> StoredObject | None:
    """Return a file of the project that is not empty: the first in the listing; None where there is none."""
    bucket = bucket_of(context)

    def find() -> StoredObject | None:
        folder = f"{bucket.prefix}/" if bucket.prefix else ""
        pages = walk(bucket.connection, bucket.name, folder)
        return next((item for page in pages for item in page if item.size_bytes and f"{PROBES}/" not in item.key), None)

    return context.once(_FOUND, find)


def _tried(context: Context, action: str, ask: Callable[[Probe, StoredObject], Finding]) -> Finding:
    """Ask something about the file, if there is one."""
    probe = probe_of(context)
    try:
        found = _file(context)
        if found is None:
            return skipped(f"there is no file below {bucket_of(context).uri} yet to try reading with")
        return ask(probe, found)
    except ArtifactError as error:
        return refused(error, action, remedy=READER)


def _list(context: Context) -> Finding:
    began = time.monotonic()
    try:
        found = _file(context)
    except ArtifactError as error:
        return refused(error, "s3:ListBucket", remedy=READER)
    what = "there is no file yet" if found is None else f"such as {probe_of(context).uri(found.key)}"
    took_ms = (time.monotonic() - began) * 1000
    return ok(f"listed {bucket_of(context).uri} in {took_ms:.0f} ms: {what}", Evidence.TRIED, took_ms=round(took_ms, 1))


def _head(context: Context) -> Finding:
    def look(probe: Probe, item: StoredObject) -> Finding:
        def ask() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = probe.connection.client(probe.bucket).head_object(
                Bucket=probe.bucket, Key=item.key
            )
            return answer

        told = probe.connection.run("look at a file", probe.bucket, item.key, ask)["ContentLength"]
        if told != item.size_bytes:
            said = f"{probe.uri(item.key)} has {item.size_bytes} bytes by the listing, and {told} by itself"
            return failed(said, "see whether it was overwritten this moment, or a cache before the S3 server")
        return ok(f"looked at {probe.uri(item.key)}: {told} bytes", Evidence.TRIED)

    return _tried(context, "s3:GetObject", look)


def _get(context: Context) -> Finding:
    def fetch(probe: Probe, item: StoredObject) -> Finding:
        size_bytes, took_s = _fetched(probe, item, _PART_BYTES)
        return ok(
            f"fetched {size_bytes} of {item.size_bytes} bytes of {probe.uri(item.key)} in {took_s * 1000:.0f} ms",
            Evidence.TRIED,
            took_ms=round(took_s * 1000, 1),
        )

    return _tried(context, "s3:GetObject", fetch)


def _range(context: Context) -> Finding:
    def fetch(probe: Probe, item: StoredObject) -> Finding:
        reader = Reader(probe.connection, probe.bucket)

        def read() -> int | None:
            try:
                return sum(len(chunk) for chunk in reader.open(item.key, (0, 1)).chunks)
            except NoRangesError:
                return None

        got = probe.connection.run("fetch a part of a file", probe.bucket, item.key, read)
        if got is None:
            return skipped("the server does not answer a Range with 206: large files are fetched in one stream")
        return ok("large files are fetched in parallel ranges", Evidence.TRIED)

    return _tried(context, "s3:GetObject", fetch)


def _rate(context: Context) -> Finding:
    def fetch(probe: Probe, item: StoredObject) -> Finding:
        size_bytes, took_s = _fetched(probe, item, _RATE_BYTES)
        down = size_bytes / took_s / _MIB
        found = f"{down:.1f} MiB/s down, with {size_bytes / _MIB:.2g} MiB of a file; {_NOTHING_IS_WRITTEN}"
        return ok(found, Evidence.TRIED, down_mib_s=round(down, 2), bytes=size_bytes)

    return _tried(context, "s3:GetObject", fetch)


def _fetched(probe: Probe, item: StoredObject, most_bytes: int) -> tuple[int, float]:
    """Fetch the beginning of a file; return how much, and how long it took. A stream is not read any further."""
    reader, wanted = Reader(probe.connection, probe.bucket), min(most_bytes, item.size_bytes)

    def read() -> int:
        got = 0
        for chunk in _beginning(reader, item.key, wanted):
            got += len(chunk)
            if got >= wanted:
                break
        return got

    began = time.monotonic()
    size_bytes = probe.connection.run("fetch a file", probe.bucket, item.key, read)
    return size_bytes, time.monotonic() - began


def _beginning(reader: Reader, key: str, size_bytes: int) -> Iterator[Any]:
    try:
        return reader.open(key, (0, size_bytes)).chunks
    except NoRangesError:
        return reader.open(key).chunks


_IN_PLACE: Mapping[str, Callable[[Context], Finding]] = {
    "s3.list": _list,
    "s3.head": _head,
    "s3.get": _get,
    "s3.range": _range,
    "s3.rate": _rate,
}
