"""Whose keys these are: asked of STS, or of the S3 server where there is none.

AWS answers GetCallerIdentity to every key. An S3-compatible server may answer it at its own address (MinIO does), or
with anything at all; then it is asked whose buckets the key sees, and what it says to that decides.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.dialect import is_aws
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.doctor.check import Evidence, Finding, failed, ok, skipped
from holdfast.doctor.context import Context
from holdfast.doctor.machine.proxy import CUT_OFF, is_cut_off
from holdfast.doctor.s3.endpoint import does_not_answer

_TIMEOUT_S = 3.0
# The server's word on the key itself, whatever was asked.
_ABOUT_THE_KEY = {
    *("InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSecurity", "ExpiredToken"),
    *("ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestTimeTooSkewed", "RequestExpired"),
    "AuthFailure",
}
# Ours, where no server answered at all.
_NOBODY = {"ConnectionRefused", "UnknownHost", "Timeout", "ConnectionLost", "Certificate", "TLS"}
_MAY_NOT_ASK = {"AccessDenied", "AllAccessDisabled", "AccessDeniedException"}


class _Caller(NamedTuple):
    account: str
    principal: str


def identify(context: Context) -> Finding:
    """Return whose keys the project's are, account numbers and ARNs shortened; a failure where they are refused."""
    access, settings = context.access, context.settings
    if context.bucket is None and settings.artifact_root is not None:
        return skipped(f"nobody needs to know them: files are kept elsewhere ({settings.storage_type})")
    reason = _why_in_vain(context)
    if reason:
        return skipped(reason)
    caller, fault = _ask_sts(context)
    if caller is not None:
        return _known(f"{caller.principal} of account {caller.account}", access, **caller._asdict())
    if fault.code in _ABOUT_THE_KEY and _is_authority(context):
        return _refusal(fault, access)
    if fault.code in _NOBODY and access.endpoint_url is not None and _sts_url(context) == access.endpoint_url:
        return _judged(fault, context, fault)  # nobody answers there; asking for something else would not help
    return _ask_s3(context, fault)


def _why_in_vain(context: Context) -> str:
    """Return what another check has found to be wrong with the server that would be asked."""
    access, url = context.access, _sts_url(context)
    if is_cut_off(context, url or f"https://sts.{access.region}.amazonaws.com"):
        return CUT_OFF
    if url is not None and url == access.endpoint_url and does_not_answer(context):
        return "s3.endpoint failed, and the same server would have to tell whose keys these are"
    return ""


def _known(whose: str, access: S3Access, **details: str) -> Finding:
    return ok(f"{whose} ({access.account})", Evidence.TRIED, **details)


def _is_authority(context: Context) -> bool:
    """Whether the STS that is asked issues the keys: AWS's own, or the one that is set."""
    settings = context.settings
    return settings.sts_endpoint_url is not None or is_aws(settings.s3_endpoint_url)


def _sts_url(context: Context) -> str | None:
    """Return where STS is asked; None for AWS's."""
    settings = context.settings
    return settings.sts_endpoint_url or (None if is_aws(settings.s3_endpoint_url) else settings.s3_endpoint_url)


def _ask_sts(context: Context) -> tuple[_Caller | None, Fault]:
    from botocore.config import Config

    access = context.access
    session: Any = context.once("credentials.session", context.settings.credentials.session)
    make: Any = Config
    config = make(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 1})
    verify = False if access.ignore_tls else access.ca_bundle
    try:
        client = session.client("sts", endpoint_url=_sts_url(context), verify=verify, config=config)
        found = client.get_caller_identity()
    except Exception as error:  # whatever a server may answer that is no STS; S3 is asked next
        return None, fault_of(error)
    return _caller(str(found.get("Account", "")), str(found.get("Arn", ""))), Fault("")


def _caller(account: str, arn: str) -> _Caller | None:
    if not account and not arn:
        return None  # an answer of another kind, which botocore took for one of STS
    return _Caller(f"…{account[-4:]}", _principal(arn))


def _principal(arn: str) -> str:
    """Return the last part of an ARN without what identifies an account: `user/mlflow-writer`."""
    name = arn.split(":", maxsplit=5)[-1]
    return re.sub(r"\d{8,}", lambda found: f"…{found[0][-4:]}", name) or "somebody"


def _ask_s3(context: Context, of_sts: Fault) -> Finding:
    access = context.access
    try:
        owner = S3Connection(access).client("").list_buckets().get("Owner", {})
    except Exception as error:
        return _judged(fault_of(error), context, of_sts)
    name = str(owner.get("DisplayName") or owner.get("ID") or "")
    if not name:
        return _known("the S3 server takes the keys, and does not say whose they are", access)
    short = name if len(name) <= 20 else f"{name[:4]}…{name[-4:]}"
    return _known(f"{short} by the S3 server's word", access, principal=short)


def _judged(fault: Fault, context: Context, of_sts: Fault) -> Finding:
    access = context.access
    if fault.code in _NOBODY and context.bucket is None:
        return skipped(f"no S3 server answers, and only the tracking server knows whether one is needed ({fault.code})")
    if fault.code in _MAY_NOT_ASK:
        why = f"STS: {of_sts.code or 'no answer'}; ListBuckets: {fault.code}"
        return skipped(f"the server does not say whose keys these are ({why}; {access.account})")
    if fault.code in _ABOUT_THE_KEY or fault.is_transient or fault.code in _NOBODY:
        return _refusal(fault, access)
    return skipped(f"the server lacks the calls that tell ({fault.code or fault.status}; {access.account})")


def _refusal(fault: Fault, access: S3Access) -> Finding:
    error = translate(fault, "ask", "", "", access)
    verb = "refuses the keys" if fault.code in _ABOUT_THE_KEY else "cannot be asked"
    text = "" if fault.code in _NOBODY else fault.text
    said = ": ".join(part for part in (fault.code, text) if part)
    remedy = error.hint or "mend MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY"
    return failed(f"the server {verb}: {access.redact(said)} ({access.account})", remedy, retryable=error.retryable)
