"""Uploads in parts that an earlier try began, and which of their parts may stay.

With a note the upload is known, whoever was killed. Without one the server is asked for an unfinished upload of the
very key; that may be another's, with other metadata, so the object is looked at once more when it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from holdfast.artifacts.s3.bodies import CHUNK_BYTES, OpenFile, read_into
from holdfast.artifacts.s3.content import Part, Upload
from holdfast.artifacts.s3.sending import Sending
from holdfast.artifacts.team import in_parallel
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError


@dataclass(frozen=True)
class Begun:
    """An upload in parts that the server has begun.

    Attributes:
        upload_id: Its name at the server.
        is_foreign: Whether it is not known who began it.
        is_new: Whether it has no parts yet.
    """

    upload_id: str
    is_foreign: bool = False
    is_new: bool = False


def keep(upload: Upload, begun: Begun, crc: int) -> None:
    """Have the note remember an upload and the file that it is of."""
    if upload.item.note is not None:
        upload.item.note.save(_identity(upload, crc) | {"upload_id": begun.upload_id})


def forget(upload: Upload) -> None:
    """Have the note forget it."""
    if upload.item.note is not None:
        upload.item.note.save({})


def find_begun(sending: Sending, upload: Upload, crc: int) -> Begun | None:
    """Return the upload that an earlier try began for this very file, or None."""
    if upload.item.note is None:
        return _asked(sending, upload)
    noted = dict(upload.item.note.load())
    upload_id = noted.pop("upload_id", None)
    return Begun(upload_id) if upload_id and noted == _identity(upload, crc) else None


def parts_there(
    sending: Sending, upload: Upload, begun: Begun, file: OpenFile, parts: list[Part]
) -> dict[int, dict[str, Any]]:
    """Return, by their numbers, the parts that the server has with this very content, as the end wants them.

    Raises:
        ArtifactError: The server does not know the upload any more, or does not answer.
    """
    by_number = {part.number: part for part in parts}
    try:
        listed = [(by_number.get(found["PartNumber"]), found) for found in _listed(sending, upload, begun)]
    except ArtifactError as error:
        if error.retryable or error.code == "NoSuchUpload":
            raise
        return {}  # whoever may not see them sends them again
    tasks = [
        partial(_verified, file, part, found)
        for part, found in listed
        if part is not None and part.size == found["Size"]
    ]
    threads = min(sending.connection.access.threads, len(tasks), 4)
    checked = in_parallel(tasks, threads, sending.stop) if tasks else []
    return {entry["PartNumber"]: entry for entry in checked if entry is not None}


def entry_of(number: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the end of the upload wants to know of a part."""
    checksum = {"ChecksumCRC32C": answer["ChecksumCRC32C"]} if answer.get("ChecksumCRC32C") else {}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksum}


def _identity(upload: Upload, crc: int) -> dict[str, Any]:
    return {
        "uri": upload.item.uri,
        "part_bytes": upload.part_bytes,
        "size": upload.size,
        "mtime_ns": upload.mtime_ns,
        "crc": crc,
    }


def _asked(sending: Sending, upload: Upload) -> Begun | None:
    def ask() -> list[dict[str, Any]]:
        client = sending.connection.client(upload.bucket)
        found = client.list_multipart_uploads(Bucket=upload.bucket, Prefix=upload.key, MaxUploads=100)
        return [entry for entry in found.get("Uploads", ()) if entry["Key"] == upload.key]

    try:
        found = sending.run(upload, ask)
    except ArtifactError as error:
        if error.retryable:
            raise
        return None  # it is not allowed, or this server has no such request
    latest = max(found, key=lambda entry: str(entry.get("Initiated", "")), default=None)
    return Begun(latest["UploadId"], is_foreign=True) if latest else None


def _listed(sending: Sending, upload: Upload, begun: Begun) -> Iterator[dict[str, Any]]:
    marker = 0
    while True:
        page = sending.run(upload, partial(_page, sending, upload, begun, marker))
        yield from page.get("Parts", ())
        marker = int(page.get("NextPartNumberMarker") or 0)
        if not page.get("IsTruncated") or not marker:
            return


def _page(sending: Sending, upload: Upload, begun: Begun, marker: int) -> dict[str, Any]:
    found: dict[str, Any] = sending.connection.client(upload.bucket).list_parts(
        Bucket=upload.bucket, Key=upload.key, UploadId=begun.upload_id, PartNumberMarker=marker
    )
    return found


def _verified(file: OpenFile, part: Part, found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the part's entry where the server's checksum of it is that of the file's; else it is sent again."""
    checksum = found.get("ChecksumCRC32C")
    if checksum:
        return entry_of(part.number, found) if checksum == to_text(part.crc) else None
    md5 = hashlib.md5(usedforsecurity=False)
    for start in range(part.start, part.start + part.size, CHUNK_BYTES):
        buffer = bytearray(min(CHUNK_BYTES, part.start + part.size - start))
        read_into(file, start, buffer)
        md5.update(buffer)
    return entry_of(part.number, found) if found["ETag"].strip('"').lower() == md5.hexdigest() else None
