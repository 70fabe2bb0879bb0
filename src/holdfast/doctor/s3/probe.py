"""What an examination writes into the bucket, and takes away again.

All of it lies below `<prefix>/.holdfast-doctor/<time>-<random>/`, so that it disturbs nobody, a policy can be made for
it, and what a killed examination has left is known by its name. It is sent as files are: with the same clients, the
same arguments, and a checksum where those have one.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.artifacts.s3.content import arguments_of
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.core.crc import to_text
from holdfast.core.locations import PROBES
from holdfast.doctor.check import Finding, failed, failed_with
from holdfast.doctor.context import Bucket, Context
from holdfast.doctor.s3.clock import server_time
from holdfast.errors import ArtifactError, InvalidInputError

WRITER = "give the key the rights that `holdfast s3 policy --role writer` prints"
READER = "give the key the rights that `holdfast s3 policy --role reader` prints"
_CONTENT_BYTES = 4096
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"{re.escape(PROBES)}/(\d{{8}}T\d{{6}}Z)-[0-9a-f]+/")
# Nobody answered, or asked to come back later. What a server does not know it may also answer with 500.
_LATER = (0, 429, 502, 503, 504)
_DENIED = ("AccessDenied", "AllAccessDisabled")


class Stored(NamedTuple):
    """An object that was stored.

    Attributes:
        answer: What the server said, by boto3's names.
        took_s: How long it took, in seconds.
    """

    answer: Mapping[str, Any]
    took_s: float


class Probe:
    """One examination's part of the bucket. Threads may share it.

    Args:
        context: Is told what is left to be taken away.
        bucket: Where.
    """

    def __init__(self, context: Context, bucket: Bucket) -> None:
        import google_crc32c

        self.bucket = bucket.name
        self.connection = bucket.connection
        self.root = "/".join(part for part in (bucket.prefix, PROBES) if part)
        self.folder = f"{self.root}/{server_time(context):{_TIME}}-{secrets.token_hex(4)}"
        self.content = os.urandom(_CONTENT_BYTES)
        self.crc: int = google_crc32c.value(self.content)
        self._context = context
        self._lock = threading.Lock()
        self._shared: Stored | ArtifactError | None = None
        self._has_versions = False
        # Of the object of `share`: later refusals of other requests do not count.
        self.takes_checksums = True

    @property
    def shared_key(self) -> str:
        """The object that `share` stores."""
        return f"{self.folder}/object"

    def uri(self, key: str) -> str:
        """Return a key's address."""
        return f"s3://{self.bucket}/{key}"

    def share(self) -> Stored:
        """Store the object that several checks look at, once; it goes when the examination ends.

        Raises:
            ArtifactError: It cannot be stored.
        """
        with self._lock:
            if self._shared is None:
                try:
                    self._shared = self.store(self.shared_key)
                except ArtifactError as error:
                    self._shared = error
        if isinstance(self._shared, ArtifactError):
            raise self._shared
        return self._shared

    def store(self, key: str) -> Stored:
        """Store `content`, as a file is.

        Raises:
            ArtifactError: It cannot be stored.
        """
        self.leaves(key)
        began = time.monotonic()
        try:
            answer = self.connection.run("store a probe", self.bucket, key, partial(self._put, key), checked=True)
        except ArtifactError as error:
            if not error.retryable:  # else nobody knows whether it was stored
                self.leaves_not(key)
            raise
        return Stored(answer, time.monotonic() - began)

    def arguments(self) -> dict[str, Any]:
        """Return what goes with the content, by boto3's names: as with a file of a name without an ending."""
        return arguments_of(Path("object"), self.crc, self.connection.access.put_arguments)

    def trial_bytes(self, most: int) -> int:
        """Return how much can be sent to see how fast it goes: half a second's worth of what the settings allow."""
        limit = self.connection.access.upload_rate
        return most if limit is None else max(1, min(most, limit // 2))

    def leaves(self, key: str) -> None:
        """Note that there will be an object of this key."""
        self._context.leaves(self.uri(key), partial(self.remove, key))

    def leaves_not(self, key: str) -> None:
        """Note that there is none, for the server has refused it; what is deleted needlessly leaves a marker."""
        self._context.cleaned(self.uri(key))

    def remove(self, key: str) -> bool:
        """Take an object away; return whether nothing of it stays.

        In a bucket with versions they go too, where the key may delete them.

        Raises:
            ArtifactError: It cannot be deleted.
        """
        done = self._run("delete a probe", key, "delete_object")
        self._context.cleaned(self.uri(key))
        self._hear(done)
        if not self._has_versions:
            return True
        try:
            self._remove_versions(key)
        except ArtifactError as error:
            if error.retryable:
                raise
            return False
        return True

    def _hear(self, answer: Mapping[str, Any]) -> None:
        """Learn from an answer whether there are versions; not every server says it each time."""
        self._has_versions = self._has_versions or bool(answer.get("VersionId") or answer.get("DeleteMarker"))

    def _remove_versions(self, key: str) -> None:
        listed = self._run("list the versions of a probe", key, "list_object_versions", Key=None, Prefix=key)
        for version in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())):
            if version["Key"] == key:
                self._run("delete a version of a probe", key, "delete_object", VersionId=version["VersionId"])

    def _run(self, doing: str, key: str, call: str, **more: Any) -> dict[str, Any]:
        """Make a call for a key; what is None is not sent."""
        arguments = {"Bucket": self.bucket, "Key": key, **more}
        given = {name: value for name, value in arguments.items() if value is not None}

        def ask() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self.connection.client(self.bucket), call)(**given)
            return answer

        return self.connection.run(doing, self.bucket, key, ask)

    def _put(self, key: str) -> dict[str, Any]:
        dialect = self.connection.dialect(self.bucket)
        checksum = {"ChecksumCRC32C": to_text(self.crc)} if dialect.sends_checksums else {}
        client = self.connection.client(self.bucket, signs_payload=dialect.verifies is not True)
        answer: dict[str, Any] = client.put_object(
            Bucket=self.bucket, Key=key, Body=self.content, **{**self.arguments(), **checksum}
        )
        if checksum:
            dialect.heard(answer["ResponseMetadata"]["HTTPHeaders"])
        if key == self.shared_key:
            self.takes_checksums = bool(checksum)
        self._hear(answer)
        return answer


