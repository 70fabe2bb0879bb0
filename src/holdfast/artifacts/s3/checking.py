"""What proves that fetched bytes are those of an object, by whomever it was stored."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.artifacts.s3.content import crc_in
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection

_MIB = 1 << 20
_CHUNK_BYTES = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,4})")
# What boto3, the AWS command line, s3fs, obstore, rclone and others cut files into.
_USUAL_PARTS = tuple(size * _MIB for size in (8, 16, 5, 10, 12, 15, 20, 25, 32, 50, 64, 100, 128, 256, 512))
_CHECKSUMS = {"ChecksumCRC32C": "crc32c", "ChecksumCRC32": "crc32", "ChecksumSHA256": "sha256"}
# The ETag of what is encrypted so is no MD5.
_NO_MD5 = ("aws:kms", "aws:kms:dsse")

Read = Callable[[int, int], bytes]


class Proof(NamedTuple):
    """A checksum of a whole object.

    Attributes:
        kind: `crc32c`, `crc32`, `sha256`, `md5`, or `parts` (the MD5 of the MD5s of the parts).
        value: It, as S3 writes it.
        parts_bytes: For `parts`, the sizes that the parts may have.
        is_sure: Whether bytes without it are damaged for sure; else nobody can tell.
    """

    kind: str
    value: str
    parts_bytes: tuple[int, ...] = ()
    is_sure: bool = True


def proof_at_hand(crc_text: str, etag: str) -> Proof | None:
    """Return what every answer to a GET and the listing offer; None where that is nothing.

    An ETag that looks like an MD5 is one only where the object is not encrypted with KMS or a key of one's own, so
    what lacks it may be whole nevertheless.
    """
    if crc_text:
        return Proof("crc32c", crc_text)
    return Proof("md5", etag, is_sure=False) if _MD5.fullmatch(etag) else None


def proof_of(connection: S3Connection, bucket: str, key: str, head: Mapping[str, Any]) -> Proof | None:
    """Return the best proof that the server has for an object.

    Args:
        connection: The way there.
        bucket: Where it is.
        key: Which it is.
        head: The answer to HeadObject with `ChecksumMode`.

    Returns:
        None where there is none, or none that can be had cheaply: then the size alone can be compared.
    """
    if crc_text := crc_in(head.get("Metadata", {})):
        return Proof("crc32c", crc_text)
    etag = head.get("ETag", "").strip('"')
    # Of parts there are checksums of their checksums too, which some servers do not mark as such.
    if head.get("ChecksumType", "COMPOSITE" if "-" in etag else "FULL_OBJECT") == "FULL_OBJECT":
        for name, kind in _CHECKSUMS.items():
            if value := head.get(name):
                return Proof(kind, value)
    if head.get("ServerSideEncryption") in _NO_MD5 or head.get("SSECustomerAlgorithm"):
        return None
    if _MD5.fullmatch(etag):
        return Proof("md5", etag)
    found = _MD5_OF_PARTS.fullmatch(etag)
    return _proof_of_parts(connection, bucket, key, etag, int(found[2]), head["ContentLength"]) if found else None


def _proof_of_parts(
    connection: S3Connection, bucket: str, key: str, etag: str, count: int, size_bytes: int
) -> Proof | None:
    told = _told_part(connection, bucket, key, count, size_bytes)
    if told:
        return Proof("parts", etag, (told,))
    usual = _USUAL_PARTS if count > 1 else (size_bytes,)
    fitting = tuple(size for size in usual if size and -(-size_bytes // size) == count)
    return Proof("parts", etag, fitting, is_sure=False) if fitting else None


def _told_part(connection: S3Connection, bucket: str, key: str, count: int, size_bytes: int) -> int:
    """Return the size of the parts where the server says it of the first and the last; 0 where not."""
    sizes = []
    for number in {1, count}:

        def ask(number: int = number) -> Mapping[str, Any]:
            head: Mapping[str, Any] = connection.client(bucket).head_object(Bucket=bucket, Key=key, PartNumber=number)
            return head

        try:
            head = connection.run("look at", bucket, key, ask)
        except ArtifactError:  # a server that does not know of parts
            return 0
        if head.get("PartsCount") != count:
            return 0
        sizes.append(int(head["ContentLength"]))
    first, last = sizes[0], sizes[-1]
    return first if first * (count - 1) + last == size_bytes else 0


def proves(proof: Proof, read: Read, size_bytes: int) -> bool:
    """Whether bytes have the checksum.

    Args:
        proof: The checksum.
        read: Gives so many bytes from a place, fewer at the end.
        size_bytes: How many there are.
    """
    if proof.kind == "parts":
        return any(_md5_of_parts(read, size_bytes, part) == proof.value for part in proof.parts_bytes)
    return _SUMS[proof.kind](read, size_bytes) == proof.value


def is_there(target: Path, size_bytes: int, proof: Proof | None) -> bool:
    """Whether a file of this size and with this checksum is there already; not where there is no checksum."""
    if proof is None:
        return False
    try:
        handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if os.fstat(handle).st_size != size_bytes:
            return False
        return proves(proof, lambda at, count: os.pread(handle, count, at), size_bytes)
    except OSError:  # a folder, say: the download will meet it
        return False
    finally:
        os.close(handle)


def _crc32c(read: Read, size_bytes: int) -> str:
    import google_crc32c

    total = 0
    for chunk in _chunks(read, 0, size_bytes):
        total = google_crc32c.extend(total, chunk)
    return to_text(total)


def _crc32(read: Read, size_bytes: int) -> str:
    total = 0
    for chunk in _chunks(read, 0, size_bytes):
        total = zlib.crc32(chunk, total)
    return _base64(total.to_bytes(4, "big"))


def _sha256(read: Read, size_bytes: int) -> str:
    total = hashlib.sha256()
    for chunk in _chunks(read, 0, size_bytes):
        total.update(chunk)
    return _base64(total.digest())


def _md5(read: Read, size_bytes: int) -> str:
    return _md5_between(read, 0, size_bytes).hex()


def _md5_of_parts(read: Read, size_bytes: int, part_bytes: int) -> str:
    starts = range(0, size_bytes, part_bytes)
    digests = [_md5_between(read, start, min(start + part_bytes, size_bytes)) for start in starts]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _md5_between(read: Read, start: int, end: int) -> bytes:
    total = hashlib.md5(usedforsecurity=False)
    for chunk in _chunks(read, start, end):
        total.update(chunk)
    return total.digest()


def _chunks(read: Read, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        chunk = read(start, min(_CHUNK_BYTES, end - start))
        if not chunk:  # shorter than it was: what is computed of it will not be what is asked for
            return
        yield chunk
        start += len(chunk)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


_SUMS: Mapping[str, Callable[[Read, int], str]] = {
    "crc32c": _crc32c,
    "crc32": _crc32,
    "sha256": _sha256,
    "md5": _md5,
}
