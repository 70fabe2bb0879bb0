"""A file that is to be stored: where it goes, what it holds, and what is said about it."""

from __future__ import annotations

import ctypes
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from holdfast.artifacts.transfer import Item
from holdfast.core.crc import combine, to_text
from holdfast.core.uris import mask_uri
from holdfast.errors import ArtifactError, InvalidInputError

CRC_NAME = "holdfast-crc32c"
# What S3 allows in one upload; the last part may be smaller than the least.
_MOST_PARTS = 10_000
_PART_BYTES = 16 << 20
CHUNK_BYTES = 1 << 20
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
        if upload_of(self.item) != self:
            raise changed(self)


def upload_of(item: Item) -> Upload:
    """Return what is to be done for an item.

    Raises:
        InvalidInputError: Its address names no object in S3.
        ArtifactError: There is no such file.
    """
    bucket, _, key = item.uri.removeprefix("s3://").partition("/")
    if not item.uri.startswith("s3://") or not bucket or not key:
        raise InvalidInputError(f"{mask_uri(item.uri)} names no file in S3.", "it reads s3://bucket/path/name")
    try:
        found = os.stat(item.local)
    except OSError as error:
        raise ArtifactError(
            f"Cannot store the file {item.local}: {error.strerror}", "give the path of a file"
        ) from None
    return Upload(item, bucket, key, found.st_size, found.st_mtime_ns)


def unreadable(local: Path, error: OSError) -> ArtifactError:
    """Return the error for a file that cannot be read."""
    hint = "make the file readable" if isinstance(error, PermissionError) else "give the path of a file"
    return ArtifactError(f"Cannot store the file {local}: {error.strerror or error}", hint)


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


class OpenFile:
    """A file that threads read from; it is closed when the last of them has let go of it, also after Ctrl-C.

    Args:
        upload: Which file.

    Raises:
        ArtifactError: It cannot be opened.
    """

    def __init__(self, upload: Upload) -> None:
        self.descriptor = -1
        self.upload = upload
        try:
            self.descriptor = os.open(upload.item.local, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(upload.item.local, error) from None

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Section(io.RawIOBase):
    """So many bytes of an open file, as a file of their own that boto3 reads while it sends."""

    def __init__(self, file: OpenFile, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return where it is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read on."""
        size = max(0, min(len(buffer), self._size - self._at))
        content = os.pread(self._file.descriptor, size, self._start + self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def read_into(file: OpenFile, start: int, buffer: bytearray) -> int:
    """Fill a buffer from an open file; return how many bytes there were."""
    with memoryview(buffer) as rest:
        at = 0
        while at < len(rest) and (count := os.preadv(file.descriptor, [rest[at:]], start + at)):
            at += count
    return at


def read_whole(upload: Upload) -> bytes:
    """Return a small file's content.

    Raises:
        ArtifactError: It cannot be read, or is shorter or longer now.
    """
    try:
        # Without a buffer of Python's own: for thousands of small files that would be a good part of the time.
        descriptor = os.open(upload.item.local, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, upload.size + 1)
            while len(content) < upload.size and (more := os.read(descriptor, upload.size + 1 - len(content))):
                content += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(upload.item.local, error) from None
    if len(content) != upload.size:
        raise changed(upload)
    return content


def crc_of(buffer: bytearray) -> int:
    """Return the CRC-32C of a buffer's content."""
    import google_crc32c

    # It takes nothing that might change under it, a view neither; a ctypes array stands for the same memory.
    return int(google_crc32c.value((ctypes.c_char * len(buffer)).from_buffer(buffer)))


def crc_of_section(file: OpenFile, start: int, size: int) -> int:
    """Return the CRC-32C of so many bytes of an open file; of fewer where it ends before."""
    import google_crc32c

    crc = 0
    for at in range(start, start + size, CHUNK_BYTES):
        crc = google_crc32c.extend(crc, os.pread(file.descriptor, min(CHUNK_BYTES, start + size - at), at))
    return crc


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
