"""Files from S3: many at once, large ones in parallel ranges, each checked before it stands under its name.

What a file is checked against, the first of these that there is: the CRC-32C that Holdfast has stored with it; S3's
own checksum of the whole (CRC-32C, CRC-32, SHA-256); the ETag where it is an MD5, of the whole or of parts whose
size the server tells or that fits one of the usual sizes. Without any of them only the size is compared: that is so
for what others have stored encrypted with KMS or keys of their own, or in parts of unusual sizes, without a
checksum of the whole. A file that came in one request is compared with a plain MD5 first, which needs no other one.

Bytes are written as they come, so memory is bounded by the number of threads, however large the files are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.artifacts.landing import Landing, disk_errors, landing, target_in
from holdfast.artifacts.s3.checking import Proof, is_there, proof_at_hand, proof_of, proves
from holdfast.artifacts.s3.content import combined
from holdfast.artifacts.s3.listing import StoredObject, place_of, walk
from holdfast.artifacts.s3.reading import NoRangesError, Opened, Reader
from holdfast.artifacts.team import in_parallel, raise_if
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection

_LARGE_BYTES = 64 << 20
_RANGE_BYTES = 16 << 20
# How often a file is fetched that comes damaged, or is replaced while it is fetched.
_TRIES_DAMAGED, _TRIES_REPLACED = 2, 4


def download(connection: S3Connection, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
    """Fetch a file, or all files below a folder, to `into/path`; return that path.

    A file that is there already with the same content is not fetched again.

    Args:
        connection: The way there.
        root_uri: `s3://bucket/prefix`.
        path: Which, below it; where both a file and a folder have this path, the file.
        into: The folder under which it is put.
        meter: Is told.

    Raises:
        ArtifactError: There is nothing of this path; or a key leads out of the folder; or a file is damaged in the
            store or on the way, twice; or the server or the disk refuses. Files that were whole by then stay.
    """
    bucket, key = place_of(root_uri, path)
    job = _Download(connection, bucket, meter)
    target = target_in(into, path)
    if path and job.fetch_one(key, target):
        return target
    if job.fetch_folder(f"{key}/" if key else "", target) == 0 and path:
        raise ArtifactError(
            f"There is no file or folder {path!r} in s3://{bucket}/{place_of(root_uri)[1]}.",
            "see what is there with list_artifacts",
            code="NoSuchKey",
        )
    with disk_errors(f"Cannot make {target}"):
        target.mkdir(parents=True, exist_ok=True)
    return target


class _Damaged(Exception):  # noqa: N818  # never leaves this file
    """The bytes are not those that were stored."""


class _Got(NamedTuple):
    """What came of reading a whole object: what the server said of it, and the CRC-32C of what was written."""

    opened: Opened
    crc: int


class _Download:
    """Fetches objects of one bucket."""

    def __init__(self, connection: S3Connection, bucket: str, meter: Meter) -> None:
        self._connection = connection
        self._bucket = bucket
        self._reader = Reader(connection, bucket)
        self._meter = meter
        self._stop = threading.Event()

    def fetch_one(self, key: str, target: Path) -> bool:
        """Fetch an object; whether there is one."""
        try:
            self._fetch(key, target, None)
        except ArtifactError as error:
            if error.code != "NoSuchKey":
                raise
            return False
        return True

    def fetch_folder(self, prefix: str, target: Path) -> int:
        """Fetch all objects below a prefix; return how many there are."""
        large: list[StoredObject] = []
        seen: list[int] = []

        def tasks() -> Iterator[partial[None]]:
            for page in walk(self._connection, self._bucket, prefix):
                self._meter.begin(len(page), sum(found.size_bytes for found in page))
                seen.append(len(page))
                for found in page:
                    where = target_in(target, found.key[len(prefix) :])
                    if found.size_bytes > _LARGE_BYTES:
                        large.append(found)
                    else:
                        yield partial(self._fetch, found.key, where, found)

        in_parallel(tasks(), self._connection.access.threads, self._stop)
        for found in large:  # one by one: each takes all threads for its ranges
            self._fetch(found.key, target_in(target, found.key[len(prefix) :]), found)
        return sum(seen)

    def _fetch(self, key: str, target: Path, listed: StoredObject | None) -> None:
        """Fetch an object; `listed` is what is known of it, and counted, already."""
        with disk_errors(self._what(key)):
            if listed is not None and is_there(target, listed.size_bytes, proof_at_hand("", listed.etag)):
                self._meter.advance(listed.size_bytes)
            elif listed is None or listed.size_bytes <= _LARGE_BYTES:
                self._twice(key, partial(self._whole, key, target, listed is not None))
            else:
                self._twice(key, partial(self._ranged, key, target))
        self._meter.file_done()
        self._connection.progressed()

    def _twice(self, key: str, fetch: partial[None]) -> None:
        for _ in range(_TRIES_DAMAGED):
            with suppress(_Damaged):
                return fetch()
        raise ArtifactError(
            f"{self._what(key)}: it came {_TRIES_DAMAGED} times with other bytes than were stored, by its checksum.",
            "the object is damaged in the store, or something on the way alters it: store the file again, "
            "or restore an older version of it",
            code="Damaged",
        )

    # -- in one request -----------------------------------------------------------------

    def _whole(self, key: str, target: Path, is_counted: bool, is_large: bool = False) -> None:
        """Fetch an object in one request; a large one in ranges, once it has turned out to be large."""
        told = is_counted

        def read(landed: Landing) -> _Got | None:
            nonlocal told
            opened = self._reader.open(key)
            if not told:
                self._meter.begin(1, opened.size_bytes)
                told = True
            if opened.size_bytes > _LARGE_BYTES and not is_large:
                return None
            if is_there(target, opened.size_bytes, proof_at_hand(opened.crc_text, opened.etag)):
                landed.is_wanted = False
                self._meter.advance(opened.size_bytes)
                return _Got(opened, 0)
            return _Got(opened, self._written(opened, landed, 0, opened.size_bytes))

        with landing(target) as landed:
            got = self._run(key, partial(read, landed))
            landed.is_wanted = landed.is_wanted and got is not None
            if got is not None and landed.is_wanted and not self._is_whole(key, got, landed):
                self._meter.advance(-got.opened.size_bytes)
                raise _Damaged
        if got is None:
            self._ranged(key, target)

    def _is_whole(self, key: str, got: _Got, landed: Landing) -> bool:
        size_bytes, proof = got.opened.size_bytes, proof_at_hand(got.opened.crc_text, got.opened.etag)
        if proof is not None and _holds(proof, got.crc, landed, size_bytes):
            return True
        if proof is not None and proof.is_sure:
            return False
        head = self._head(key)
        if head.get("ETag", "").strip('"') != got.opened.etag:
            return False  # replaced meanwhile; what is fetched next is compared with what it then is
        better = proof_of(self._connection, self._bucket, key, head)
        return better is None or not better.is_sure or _holds(better, got.crc, landed, size_bytes)

    # -- in ranges ----------------------------------------------------------------------

    def _ranged(self, key: str, target: Path) -> None:
        """Fetch a large object in parallel ranges; start over where it is replaced meanwhile."""
        for _ in range(_TRIES_REPLACED):
            if self._connection.dialect(self._bucket).ranges is False:
                return self._whole(key, target, is_counted=True, is_large=True)
            head = self._head(key)
            proof = proof_of(self._connection, self._bucket, key, head)
            if is_there(target, head["ContentLength"], proof):
                return self._meter.advance(head["ContentLength"])
            try:
                return self._all_ranges(key, target, head, proof)
            except NoRangesError:
                self._connection.dialect(self._bucket).ranges = False
            except ArtifactError as error:
                if error.code != "PreconditionFailed":
                    raise
        raise ArtifactError(
            f"{self._what(key)}: it was replaced again and again while it was fetched.",
            "fetch it when nobody writes to it",
            retryable=True,
        )

    def _all_ranges(self, key: str, target: Path, head: dict[str, Any], proof: Proof | None) -> None:
        size_bytes, etag = int(head["ContentLength"]), head["ETag"].strip('"')
        crcs: dict[int, int] = {}
        sizes = {at: min(_RANGE_BYTES, size_bytes - at) for at in range(0, size_bytes, _RANGE_BYTES)}
        stop = threading.Event()

        def fetch(landed: Landing, at: int) -> None:
            def read() -> int:
                opened = self._reader.open(key, (at, at + sizes[at]), etag)
                return self._written(opened, landed, at, sizes[at])

            crcs[at] = self._run(key, read, stop)

        try:
            with landing(target) as landed:
                _reserve(landed, size_bytes)
                tasks = (partial(fetch, landed, at) for at in sizes)
                in_parallel(tasks, min(self._connection.access.threads, len(sizes)), stop)
                crc = combined([crcs[at] for at in sizes], list(sizes.values()))
                if proof is not None and not _holds(proof, crc, landed, size_bytes) and proof.is_sure:
                    raise _Damaged
        except BaseException:
            self._meter.advance(-sum(sizes[at] for at in crcs))
            raise

    # -- both ---------------------------------------------------------------------------

    def _written(self, opened: Opened, landed: Landing, at: int, size_bytes: int) -> int:
        """Write what comes to a place in the file; return its CRC-32C."""
        import google_crc32c

        crc = got = 0
        try:
            for chunk in opened.chunks:
                with disk_errors("Cannot write what was fetched"):
                    landed.write(chunk, at + got)
                crc = google_crc32c.extend(crc, bytes(chunk))
                got += len(chunk)
                self._meter.advance(len(chunk))
                raise_if(self._stop)
            if got != size_bytes:
                raise ConnectionError(f"{got} of {size_bytes} bytes came")
        except BaseException:
            self._meter.advance(-got)
            raise
        return crc

    def _head(self, key: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            head: dict[str, Any] = self._connection.client(self._bucket).head_object(
                Bucket=self._bucket, Key=key, ChecksumMode="ENABLED"
            )
            return head

        found: dict[str, Any] = self._run(key, ask)
        return found

    def _run(self, key: str, call: Any, stop: threading.Event | None = None) -> Any:
        return self._connection.run("fetch the file", self._bucket, key, call, stop=stop or self._stop)

    def _what(self, key: str) -> str:
        return f"Cannot fetch the file at s3://{self._bucket}/{key}"


def _holds(proof: Proof, crc: int, landed: Landing, size_bytes: int) -> bool:
    if proof.kind == "crc32c":
        return to_text(crc) == proof.value
    return proves(proof, landed.read, size_bytes)


def _reserve(landed: Landing, size_bytes: int) -> None:
    """Take the room on the disk at once: what is too much fails here, and not at the end."""
    with suppress(OSError):
        os.posix_fallocate(landed.handle, 0, size_bytes)
        return
    os.ftruncate(landed.handle, size_bytes)
