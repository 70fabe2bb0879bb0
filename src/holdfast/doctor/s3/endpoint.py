"""Whether the S3 server is there and speaks what the settings say, and whether its clock agrees with this machine's."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.artifacts.s3.trust import check_ca_bundle, say_unchecked
from holdfast.core.uris import mask_uri
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Bucket, Context
from holdfast.errors import CredentialsError

_LIMIT_S = 3.0
_HEARD = "s3.heard"
# From here on S3 refuses what is signed; a minute is no harm, and a sign that nobody sets the clock.
_CLOCK_FAILS_S, _CLOCK_WARNS_S = 900.0, 60.0
_OTHER = {"http": "https", "https": "http"}


class Heard(NamedTuple):
    """A server's answer to a plain question.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        asked_at: When it was asked, in seconds since 1970 by this machine's clock.
        took_s: How long the answer took, in seconds.
    """

    status: int
    headers: Mapping[str, str]
    asked_at: float
    took_s: float


def _endpoint(context: Context) -> Finding:
    bucket = context.bucket
    if bucket is None:
        return skipped(f"no files of this project go to S3 ({context.settings.storage_type})")
    url = urlsplit(_url_of(context, bucket))
    if _names_bucket(url, bucket.name):
        return failed(
            f"{_shown(url)} names the bucket {bucket.name}, which is put there a second time",
            f"set MLFLOW_S3_ENDPOINT_URL={_shown(_without_bucket(url, bucket.name))}",
            Evidence.INFERRED,
        )
    try:
        heard = _ask(url, _verify(context, url))
    except Exception as error:
        from botocore.exceptions import BotoCoreError

        if not isinstance(error, BotoCoreError | OSError):
            raise
        return _unreachable(context, bucket, url, fault_of(error))
    context.note(_HEARD, heard)
    return _judged(context, bucket, url, heard)


def _url_of(context: Context, bucket: Bucket) -> str:
    if context.access.endpoint_url:
        return context.access.endpoint_url
    try:
        return str(bucket.connection.client(bucket.name).meta.endpoint_url)  # AWS, or what the profile names
    except CredentialsError:  # another check's matter
        return f"https://s3.{context.access.region}.amazonaws.com"


def _verify(context: Context, url: SplitResult) -> bool | str:
    """Return what the certificate is checked with, as boto3 would find it.

    Raises:
        ArtifactError: The file with the certificates cannot be read.
    """
    access = context.access
    if access.ignore_tls or url.scheme == "http":
        say_unchecked(urlunsplit(url), is_news=False)  # s3.endpoint itself says it
        return False
    bundle = access.ca_bundle
    if bundle is None and access.credentials.kind in ("profile", "chain"):
        with suppress(CredentialsError):
            bundle = access.credentials.session()._session.get_config_variable("ca_bundle")
    check_ca_bundle(bundle)
    return bundle or context.environ.get("REQUESTS_CA_BUNDLE") or True


def _ask(url: SplitResult, verify: bool | str) -> Heard:
    """Ask the way that boto3 goes, proxies included, signed by nobody."""
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    text = urlunsplit(url)
    make: Any = URLLib3Session
    session = make(verify=verify, proxies=get_environ_proxies(text), timeout=(_LIMIT_S, _LIMIT_S))
    began_at, began = time.time(), time.monotonic()
    try:
        answer = session.send(AWSRequest(method="GET", url=text, stream_output=True).prepare())
        answer.raw.close()
    finally:
        session.close()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Heard(answer.status_code, headers, began_at, time.monotonic() - began)


def _judged(context: Context, bucket: Bucket, url: SplitResult, heard: Heard) -> Finding:
    shown = _shown(url)
    if heard.status == 400 and url.scheme == "http" and _speaks(url, "https"):
        return _other_scheme(url)
    if heard.status == 200 and heard.headers.get("content-type", "").startswith("text/html"):
        return failed(
            f"{shown} answers with a web page, and is no S3 server",
            "mend the host and port in MLFLOW_S3_ENDPOINT_URL: a console or a tracking server listens on another port "
            "than the S3 server itself",
            Evidence.TOLD,
        )
    details: dict[str, Any] = {"endpoint": shown, "took_ms": round(heard.took_s * 1000, 1)}
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        return warning(
            f"{shown} answers without TLS: files and their names can be read and altered on the way",
            f"let the server speak TLS, and set MLFLOW_S3_ENDPOINT_URL={_shown(url._replace(scheme='https'))}",
            Evidence.TRIED,
            **details,
        )
    if url.scheme == "https" and context.access.ignore_tls:
        return warning(
            f"{shown} answers, and its certificate is not checked: anybody on the way could be the server",
            "unset MLFLOW_S3_IGNORE_TLS, and set AWS_CA_BUNDLE to a PEM file that the server's is signed with",
            Evidence.TRIED,
            **details,
        )
    return ok(f"{shown} answers in {heard.took_s * 1000:.0f} ms", Evidence.TRIED, **details)


def _unreachable(context: Context, bucket: Bucket, url: SplitResult, fault: Fault) -> Finding:
    low = fault.text.lower()
    if "reset by peer" in low:  # as early as while it is connected to, or later
        fault = fault._replace(code="ConnectionLost")
    if fault.code in ("TLS", "ConnectionLost", "Timeout") and _speaks(url, _OTHER[url.scheme]):
        return _other_scheme(url)
    if fault.code == "Certificate":
        return _distrusted(url, fault)
    host, place = url.hostname or "", _shown(url)
    said = {
        "UnknownHost": f"no address is known for the host {host}",
        "ConnectionRefused": f"nobody listens at {place}"
        if "refused" in low
        else f"there is no way from here to {host}: {fault.text}",
        "Timeout": f"{place} does not answer within {_LIMIT_S:g} s",
        "ConnectionLost": f"{place} hangs up without an answer",
        "TLS": f"{place} does not speak TLS",
    }.get(fault.code, f"{place} cannot be asked: {fault.code} {fault.text}".strip())
    hint = translate(fault, "reach the S3 server", bucket.name, "", context.access).hint
    remedy = hint or "see the network, and MLFLOW_S3_ENDPOINT_URL"
    return failed(said, remedy, retryable=fault.is_transient and fault.code != "UnknownHost", code=fault.code)


def _other_scheme(url: SplitResult) -> Finding:
    other = url._replace(scheme=_OTHER[url.scheme])
    spoken = {"http": "plain HTTP, and no TLS", "https": "TLS alone"}[other.scheme]
    return failed(f"the server at {url.netloc.rpartition('@')[2]} speaks {spoken}", f"set {_endpoint_as(other)}")


def _distrusted(url: SplitResult, fault: Fault) -> Finding:
    low, place = fault.text.lower(), _shown(url)
    if "expired" in low:
        why, remedy = "has expired", "have the server's certificate renewed: no setting of this project mends that"
    elif "not yet valid" in low:
        why, remedy = "is not valid yet", "set this machine's clock, or the server's certificate"
    elif "mismatch" in low or "doesn't match" in low or "not valid for" in low:
        why = f"is not made out to {url.hostname}"
        remedy = "use in MLFLOW_S3_ENDPOINT_URL the name that the certificate has, or have one made for this name"
    else:
        why = "is signed by an authority that this machine does not know"
        remedy = "set AWS_CA_BUNDLE to a PEM file with the certificates that the server's is signed with"
    return failed(f"the certificate of {place} {why}", remedy, code="Certificate", said=fault.text)


def _speaks(url: SplitResult, scheme: str) -> bool:
    """Whether the server answers with this scheme; whose certificate it shows does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = url.hostname or "", url.port or {"http": 80, "https": 443}[url.scheme]
    connection = (
        http.client.HTTPSConnection(host, port, timeout=2, context=context)
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=2)
    )
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    # Some servers of TLS answer plain HTTP too, to say that they do not like it.
    return scheme == "https" or answer.status != 400


