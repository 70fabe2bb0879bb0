"""What an S3 server may lack: verified checksums, conditions, ranges; and how fast the way to it is."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.download import download
from holdfast.artifacts.s3.faults import Fault
from holdfast.artifacts.s3.reading import NoRangesError, Reader
from holdfast.artifacts.s3.upload import upload_items
from holdfast.artifacts.transfer import SILENT, Item
from holdfast.core.crc import to_text
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.probe import Probe, fault_in, probe_of, refused
from holdfast.errors import ArtifactError

# The second is sent where the first says that it takes no longer than this.
_SIZES_BYTES = (256 << 10, 4 << 20)
_RATE_S = 2.0
_MIB = float(1 << 20)


def _checksums(context: Context) -> Finding:
    probe = probe_of(context)
    if context.access.checksums == "never":
        return skipped("none are sent, as HOLDFAST_S3_CHECKSUMS=never says")
    if not probe.takes_checksums:
        return warning(
            "the server refuses CRC-32C checksums: each process finds that out anew, and then sends none",
            "set HOLDFAST_S3_CHECKSUMS=never",
            Evidence.TRIED,
            accepted=False,
        )
    verified = _wrong_checksum(probe) is not None
    noticed = _altered(context, probe) is not None
    told: dict[str, Any] = {"accepted": True, "crc32c_verified": verified, "body_verified": noticed}
    if verified:
        return ok("a file that is altered on its way is refused, by its CRC-32C", Evidence.TRIED, **told)
    if noticed:
        return ok(
            "the server does not verify CRC-32C; a file that is altered on its way is refused, by its signature",
            Evidence.TRIED,
            **told,
        )
    return ok(
        "the server verifies neither CRC-32C nor the bodies that it is sent: a file that is altered on its way up is "
        "noticed when it is fetched, by the checksum that is stored with it",
        Evidence.TRIED,
        **told,
    )


def _wrong_checksum(probe: Probe) -> Fault | None:
    wrong = {"ChecksumCRC32C": to_text(probe.crc ^ 1)}
    client = probe.connection.client(probe.bucket)
    return _tried(probe, "checksum", lambda key: _put(client, probe, key, **wrong))


def _altered(context: Context, probe: Probe) -> Fault | None:
    """Send another body than was signed."""
    connection = S3Connection(context.access)  # of its own: what follows changes all that it sends
    client = connection.client(probe.bucket)
    signed = bytes([probe.content[0] ^ 0xFF]) + probe.content[1:]

    def alter(request: Any, **_: Any) -> None:
        request.body = probe.content

    client.meta.events.register("before-send.s3.PutObject", alter)
    return _tried(probe, "altered", lambda key: _put(client, probe, key, Body=signed))


def _tried(probe: Probe, name: str, put: Callable[[str], None]) -> Fault | None:
    """Store an object that the server had better refuse; return why it did, or None."""
    key = f"{probe.folder}/{name}"
    probe.leaves(key)
    fault = fault_in(probe, "try to store a damaged probe", lambda: put(key))
    if fault is None:
        probe.remove(key)
    else:
        probe.leaves_not(key)
    return fault


@contextmanager
def _object(probe: Probe, name: str) -> Iterator[str]:
    """A key of one check alone, with nothing there in the end."""
    key = f"{probe.folder}/{name}"
    probe.leaves(key)
    try:
        yield key
    finally:
        probe.remove(key)


def _put(client: Any, probe: Probe, key: str, **more: Any) -> None:
    arguments = {"Body": probe.content, **probe.arguments(), **more}
    client.put_object(Bucket=probe.bucket, Key=key, **arguments)


def _conditional_put(context: Context) -> Finding:
    probe = probe_of(context)
    client = probe.connection.client(probe.bucket)
    with _object(probe, "condition") as key:
        probe.store(key)
        fault = fault_in(probe, "store a probe on a condition", lambda: _put(client, probe, key, IfNoneMatch="*"))
    needless = "nothing in Holdfast needs it"
    if fault is None:
        return skipped(f"the server ignores If-None-Match, and stores a second time; {needless}")
    if fault.status == 412 or fault.code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return ok("the server does not store a second time under If-None-Match", Evidence.TRIED)
    return skipped(f"the server does not know If-None-Match ({fault.code}); {needless}")


def _range(context: Context) -> Finding:
    probe = probe_of(context)
    reader = Reader(probe.connection, probe.bucket)

    def read() -> bytes | None:
        try:
            return b"".join(bytes(chunk) for chunk in reader.open(probe.shared_key, (1000, 2000)).chunks)
        except NoRangesError:
            return None

    try:
        content = probe.connection.run("fetch a part of a probe", probe.bucket, probe.shared_key, read)
    except ArtifactError as error:
        return refused(error, "s3:GetObject")
    if content is None:
        return skipped("the server does not answer a Range with 206: large files are fetched in one stream, and slower")
    if content != probe.content[1000:2000]:
        return failed(
            "the server answers a Range with other bytes than were asked for",
            "do not fetch files of more than 64 MiB through this server, or a gateway before it, before it is mended",
        )
    return ok("large files are fetched in parallel ranges", Evidence.TRIED)


def _rate(context: Context) -> Finding:
    probe = probe_of(context)
    try:
        with _object(probe, "rate") as key, tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
            size_bytes, up_s, down_s = _measure(probe, key, Path(folder))
    except ArtifactError as error:
        return refused(error, "s3:PutObject", "s3:GetObject")
    up, down = size_bytes / up_s / _MIB, size_bytes / down_s / _MIB
    limit = context.access.upload_rate
    bound = f" (HOLDFAST_UPLOAD_RATE: {limit / _MIB:.1f})" if limit else ""
    found = f"{up:.1f} MiB/s up{bound}, {down:.1f} MiB/s down, with one file of {size_bytes / _MIB:g} MiB"
    return ok(found, Evidence.TRIED, up_mib_s=round(up, 2), down_mib_s=round(down, 2), bytes=size_bytes)


def _measure(probe: Probe, key: str, folder: Path) -> tuple[int, float, float]:
    """Store and fetch a small file, and a larger one where that is quick; return size and both times of the last."""
    small = probe.trial_bytes(_SIZES_BYTES[0])
    took = (0.0, 0.0)
    size_bytes = small
    for size_bytes in (small, _SIZES_BYTES[1]):
        if took[0] * _SIZES_BYTES[1] / small > _RATE_S:
            return small, *took
        took = _there_and_back(probe, key, folder, size_bytes)
    return size_bytes, *took


def _there_and_back(probe: Probe, key: str, folder: Path, size_bytes: int) -> tuple[float, float]:
    local = folder / "sent"
    local.write_bytes(os.urandom(size_bytes))
    began = time.monotonic()
    upload_items(probe.connection, [Item(local, probe.uri(key))], SILENT)
    sent = time.monotonic()
    download(probe.connection, probe.uri(probe.folder), "rate", folder)
    return sent - began, time.monotonic() - sent


CHECKS = (
    Check(
        "s3.checksums", "Does the server notice a file that is altered on its way?", _checksums, ("s3.put", "s3.delete")
    ),
    Check("s3.conditional_put", "Does the server know conditions?", _conditional_put, ("s3.put", "s3.delete")),
    Check("s3.range", "Can large files be fetched in parallel?", _range, ("s3.get",)),
    Check("s3.rate", "How fast do files go there and back?", _rate, ("s3.get", "s3.delete"), 8.0),
)
