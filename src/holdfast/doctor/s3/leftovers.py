"""What earlier examinations have left in the bucket: probes, and uploads in parts that nobody ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import delete, walk
from holdfast.doctor.check import Check, Finding, Fix, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.clock import server_time
from holdfast.doctor.s3.probe import Probe, begun_at, is_denied, probe_of, refused
from holdfast.doctor.wording import counted
from holdfast.errors import ArtifactError

# An examination takes a minute at most, each of its checks seconds, whatever --timeout says. Names are made and judged
# by the server's clock, so that it does not matter how far apart those of two machines are.
_OVER = timedelta(minutes=5)


class _Seen(NamedTuple):
    """What lies below the folder of probes, without this examination's own.

    Attributes:
        keys: Of objects.
        uploads: Key and id of unfinished uploads.
        unseen: Why uploads could not be asked for; empty where they could.
    """

    keys: list[str]
    uploads: list[tuple[str, str]]
    unseen: str = ""

    def over_at(self, now: datetime) -> _Seen:
        """Return those of examinations that are surely over."""
        return _Seen(
            [key for key in self.keys if _is_over(key, now)], [item for item in self.uploads if _is_over(item[0], now)]
        )


def _leftovers(context: Context) -> Finding:
    probe = probe_of(context)
    try:
        seen = _see(probe)
    except ArtifactError as error:
        return refused(error, "s3:ListBucket")
    over = seen.over_at(server_time(context))
    more = [f"{_counts(seen, over)} younger than 5 min, perhaps of an examination under way"] * (seen[:2] != over[:2])
    said = "".join(f"; {part}" for part in (*more, seen.unseen) if part)
    where = probe.uri(probe.root)
    if not over.keys and not over.uploads:
        return ok(f"earlier examinations have left nothing in {where}{said}")
    folders = sorted({key.rpartition("/")[0] for key in over.keys})
    return warning(
        f"examinations that were cut off have left {_counts(over)} below {where}{said}",
        "holdfast doctor --only s3.leftovers --fix",
        fix=Fix(f"delete what they have left below {where}", partial(_sweep, probe, folders, over)),
        folders=[probe.uri(folder) for folder in folders],
        uploads=[probe.uri(key) for key, _ in over.uploads],
    )


def _see(probe: Probe) -> _Seen:
    own = f"{probe.folder}/"
    pages = walk(probe.connection, probe.bucket, f"{probe.root}/")
    keys = [item.key for page in pages for item in page if _is_probe(item.key) and not item.key.startswith(own)]
    try:
        uploads = [item for item in _uploads(probe) if _is_probe(item[0]) and not item[0].startswith(own)]
    except ArtifactError as error:
        if error.retryable:
            raise
        right = "the key may not do s3:ListBucketMultipartUploads"
        why = right if is_denied(error) else f"the server does not list them ({error.code})"
        return _Seen(keys, [], f"whether there are unfinished uploads is not known: {why}")
    return _Seen(keys, uploads)


def _uploads(probe: Probe) -> Iterator[tuple[str, str]]:
    """Give key and id of the unfinished uploads, page by page.

    Raises:
        ArtifactError: They may not be asked for, or cannot be.
    """
    after: dict[str, str] = {}
    while True:
        page = probe.connection.run("list uploads", probe.bucket, "", partial(_page, probe, after))
        yield from ((found["Key"], found["UploadId"]) for found in page.get("Uploads", ()))
        begin = {"KeyMarker": page.get("NextKeyMarker", ""), "UploadIdMarker": page.get("NextUploadIdMarker", "")}
        if not page.get("IsTruncated") or begin == after:
            return
        after = begin


def _page(probe: Probe, after: Mapping[str, str]) -> Mapping[str, Any]:
    client = probe.connection.client(probe.bucket)
    found: Mapping[str, Any] = client.list_multipart_uploads(Bucket=probe.bucket, Prefix=f"{probe.root}/", **after)
    return found


def _is_probe(key: str) -> bool:
    return begun_at(key) is not None


def _is_over(key: str, now: datetime) -> bool:
    began = begun_at(key)
    return began is not None and now - began > _OVER


def _counts(seen: _Seen, without: _Seen | None = None) -> str:
    """Return how many objects and uploads there are, but for those of the second."""
    objects = len(seen.keys) - len(without.keys if without else ())
    uploads = len(seen.uploads) - len(without.uploads if without else ())
    parts = [counted(objects, "object")] * bool(objects) + [counted(uploads, "unfinished upload")] * bool(uploads)
    return " and ".join(parts)


def _sweep(probe: Probe, folders: list[str], over: _Seen) -> str:
    connection = S3Connection(probe.connection.access)  # that of the examination ends with it
    for folder in folders:
        delete(connection, probe.uri(folder))
    for key, upload_id in over.uploads:
        what = {"Bucket": probe.bucket, "Key": key, "UploadId": upload_id}
        connection.run("abort an upload", probe.bucket, key, partial(_abort, connection, what))
    return f"deleted {_counts(over)} below {probe.uri(probe.root)}"


def _abort(connection: S3Connection, what: Mapping[str, str]) -> object:
    return connection.client(what["Bucket"]).abort_multipart_upload(**what)


CHECKS = (Check("s3.leftovers", "Have earlier examinations left anything?", _leftovers, ("s3.list",)),)