def _clock(context: Context) -> Finding:
    heard: Heard = context.noted(_HEARD)
    told = email.utils.parsedate_tz(heard.headers.get("date", ""))
    if told is None:
        return skipped("the server does not say what time it is")
    # Whole seconds are told, cut off; and the answer was half-way when it was written.
    skew_s = heard.asked_at + heard.took_s / 2 - (email.utils.mktime_tz(told) + 0.5)
    if abs(skew_s) < _CLOCK_WARNS_S:
        return ok("this machine's clock and the server's agree", skew_s=round(skew_s, 1))
    found = f"this machine's clock is {_span(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} the server's"
    remedy = "set this machine's clock: sudo timedatectl set-ntp true (or the server's, where this one is right)"
    if abs(skew_s) < _CLOCK_FAILS_S:
        return warning(found, remedy, skew_s=round(skew_s, 1))
    return failed(f"{found}; S3 refuses signatures from 15 min on", remedy, Evidence.TOLD, skew_s=round(skew_s, 1))


def _span(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


def _names_bucket(url: SplitResult, bucket: str) -> bool:
    return url.path.strip("/").rpartition("/")[2] == bucket or (url.hostname or "").startswith(f"{bucket.lower()}.")


def _without_bucket(url: SplitResult, bucket: str) -> SplitResult:
    path = url.path.strip("/")
    kept = path.removesuffix(bucket).rstrip("/")
    login, at, host = url.netloc.rpartition("@")
    host = host[len(bucket) + 1 :] if host.lower().startswith(f"{bucket.lower()}.") else host
    return url._replace(netloc=f"{login}{at}{host}", path=f"/{kept}" if kept else "")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _endpoint_as(url: SplitResult) -> str:
    return f"MLFLOW_S3_ENDPOINT_URL={_shown(url)}"


def _shown(url: SplitResult) -> str:
    return mask_uri(urlunsplit(url)).rstrip("/")


CHECKS = (
    Check("s3.endpoint", "Does the S3 server answer, and as the settings say?", _endpoint, ("config.settings",), 9.0),
    Check("s3.clock", "Does this machine's clock agree with the S3 server's?", _clock, ("s3.endpoint",)),
)
