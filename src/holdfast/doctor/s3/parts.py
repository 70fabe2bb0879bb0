"""Whether large files can be stored: in parts, put together in the end, or given up without a rest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from holdfast.artifacts.s3.bodies import Body, crc_of
from holdfast.artifacts.s3.resume import entry_of
from holdfast.core.crc import to_text
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.probe import WRITER, Probe, is_denied, probe_of, put_actions, refused
from holdfast.errors import ArtifactError

# No part but the last may be smaller.
_LEAST_BYTES = 5 << 20
_LAST_BYTES = 256 << 10
# On a line that takes longer for the least part, one part has to do.
_PATIENCE_S = 2.0
_UNKNOWN = ("NotImplemented", "MethodNotAllowed", "XNotImplemented", "NotSupported")
_EMPTY = "mend MLFLOW_S3_ENDPOINT_URL: what answers there is no S3 server, or a gateway before it drops the bodies"
_NO_PARTS = "use a server that knows uploads in parts: files of more than 16 MiB cannot be stored on this one"


class _Upload:
    """An upload in parts that an examination begins."""

    def __init__(self, context: Context, probe: Probe, name: str) -> None:
        self.key = f"{probe.folder}/{name}"
        self._context = context
        self._probe = probe
        self._id = ""
        self._what = f"{probe.uri(self.key)} (an upload in parts)"
        self._given = probe.connection.access.put_arguments

    def begin(self) -> None:
        """Begin it, with the arguments that files have."""
        probe = self._probe
        dialect = probe.connection.dialect(probe.bucket)
        self._context.leaves(self._what, self.abort)

        def create() -> str:
            checksum = {"ChecksumAlgorithm": "CRC32C"} if dialect.sends_checksums else {}
            known = self._known("CreateMultipartUpload", probe.arguments() | checksum)
            answer = self._client().create_multipart_upload(Bucket=probe.bucket, Key=self.key, **known)
            if not answer.get("UploadId"):
                raise ArtifactError(f"{probe.uri(self.key)}: the server begins an upload without an UploadId.", _EMPTY)
            return str(answer["UploadId"])

        try:
            self._id = self._run("begin an upload in parts", create, checked=True)
        except ArtifactError as error:
            if not error.retryable:
                self._context.cleaned(self._what)
            raise

    def send(self, number: int, size_bytes: int) -> dict[str, Any]:
        """Send a part, of anything; return its entry for the end."""
        probe = self._probe
        body = Body(os.urandom(size_bytes))
        dialect = probe.connection.dialect(probe.bucket)
        probe.connection.pace.take(size_bytes, threading.Event())

        def put() -> dict[str, Any]:
            checksum = {"ChecksumCRC32C": to_text(crc_of(body))} if dialect.sends_checksums else {}
            where = {"Bucket": probe.bucket, "Key": self.key, "UploadId": self._id, "PartNumber": number}
            known = self._known("UploadPart", self._given)
            answer: dict[str, Any] = self._client().upload_part(**where, Body=body, **checksum, **known)
            return answer

        return entry_of(number, self._run("send a part", put, checked=True))

    def numbers(self) -> list[int]:
        """Return the numbers of the parts that the server has."""
        found = self._call("list the parts", "list_parts")
        return [part["PartNumber"] for part in found.get("Parts", ())]

    def complete(self, entries: list[dict[str, Any]]) -> None:
        """Have the parts put together."""
        self._probe.leaves(self.key)
        self._call("complete an upload in parts", "complete_multipart_upload", MultipartUpload={"Parts": entries})
        self._context.cleaned(self._what)

    def is_listed(self) -> bool:
        """Whether the server names it among the unfinished ones."""
        found = self._call("list uploads", "list_multipart_uploads", Key=None, UploadId=None, Prefix=self.key)
        return any(entry["UploadId"] == self._id for entry in found.get("Uploads", ()))

    def is_known(self) -> bool:
        """Whether the server still has its parts."""
        try:
            return bool(self.numbers())
        except ArtifactError as error:
            if error.retryable or is_denied(error):
                raise
            return False

    def abort(self) -> None:
        """Give it up; where its answer was lost, whatever was begun for this key."""
        for upload_id in [self._id] if self._id else self._begun():
            try:
                self._call("abort an upload in parts", "abort_multipart_upload", UploadId=upload_id)
            except ArtifactError as error:
                if error.code not in ("NoSuchUpload", "NoSuchKey"):
                    raise
        self._context.cleaned(self._what)

    def _begun(self) -> list[str]:
        found = self._call("list uploads", "list_multipart_uploads", Key=None, UploadId=None, Prefix=self.key)
        return [entry["UploadId"] for entry in found.get("Uploads", ()) if entry["Key"] == self.key]

    def _known(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        members = self._client().meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in arguments.items() if name in members}

    def _call(self, doing: str, call: str, **more: Any) -> dict[str, Any]:
        arguments = {"Bucket": self._probe.bucket, "Key": self.key, "UploadId": self._id, **more}
        given = {name: value for name, value in arguments.items() if value is not None}

        def ask() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._client(), call)(**given)
            return answer

        found: dict[str, Any] = self._run(doing, ask)
        return found

    def _run(self, doing: str, call: Callable[[], Any], checked: bool = False) -> Any:
        return self._probe.connection.run(doing, self._probe.bucket, self.key, call, checked=checked)

    def _client(self) -> Any:
        return self._probe.connection.client(self._probe.bucket)


@contextmanager
def _upload(context: Context, name: str) -> Iterator[_Upload]:
    """An upload that is begun; what is left of it is given up in the end, and tried again when all is over."""
    upload = _Upload(context, probe_of(context), name)
    upload.begin()
    try:
        yield upload
    except BaseException:
        with suppress(ArtifactError):
            upload.abort()
        raise


def _multipart(context: Context) -> Finding:
    probe = probe_of(context)
    began = time.monotonic()
    try:
        with _upload(context, "parts") as upload:
            entries, size_bytes = _send_parts(probe, upload)
            seen = _numbers_if_allowed(upload)
            upload.complete(entries)
    except ArtifactError as error:
        return _refused(probe, error)
    took_s = time.monotonic() - began
    try:
        stored = _size_of(probe, upload.key)
    finally:
        probe.remove(upload.key)
    return _judged(entries, size_bytes, seen, stored, took_s)


def _refused(probe: Probe, error: ArtifactError) -> Finding:
    if error.code in _UNKNOWN:
        return failed(f"the server does not know uploads in parts: {error.message}".rstrip("."), _NO_PARTS)
    return refused(error, *put_actions(probe.connection.access.put_arguments))


def _send_parts(probe: Probe, upload: _Upload) -> tuple[list[dict[str, Any]], int]:
    """Send the last part, which may be small, and before it in the file one of the least size, if the line allows."""
    began = time.monotonic()
    size_bytes = probe.trial_bytes(_LAST_BYTES)
    last = upload.send(2, size_bytes)
    if (time.monotonic() - began) * _LEAST_BYTES / size_bytes <= _PATIENCE_S:
        return [upload.send(1, _LEAST_BYTES), last], _LEAST_BYTES + size_bytes
    return [upload.send(1, size_bytes)], size_bytes


def _numbers_if_allowed(upload: _Upload) -> list[int] | None:
    try:
        return upload.numbers()
    except ArtifactError as error:
        if error.retryable:
            raise
        return None


def _size_of(probe: Probe, key: str) -> int | None:
    """Return the size of an object; None where the key may not look at it, which s3.head says."""

    def ask() -> int:
        return int(probe.connection.client(probe.bucket).head_object(Bucket=probe.bucket, Key=key)["ContentLength"])

    try:
        return probe.connection.run("look at a probe", probe.bucket, key, ask)
    except ArtifactError as error:
        if is_denied(error):
            return None
        raise


def _judged(
    entries: list[dict[str, Any]], size_bytes: int, seen: list[int] | None, stored: int | None, took_s: float
) -> Finding:
    if stored not in (None, size_bytes):
        return failed(
            f"an upload of {size_bytes} bytes in parts became an object of {stored}",
            "do not store files of more than 16 MiB on this server before it is mended: it puts parts together wrongly",
        )
    count = f"{len(entries)} part{'s' * (len(entries) > 1)}"
    told: dict[str, Any] = {"took_ms": round(took_s * 1000, 1), "parts": len(entries), "bytes": size_bytes}
    if seen is None:
        return warning(
            f"stored {count} in {took_s * 1000:.0f} ms; the key may not do s3:ListMultipartUploadParts, so that an "
            "upload that was cut off begins from its start",
            WRITER,
            Evidence.TRIED,
            **told,
        )
    if not {entry["PartNumber"] for entry in entries} <= set(seen):
        said = f"the server lists the parts {seen} of an upload, and has more"
        return warning(said, "expect that uploads that were cut off begin from their start on this server", **told)
    return ok(
        f"stored and put together {count} ({size_bytes >> 10} KiB) in {took_s * 1000:.0f} ms", Evidence.TRIED, **told
    )


def _abort(context: Context) -> Finding:
    probe = probe_of(context)
    try:
        with _upload(context, "aborted") as upload:
            upload.send(1, len(probe.content))
            listed = _listed_if_allowed(upload)
    except ArtifactError as error:
        return _refused(probe, error)
    began = time.monotonic()
    try:
        upload.abort()
    except ArtifactError as error:
        return refused(error, "s3:AbortMultipartUpload")
    took_s = time.monotonic() - began
    if _stays(upload):
        return failed(
            "the server keeps the parts of an upload that was given up",
            "holdfast s3 lifecycle apply (it has such parts deleted after some days)",
        )
    return _told(listed, took_s)


def _listed_if_allowed(upload: _Upload) -> bool | None:
    try:
        return upload.is_listed()
    except ArtifactError as error:
        if error.retryable or not is_denied(error):
            raise
        return None


def _stays(upload: _Upload) -> bool:
    try:
        return upload.is_known()
    except ArtifactError as error:
        if is_denied(error):
            return False
        raise


def _told(listed: bool | None, took_s: float) -> Finding:
    if listed is None:
        return warning(
            f"gave up an upload in {took_s * 1000:.0f} ms; the key may not do s3:ListBucketMultipartUploads, so that "
            "uploads that were cut off are not found again",
            WRITER,
            Evidence.TRIED,
        )
    unseen = "" if listed else "; the server does not list unfinished uploads, which are not found again"
    return ok(f"gave up an upload in {took_s * 1000:.0f} ms, and no part is left{unseen}", Evidence.TRIED)


CHECKS = (
    Check("s3.multipart", "Can a large file be stored, in parts?", _multipart, ("s3.put", "s3.delete"), 8.0),
    Check("s3.abort", "Can an upload that was cut off be given up, without a rest?", _abort, ("s3.put",)),
)