def bucket_of(context: Context) -> Bucket:
    """Return the bucket that is examined, for checks that need `s3.endpoint`.

    Raises:
        InvalidInputError: There is none.
    """
    if context.bucket is None:
        raise InvalidInputError("No files of this project go to S3.", "set MLFLOW_ARTIFACT_ROOT=s3://bucket/prefix")
    return context.bucket


def probe_of(context: Context) -> Probe:
    """Return the one probe of an examination."""
    return context.once("s3.probe", lambda: Probe(context, bucket_of(context)))


def begun_at(key: str) -> datetime | None:
    """Return when the examination began that made a key; None for a key that none has made."""
    found = _NAME.search(key)
    try:
        return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def is_denied(error: ArtifactError) -> bool:
    """Whether an error says that the key may not do that."""
    return error.code in _DENIED


def refused(error: ArtifactError, *actions: str, remedy: str = WRITER) -> Finding:
    """Return the failure that an error describes, with the permissions that the call takes where it was denied."""
    if not is_denied(error):
        return failed_with(error)
    found = f"the key may not do {' and '.join(actions)}: {error.message}"
    return failed(found.rstrip("."), remedy, code=error.code, actions=list(actions))


def put_actions(put_arguments: Mapping[str, Any]) -> Iterator[str]:
    """Give the permissions that an upload with these arguments takes."""
    yield "s3:PutObject"
    if "ACL" in put_arguments:
        yield "s3:PutObjectAcl"
    if "Tagging" in put_arguments:
        yield "s3:PutObjectTagging"


def fault_in(probe: Probe, doing: str, call: Callable[[], object]) -> Fault | None:
    """Make a request once that a server may well refuse; return why it did, or None where it was accepted.

    Raises:
        ArtifactError: Nobody answered, or the server asked to come back later.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        call()
    except (BotoCoreError, ClientError, OSError) as error:
        fault = fault_of(error)
        if fault.status in _LATER:
            raise translate(fault, doing, probe.bucket, probe.folder, probe.connection.access) from None
        return fault
    return None
