"""What a server is found to speak for a bucket, learnt from its answers and kept for the process.

Nothing is asked for its own sake: the first requests go out as AWS, or most other servers, want them, and what they
are answered with decides about the next ones.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.faults import Fault

Style = Literal["path", "virtual"]
_WANTS_VIRTUAL = ("SecondLevelDomainForbidden", "PathStyleNotAllowed", "VirtualHostDomainRequired")
_REDIRECTS = {
    *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
    *("400", "307", "HTTP 400", "HTTP 307", "AccessDenied"),
}
_REFUSALS = ("NotImplemented", "InvalidRequest", "InvalidArgument", "XNotImplemented", "MissingContentLength")

_lock = threading.Lock()
_known: dict[tuple[str, str, str], Dialect] = {}


class Dialect:
    """What is known of one bucket; threads may share it.

    Attributes:
        style: How the bucket stands in the URL.
        region: The region that is signed for.
        verifies: Whether the server has shown that it verifies CRC-32C; None while nothing is known.
        sends_checksums: Whether checksum headers are sent.
        ranges: Whether a Range is answered with 206; None while nothing is known.
        writes_once: Whether a PUT may have the condition that there is no such object; believed until refused.
        version: Counts what was learnt that a client is made for: style and region.
    """

    def __init__(self, access: S3Access, bucket: str) -> None:
        self.style: Style = _first_style(access, bucket)
        self.region = access.region
        self.verifies: bool | None = False if access.checksums == "never" else None
        self.sends_checksums = access.checksums != "never"
        self.ranges: bool | None = None
        self.writes_once = True
        self.version = 0
        self._bucket = bucket
        self._style_is_set = access.addressing_style != "auto"
        self._checksums_are_set = access.checksums != "auto"
        self._redirects = 0

    def heard(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers (their names in lower case) of an answer to an upload that had a CRC-32C."""
        if self.sends_checksums and self.verifies is None:
            self.verifies = "x-amz-checksum-crc32c" in headers

    def refused(self, fault: Fault, had_checksum: bool = False) -> bool:
        """Learn from a refusal; return whether the same request, made anew, has a chance now.

        Args:
            fault: What the server said.
            had_checksum: Whether the request had a checksum header.
        """
        moved = fault.code in _REDIRECTS and self.moved_to(fault.region)
        with _lock:
            return moved or self._restyled(fault) or (had_checksum and self._unchecked(fault))

    def moved_to(self, region: str) -> bool:
        """Take the region that the server names; a few times at most, for a server may contradict itself."""
        with _lock:
            if not region or region == self.region or self._redirects >= 3:
                return False
            self._redirects += 1
            self.region = region
            self.version += 1
            return True

    def _restyled(self, fault: Fault) -> bool:
        asks = fault.code in _WANTS_VIRTUAL or fault.endpoint.lower().startswith(f"{self._bucket}.")
        if self._style_is_set or self.style == "virtual" or not asks or "." in self._bucket:
            return False
        self.style = "virtual"
        self.version += 1
        return True

    def _unchecked(self, fault: Fault) -> bool:
        if self._checksums_are_set or self.verifies:
            return False
        if fault.status != 501 and not (fault.status == 400 and fault.code in _REFUSALS):
            return False
        self.sends_checksums, self.verifies = False, False
        return True


def dialect_of(access: S3Access, bucket: str) -> Dialect:
    """Return what is known of a bucket at the server of an access, for all who use that access."""
    key = (access.endpoint_url or "", bucket, access.fingerprint)
    with _lock:
        return _known.setdefault(key, Dialect(access, bucket))


def is_aws(endpoint_url: str | None) -> bool:
    """Whether requests go to AWS itself."""
    host = (urlsplit(endpoint_url).hostname or "") if endpoint_url else "amazonaws.com"
    return host.endswith(("amazonaws.com", "amazonaws.com.cn"))


def _first_style(access: S3Access, bucket: str) -> Style:
    if access.addressing_style != "auto":
        return access.addressing_style
    # A certificate for *.s3.amazonaws.com does not cover a bucket with dots.
    return "virtual" if is_aws(access.endpoint_url) and "." not in bucket else "path"
