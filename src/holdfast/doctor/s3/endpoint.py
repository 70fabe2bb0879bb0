"""Whether the S3 server is there and speaks what the settings say."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.artifacts.s3.trust import check_ca_bundle, say_unchecked
from holdfast.core.uris import mask_passwords_in, mask_uri
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Bucket, Context
from holdfast.doctor.machine.proxy import CUT_OFF, is_cut_off, proxy_of, remedy_for
from holdfast.errors import CredentialsError

_LIMIT_S = 3.0
HEARD = "s3.heard"
_ANSWERS = "s3.answers"
_OTHER_PORT = (
    "mend the host and port in MLFLOW_S3_ENDPOINT_URL: a console or a tracking server listens on another port than the "
    "S3 server itself"
)
# What a proxy says of a server that it does not reach, or of who asks.
_OF_PROXIES = (407, 502, 503, 504)
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
    finding = _asked(context)
    context.note(_ANSWERS, finding.status.is_good_enough)
    return finding


def does_not_answer(context: Context) -> bool:
    """Whether something is wrong with the S3 server itself; for checks that come after `s3.endpoint`."""
    return context.bucket is not None and context.noted(_ANSWERS) is False


def _asked(context: Context) -> Finding:
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
    if is_cut_off(context, urlunsplit(url)):
        return skipped(CUT_OFF)
    try:
        heard = _ask(url, _verify(context, url))
    except Exception as error:
        from botocore.exceptions import BotoCoreError

        if not isinstance(error, BotoCoreError | OSError):
            raise
        return _unreachable(context, bucket, url, fault_of(error))
    context.note(HEARD, heard)
    return _judged(context, url, heard)


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


def _judged(context: Context, url: SplitResult, heard: Heard) -> Finding:
    return _of_others(context, url, heard) or _of_the_way(context, url, heard)


def _of_others(context: Context, url: SplitResult, heard: Heard) -> Finding | None:
    """Return that somebody else has answered: a proxy, a server that wants TLS, or one that does not speak S3."""
    proxy = proxy_of(urlunsplit(url))
    if proxy is not None and heard.status in _OF_PROXIES:
        said = f"{_shown(url)} cannot be reached through the proxy {proxy.shown}, which answers {heard.status}"
        login = f"; it wants a login: {proxy.variable}=http://user:password@host:port" if heard.status == 407 else ""
        return failed(said, remedy_for(proxy, urlunsplit(url)) + login, retryable=heard.status != 407)
    if heard.status == 400 and url.scheme == "http" and _speaks(url, "https"):
        return _other_scheme(url)
    if heard.status == 200 and heard.headers.get("content-type", "").startswith("text/html"):
        return failed(f"{_shown(url)} answers with a web page, and is no S3 server", _OTHER_PORT, Evidence.TOLD)
    if (heard.status == 404 or url.path.strip("/")) and not _knows_buckets(context):
        return _no_s3(url)
    return None


def _of_the_way(context: Context, url: SplitResult, heard: Heard) -> Finding:
    shown = _shown(url)
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


def _knows_buckets(context: Context) -> bool:
    """Whether a server that does not look like S3 answers S3's first question, or at least does not deny to know it."""
    try:
        S3Connection(context.access).client("").list_buckets()
    except Exception as error:  # of boto3, or of whoever it asks for keys; the next checks tell
        return fault_of(error).status not in (404, 405)
    return True


def _no_s3(url: SplitResult) -> Finding:
    if not url.path.strip("/"):
        return failed(
            f"{_shown(url)} does not know what S3 is asked first (HTTP 404), and is no S3 server", _OTHER_PORT
        )
    return failed(
        f"{_shown(url)} has a path, and nobody there knows what S3 is asked first (HTTP 404)",
        f"set {_endpoint_as(url._replace(path=''))}: bucket and prefix belong into MLFLOW_ARTIFACT_ROOT",
    )


def _unreachable(context: Context, bucket: Bucket, url: SplitResult, fault: Fault) -> Finding:
    low = fault.text.lower()
    proxy = proxy_of(urlunsplit(url))
    if proxy is not None and fault.code != "Certificate":
        said = f"{_shown(url)} cannot be reached through the proxy {proxy.shown}: {mask_passwords_in(fault.text)}"
        return failed(said, remedy_for(proxy, urlunsplit(url)), retryable=fault.is_transient, code=fault.code)
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
    Check(
        "s3.endpoint",
        "Does the S3 server answer, and as the settings say?",
        _endpoint,
        ("config.settings",),
        9.0,
        ("env.proxy",),
    ),
)
