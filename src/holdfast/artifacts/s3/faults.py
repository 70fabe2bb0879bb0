"""What went wrong between us and an S3 server, in one form, whichever client saw it.

botocore has classes and a parsed answer; obstore has a text that holds the server's XML. A fault's code is the
server's own (`AccessDenied`), or one of ours where no server answered: `ConnectionRefused`, `UnknownHost`,
`Certificate`, `TLS`, `Timeout`, `ConnectionLost`, `NoCredentials`, `SSOTokenExpired`, `CredentialsUnavailable`,
`ParamValidation`, `NotVerified`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from holdfast.errors import CredentialsError

# A HEAD answer has no body, so botocore gives its status as the code.
_BARE = {"301": "PermanentRedirect", "403": "AccessDenied", "404": "NoSuchKey", "412": "PreconditionFailed"}
_TRANSIENT = {
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted", "Throttling"),
    *("ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "ConditionalRequestConflict"),
    *("ConnectionRefused", "UnknownHost", "Timeout", "ConnectionLost"),
    # The body was damaged on its way; sent again it may arrive whole.
    *("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "NotVerified", "IncompleteBody"),
}
_TLS = ("wrong_version_number", "wrong version number", "record_layer_failure", "corrupt message", "invalidcontenttype")
_NAMES = ("name or service not known", "name resolution", "nodename nor servname", "dns error", "failed to lookup")
_REFUSED = ("connection refused", "network is unreachable", "no route to host", "failed to establish a new")
_CERTIFICATE = ("certificate", "ssl validation", "sslerror", "ssl:", "tls handshake", "invalidcertificate")
_TIMEOUT = ("timed out", "timedout", "timeout")


class Fault(NamedTuple):
    """What went wrong.

    Attributes:
        code: The server's word for it, or ours.
        status: The HTTP status, or 0 where there was no answer.
        text: What was said about it, in one line; it may hold secrets.
        region: The region that the bucket is in, where the server said so.
        endpoint: The host that the server wants to be asked at instead, where it said so.
        operation: The API call by boto3's name, where known.
    """

    code: str
    status: int = 0
    text: str = ""
    region: str = ""
    endpoint: str = ""
    operation: str = ""

    @property
    def is_transient(self) -> bool:
        """Whether the very same request may work a moment later."""
        return self.code in _TRANSIENT or self.status in (408, 429) or (self.status >= 500 and self.status != 501)


def fault_of(error: BaseException) -> Fault:
    """Return what an exception of botocore, obstore, urllib3 or the operating system says."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            return _of_answer(response, getattr(cause, "operation_name", ""))
    if isinstance(error, CredentialsError):
        return Fault("CredentialsUnavailable", text=one_line(error.message))
    # botocore names the address, and keeps the cause to itself.
    text = f"{error}{_cause(error)}"
    code = _code_of_text(text) if isinstance(error, OSError) or _cause(error) else ""
    code = code or _BY_CLASS.get(type(error).__name__, "")
    if code and "Error performing" not in text:
        return Fault(code, text=one_line(text))
    if "Error performing" in text or type(error).__module__.startswith("obstore"):
        return _of_obstore(error, text)
    return Fault(_code_of_text(text) or _code_of_class(error), text=one_line(text))


def _cause(error: BaseException) -> str:
    cause = getattr(error, "kwargs", {}).get("error")
    return "" if cause is None or str(cause) in str(error) else f": {cause}"


def fault_of_xml(xml: str, status: int = 0) -> Fault:
    """Return what the XML of an error answer says."""
    code = _tag("Code", xml)
    return Fault(
        _BARE.get(code, code), status, _tag("Message", xml) or one_line(xml), _tag("Region", xml), _tag("Endpoint", xml)
    )


def one_line(text: str, longest: int = 300) -> str:
    """Return a text without line breaks, cut where it gets long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= longest else joined[: longest - 1] + "…"


def _of_answer(response: Mapping[str, Any], operation: str) -> Fault:
    said, meta = response["Error"], response.get("ResponseMetadata", {})
    headers = meta.get("HTTPHeaders", {})
    code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    return Fault(
        _BARE.get(code, code or f"HTTP {status}"),
        status,
        one_line(str(said.get("Message", ""))),
        str(headers.get("x-amz-bucket-region") or said.get("Region") or ""),
        str(said.get("Endpoint") or ""),
        operation,
    )


def _of_obstore(error: BaseException, text: str) -> Fault:
    head = text.split("\n\nDebug source:", maxsplit=1)[0]
    status = int((re.search(r"(?:non-2xx status code|status code): (\d{3})", head) or [0, 0])[1])
    if "<Code>" in head:
        return fault_of_xml(head, status)
    if "redirect without LOCATION" in head:
        return Fault("PermanentRedirect", 301, "the bucket is in another region")
    if status or isinstance(error, FileNotFoundError):
        status = status or 404
        return Fault(_BARE.get(str(status), f"HTTP {status}"), status, one_line(head))
    # The cause of a failed connection stands in the debug part alone.
    debug = text.replace("retry_timeout", "")
    said = re.search(r'message: "([^"]+)"', debug)
    return Fault(_code_of_text(debug) or "ConnectionLost", text=one_line(said[1] if said else head))


def _code_of_text(text: str) -> str:
    low = text.lower()
    for code, marks in (
        ("TLS", _TLS),
        ("Certificate", _CERTIFICATE),
        ("UnknownHost", _NAMES),
        ("ConnectionRefused", _REFUSED),
        ("Timeout", _TIMEOUT),
    ):
        if any(mark in low for mark in marks):
            return code
    return ""


def _code_of_class(error: BaseException) -> str:
    names = {cls.__name__ for cls in type(error).__mro__}
    return "ConnectionLost" if names & {"HTTPClientError", "ProtocolError", "HTTPException", "ConnectionError"} else ""


_BY_CLASS = {
    "NoCredentialsError": "NoCredentials",
    "PartialCredentialsError": "NoCredentials",
    "CredentialRetrievalError": "CredentialsUnavailable",
    "ProfileNotFound": "CredentialsUnavailable",
    "InvalidConfigError": "CredentialsUnavailable",
    "TokenRetrievalError": "SSOTokenExpired",
    "SSOTokenLoadError": "SSOTokenExpired",
    "UnauthorizedSSOTokenError": "SSOTokenExpired",
    "SSLError": "Certificate",
    "ParamValidationError": "ParamValidation",
    "ConnectTimeoutError": "Timeout",
    "ReadTimeoutError": "Timeout",
    "ConnectionClosedError": "ConnectionLost",
    "IncompleteReadError": "ConnectionLost",
    "ResponseStreamingError": "ConnectionLost",
    "ResponseParserError": "ConnectionLost",
    "ChecksumMismatchError": "NotVerified",
    "FlexibleChecksumError": "NotVerified",
}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _tag(name: str, xml: str) -> str:
    found = re.search(rf"<{name}>\s*([^<]*?)\s*</{name}>", xml)
    return one_line(found[1]) if found else ""
