"""A file that is to be stored: where it goes, what it holds, and what is said about it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from holdfast.artifacts.sources import deleted, look_at
from holdfast.artifacts.transfer import Item
from holdfast.core.crc import combine, to_text
from holdfast.core.uris import mask_uri
from holdfast.errors import ArtifactError, InvalidInputError

CRC_NAME = "holdfast-crc32c"
# What S3 allows in one upload; the last part may be smaller than the least.
_MOST_PARTS = 10_000
_PART_BYTES = 16 << 20
_LONGEST_KEY_BYTES = 1024
# What XML has no way to write, so that no listing could name the file.
_UNNAMEABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What obstore can send signed. Others go through boto3.
_ATTRIBUTES = {
    "ContentType": "Content-Type",
    "ContentEncoding": "Content-Encoding",
    "ContentDisposition": "Content-Disposition",
    "ContentLanguage": "Content-Language",
    "CacheControl": "Cache-Control",
    "StorageClass": "Storage-Class",
}
_FAST = {*_ATTRIBUTES, "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "Tagging", "Metadata"}


class Part(NamedTuple):
    """A part of a file.

    Attributes:
        number: From 1.
        start: Where it begins in the file.
        size: How long it is, in bytes.
        crc: The CRC-32C that it had before anything was sent.
    """

    number: int
    start: int
    size: int
    crc: int


@dataclass(frozen=True)
class Upload:
    """A file on its way.

    Attributes:
        item: What was asked for.
        bucket: Where it goes.
        key: Where in there.
        size: Its size in bytes when it was looked at.
        mtime_ns: When it was last written to then.
    """

    item: Item
    bucket: str
    key: str
    size: int
    mtime_ns: int

    @property
    def doing(self) -> str:
        """What is being done, for errors."""
        return f"store the file {self.item.local}"

    @property
    def part_bytes(self) -> int:
        """The size of its parts: a power of two times 16 MiB that gives no more than 10,000 of them."""
        size = _PART_BYTES
        while size * _MOST_PARTS < self.size:
            size *= 2
        return size

    def check_unchanged(self) -> None:
        """See that the file was not written to since.

        Raises:
            ArtifactError: It was, or it is gone.
        """
        try:
            now = upload_of(self.item)
        except ArtifactError:
            if os.path.lexists(self.item.local):
                raise
            raise deleted(self.item.local) from None
        if now != self:
            raise changed(self)


def upload_of(item: Item) -> Upload:
    """Return what is to be done for an item.

    Raises:
        InvalidInputError: Its address names no object in S3.
        ArtifactError: There is no such file, it is no regular one, or S3 takes no object of that name.
    """
    bucket, _, key = item.uri.removeprefix("s3://").partition("/")
    if not item.uri.startswith("s3://") or not bucket or not key:
        raise InvalidInputError(f"{mask_uri(item.uri)} names no file in S3.", "it reads s3://bucket/path/name")
    _check_key(key)
    found = look_at(item.local)
    return Upload(item, bucket, key, found.st_size, found.st_mtime_ns)


def _check_key(key: str) -> None:
    if _UNNAMEABLE.search(key):
        raise ArtifactError(
            f"S3 takes no object of the name {key!r}: it holds a control character, or is not UTF-8.",
            "rename the file",
            code="InvalidObjectName",
        )
    size = len(key.encode())
    if size > _LONGEST_KEY_BYTES:
        raise ArtifactError(
            f"S3 takes no object of the name {key[:80]}…: it has {size} bytes, of {_LONGEST_KEY_BYTES} at most.",
            "choose shorter names for the file and its folders",
            code="KeyTooLongError",
        )


def changed(upload: Upload) -> ArtifactError:
    """Return the error for a file that was written to while it was sent."""
    return ArtifactError(
        f"The file {upload.item.local} changed while it was sent to s3://{upload.bucket}/{upload.key}.",
        "store it when it is complete, or write a new file and rename it into place",
        code="FileChanged",
    )


def arguments_of(local: Path, crc: int, put_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes with an upload, by boto3's names: the settings', its CRC-32C, and its type by its name."""
    name = os.path.basename(local)
    metadata = {**put_arguments.get("Metadata", {}), CRC_NAME: to_text(crc)}
    return {**_types_of(name[name.find(".") :] if "." in name else ""), **put_arguments, "Metadata": metadata}


@lru_cache(1024)
def _types_of(endings: str) -> Mapping[str, str]:
    kind, encoding = guess_type(f"name{endings}")
    return {name: value for name, value in (("ContentType", kind), ("ContentEncoding", encoding)) if value}


def crc_in(metadata: Mapping[str, str]) -> str:
    """Return the CRC-32C that an object's metadata has, as text; empty where it has none. Some servers alter the case
    of names."""
    return next((value for name, value in metadata.items() if name.lower() == CRC_NAME), "")


def is_fast(put_arguments: Mapping[str, Any]) -> bool:
    """Whether obstore sends all of this, signed."""
    return _FAST.issuperset(put_arguments) and put_arguments.get("ServerSideEncryption") != "sse-c"


def fast_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for `obstore.put`; what stands for encryption is the store's own."""
    attributes = {_ATTRIBUTES[name]: str(value) for name, value in arguments.items() if name in _ATTRIBUTES}
    options: dict[str, Any] = {"attributes": attributes | arguments["Metadata"]}
    if arguments.get("Tagging"):
        options["tags"] = dict(parse_qsl(arguments["Tagging"], keep_blank_values=True))
    return options


def sections(upload: Upload) -> list[tuple[int, int]]:
    """Return where its parts begin and how long they are."""
    step = upload.part_bytes
    return [(start, min(step, upload.size - start)) for start in range(0, upload.size, step)]


def combined(crcs: list[int], sizes: list[int]) -> int:
    """Return the CRC-32C of all parts put together."""
    whole = 0
    for crc, size in zip(crcs, sizes, strict=True):
        whole = combine(whole, crc, size)
    return whole
