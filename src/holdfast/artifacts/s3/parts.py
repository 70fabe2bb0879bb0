"""A large file, sent in parts: several at once, each with its checksum, going on where an earlier try was cut off."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from holdfast.artifacts.s3.bodies import Body, OpenFile, Section, crc_of, crc_of_section, read_into
from holdfast.artifacts.s3.content import (
    Part,
    Upload,
    arguments_of,
    changed,
    combined,
    sections,
)
from holdfast.artifacts.s3.dialect import Dialect
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import Fault
from holdfast.artifacts.s3.resume import Begun, entry_of, find_begun, forget, keep, parts_there
from holdfast.artifacts.s3.sending import Sending
from holdfast.artifacts.s3.unchanged import Present
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import Sent
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError

# Larger parts (of files above 300 GB) are read while they are sent, not before.
_READ_AT_ONCE_BYTES = 32 << 20
# So many bodies of 16 MiB are in memory at once: it leaves most of the 256 MiB that a process may take to the clients.
_MOST_AT_ONCE = 4
_ABORT_WAIT_S = 5.0
_TIMES_BEGUN = 3
_FORGOTTEN = ("NoSuchUpload", "InvalidPart")
# What goes with each part, and with the end, and not only with the beginning.
_WITH_PARTS = {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "RequestPayer"}


def upload_in_parts(sending: Sending, present: Present, upload: Upload) -> Sent:
    """Store one large file.

    Raises:
        ArtifactError: It could not be stored, or changed meanwhile; its parts are gone, or kept where they serve the
            next try.
    """
    file = OpenFile(upload)
    parts = _measured(sending, upload, file)
    crc = combined([part.crc for part in parts], [part.size for part in parts])
    if present.has_crc(upload, crc):
        return sending.skipped(upload)
    return _Multipart(sending, present, upload, file, parts, crc).store()


def _measured(sending: Sending, upload: Upload, file: OpenFile) -> list[Part]:
    """Read the file once, for the checksum of the whole goes ahead of it."""

    def measure(number: int, start: int, size: int) -> Part:
        return Part(number, start, size, crc_of_section(file, start, size))

    tasks = (partial(measure, number, *section) for number, section in enumerate(sections(upload), 1))
    threads = min(os.cpu_count() or 1, sending.connection.access.threads)
    parts = in_parallel(tasks, threads, sending.stop)
    upload.check_unchanged()
    return sorted(parts, key=lambda part: part.number)


class _Multipart:
    """One file's upload in parts."""

    def __init__(
        self, sending: Sending, present: Present, upload: Upload, file: OpenFile, parts: list[Part], crc: int
    ) -> None:
        # What ends one try must not end the next one.
        self._sending = sending
        self._connection = sending.connection
        self._present = present
        self._upload = upload
        self._file = file
        self._parts = parts
        self._crc = crc
        self._lock = threading.Lock()
        self._sent_bytes = 0
        self._told_bytes = 0
        # Used again and again: fresh memory for each part costs more time than reading the file into it.
        self._buffers: list[Body] = []
        given = sending.connection.access.put_arguments
        self._where = {"Bucket": upload.bucket, "Key": upload.key}
        self._with_parts = {name: given[name] for name in _WITH_PARTS.intersection(given)}

    def store(self) -> Sent:
        """Go on with what was begun, or begin; anew where the server has forgotten it."""
        begun = find_begun(self._sending, self._upload, self._crc)
        for _ in range(_TIMES_BEGUN):
            begun = begun or self._begin()
            if self._sends(begun) and (not begun.is_foreign or self._is_there()):
                self._tell(self._upload.size - self._told_bytes)
                forget(self._upload)
                self._sending.meter.file_done()
                return Sent(1, self._sent_bytes, 0)
            forget(self._upload)
            self._tell(-self._told_bytes)
            begun = None
        raise self._error(Fault("NoSuchUpload", text="the server forgets the upload again and again"))

    def _begin(self) -> Begun:
        given = self._connection.access.put_arguments
        arguments = arguments_of(self._upload.item.local, self._crc, given)

        def create() -> str:
            client = self._connection.client(self._upload.bucket)
            model = client.meta.service_model.operation_model
            # What no upload knows is left in, so that it is refused as it is with small files.
            others = {*model("PutObject").input_shape.members} - {*model("CreateMultipartUpload").input_shape.members}
            checksum = {"ChecksumAlgorithm": "CRC32C"} if self._dialect.sends_checksums else {}
            answer = client.create_multipart_upload(
                **self._where, **{name: value for name, value in (arguments | checksum).items() if name not in others}
            )
            return str(answer["UploadId"])

        begun = Begun(self._sending.run(self._upload, create, checked=True), is_new=True)
        keep(self._upload, begun, self._crc)
        return begun

    def _sends(self, begun: Begun) -> bool:
        """Send what is missing; return False where the server no longer knows the upload and has not the file."""
        self._sending = replace(self._sending, stop=threading.Event())
        try:
            there = {} if begun.is_new else parts_there(self._sending, self._upload, begun, self._file, self._parts)
            self._tell(sum(part.size for part in self._parts if part.number in there))
            missing = [part for part in self._parts if part.number not in there]
            tasks = (partial(self._send, begun, part) for part in missing)
            threads = min(self._connection.access.threads, len(missing), _MOST_AT_ONCE)
            for entry in in_parallel(tasks, threads, self._sending.stop) if missing else ():
                there[entry["PartNumber"]] = entry
            self._upload.check_unchanged()
            self._complete(begun, [there[part.number] for part in self._parts])
        except ArtifactError as error:
            if error.code in _FORGOTTEN:
                return self._is_there()
            self._given_up(begun, keeps=error.retryable or self._has_note(error))
            raise
        except BaseException:
            self._given_up(begun, keeps=self._upload.item.note is not None)
            raise
        return True

    def _send(self, begun: Begun, part: Part) -> dict[str, Any]:
        with self._body(part) as body:
            self._sending.pace.take(part.size, self._sending.stop)
            entry = self._sending.run(self._upload, partial(self._put, begun, part, body), checked=True)
        with self._lock:
            self._sent_bytes += part.size
        self._tell(part.size)
        return entry

    @contextlib.contextmanager
    def _body(self, part: Part) -> Iterator[Body | Section]:
        if part.size > _READ_AT_ONCE_BYTES:
            yield Section(self._file, part.start, part.size)
            return
        is_usual = part.size == self._upload.part_bytes
        content = self._buffers.pop() if self._buffers and is_usual else Body(part.size)
        if read_into(self._file, part.start, content) != part.size or crc_of(content) != part.crc:
            raise changed(self._upload)
        yield content
        if is_usual:
            self._buffers.append(content)

    def _put(self, begun: Begun, part: Part, body: Body | Section) -> dict[str, Any]:
        dialect = self._dialect
        checksum = {"ChecksumCRC32C": to_text(part.crc)} if dialect.sends_checksums else {}
        client = self._connection.client(self._upload.bucket, signs_payload=dialect.verifies is not True)
        if isinstance(body, Section):
            body.seek(0)
        answer = client.upload_part(
            **self._where, UploadId=begun.upload_id, PartNumber=part.number, Body=body, **checksum, **self._with_parts
        )
        if checksum:
            dialect.heard(answer["ResponseMetadata"]["HTTPHeaders"])
        return entry_of(part.number, answer)

    def _complete(self, begun: Begun, entries: list[dict[str, Any]]) -> None:
        def complete() -> None:
            self._connection.client(self._upload.bucket).complete_multipart_upload(
                **self._where, UploadId=begun.upload_id, MultipartUpload={"Parts": entries}, **self._with_parts
            )

        self._sending.run(self._upload, complete)

    def _is_there(self) -> bool:
        """Whether the bucket has the file now: an answer may have been lost, or another process was faster."""
        try:
            found = self._present.ask(self._upload)
        except ArtifactError as error:
            if error.retryable:
                raise
            return False
        return found is not None and found.size == self._upload.size and found.crc == to_text(self._crc)

    def _has_note(self, error: ArtifactError) -> bool:
        return self._upload.item.note is not None and error.code != "FileChanged"

    def _given_up(self, begun: Begun, keeps: bool) -> None:
        """Have the parts deleted where they serve nobody; for a short time only, for Ctrl-C may have been pressed."""
        if keeps:
            return
        forget(self._upload)
        worker = threading.Thread(target=self._abort, args=(begun,), name="holdfast-s3-abort", daemon=True)
        worker.start()
        worker.join(_ABORT_WAIT_S)

    def _abort(self, begun: Begun) -> None:
        def abort() -> None:
            self._connection.client(self._upload.bucket).abort_multipart_upload(**self._where, UploadId=begun.upload_id)

        with contextlib.suppress(ArtifactError):  # the lifecycle rule of the bucket is left to do it
            self._connection.run("abort the upload", self._upload.bucket, self._upload.key, abort)

    def _tell(self, size_bytes: int) -> None:
        with self._lock:
            self._told_bytes += size_bytes
        if size_bytes:
            self._sending.advanced(size_bytes)

    def _error(self, fault: Fault) -> ArtifactError:
        return translate(fault, self._upload.doing, self._upload.bucket, self._upload.key, self._connection.access)

    @property
    def _dialect(self) -> Dialect:
        return self._connection.dialect(self._upload.bucket)
