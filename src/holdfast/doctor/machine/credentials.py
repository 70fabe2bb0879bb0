"""The checks of AWS credentials: whole, from where, usable, until when, and whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.artifacts.s3.dialect import is_aws
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.faults import fault_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.asking_keys import find_keys
from holdfast.doctor.machine.identity import identify
from holdfast.settings.choice import choose_credentials
from holdfast.settings.layers import Report

_NEEDS_SETTINGS = ("config.settings",)
_NEEDS_KEYS = ("config.settings", "credentials.usable")
_SET_KEYS = "set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY in .env, or MLFLOW_AWS_PROFILE"
_SOON = timedelta(minutes=15)
# What programs that lend keys write beside them: `aws configure export-credentials`, saml2aws, aws-vault and others.
_ENDS_IN_ENVIRONMENT = "AWS_CREDENTIAL_EXPIRATION"
_ENDS_IN_PROFILE = ("aws_expiration", "x_security_token_expires", "expiration")


def _complete(context: Context) -> Finding:
    report = Report()
    found, _ = choose_credentials(context.sources.layers, report)
    if report.problems:
        hints = dict.fromkeys(problem.hint for problem in report.problems)
        text = "\n".join(problem.message.rstrip(".") for problem in report.problems)
        return failed(text, "\n".join(hints), Evidence.TOLD)
    if found.access_key_id is None:
        return ok(f"no keys are set; they come from {found.origin}")
    token = " and session token" if found.session_token else ""
    return ok(f"access key, secret{token} are of one source: {found.origin}")


def _source(context: Context) -> Finding:
    settings = context.settings
    origin = settings.origin_of("credentials")
    file = f" of {origin.path}" if origin.path else ""
    found = f"{context.access.account}{file}"
    unused = _unused_keys(context) if settings.credentials.kind != "global" else []
    if unused:
        found += f"; {', '.join(unused)} are there too, and not used"
    return ok(found, kind=settings.credentials.kind, source=origin.kind, unused=unused)


def _unused_keys(context: Context) -> list[str]:
    """Return the global keys that are there; beside keys of the project they belong to other programs."""
    if context.settings.credentials.kind == "chain":
        return []
    sources = (context.sources.environment, context.sources.dotenv)
    found = (name for source in sources for name in source.values if name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
    return sorted({"AWS_* keys" if name == "AWS_ACCESS_KEY_ID" else name for name in found})


def _usable(context: Context) -> Finding:
    session = context.once("credentials.session", context.settings.credentials.session)
    asked = find_keys(session)
    if asked.fault is not None:
        return asked.fault
    if asked.error is not None:  # of boto3, or of whoever it asks for keys
        return _refused(context, asked.error)
    found, keys = asked.found, asked.keys
    if found is None or keys is None or not keys.access_key:
        return _none(context)
    context.note("credentials.found", found)
    shown = replace(context.access, credentials=replace(context.settings.credentials, access_key_id=keys.access_key))
    role = context.settings.credentials.role
    return ok(f"{shown.account}{' was assumed' if role else ''}", Evidence.TRIED, temporary=bool(keys.token))


def _none(context: Context) -> Finding:
    settings = context.settings
    if settings.credentials.kind == "chain" and context.bucket is None:
        return skipped(f"there are no AWS keys, and files are kept elsewhere: {settings.storage_type}")
    return failed(f"there are no AWS credentials: {settings.credentials.origin} finds none", _SET_KEYS)


def _refused(context: Context, error: Exception) -> Finding:
    settings, fault = context.settings, fault_of(error)
    access = replace(context.access, endpoint_url=settings.sts_endpoint_url)
    known = translate(fault, "have keys", "", "", access)
    hint = known.hint.replace("MLFLOW_S3_ENDPOINT_URL", "MLFLOW_AWS_STS_ENDPOINT_URL")
    said = ": ".join(part for part in (fault.code, fault.text) if part)
    found = f"no keys can be had from {settings.credentials.origin}: {said}"
    if settings.credentials.role and not (settings.sts_endpoint_url or is_aws(settings.s3_endpoint_url)):
        hint = "set MLFLOW_AWS_STS_ENDPOINT_URL: the role was asked for at AWS, and the bucket's server is another"
    return failed(found, hint or _SET_KEYS, retryable=known.retryable)


def _expiry(context: Context) -> Finding:
    found: Any = context.noted("credentials.found")
    if not found.get_frozen_credentials().token:
        return ok("the keys have no end")
    renewed: datetime | None = getattr(found, "_expiry_time", None)
    if renewed is not None:
        return ok(f"until {_shown(renewed)}, and renewed before", until=renewed.isoformat())
    end = _end_told(context)
    if end is None:
        return skipped("a session token does not say when it ends; credentials.identity says whether it has")
    return _ends(end)


def _ends(end: datetime) -> Finding:
    left = end - datetime.now(UTC)
    remedy = "get a new MLFLOW_AWS_SESSION_TOKEN together with its two keys, or log in to the profile again"
    if left <= timedelta(0):
        return failed(f"the session token ended at {_shown(end)}", remedy, Evidence.TOLD, until=end.isoformat())
    if left < _SOON:
        minutes = int(left.total_seconds() // 60)
        return warning(f"the session token ends in {minutes} minutes and is not renewed", remedy, until=end.isoformat())
    return ok(f"until {_shown(end)}; it is not renewed", until=end.isoformat())


def _end_told(context: Context) -> datetime | None:
    """Return the end that stands beside keys of the environment or of a profile."""
    kind = context.settings.credentials.kind
    if kind == "global":
        return _time(context.environ.get(_ENDS_IN_ENVIRONMENT, ""))
    if kind != "profile":
        return None
    session: Any = context.noted("credentials.session") or context.settings.credentials.session()
    profile: Mapping[str, Any] = session._session.get_scoped_config()
    return next((end for name in _ENDS_IN_PROFILE if (end := _time(str(profile.get(name, ""))))), None)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _shown(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M %z")


CHECKS = (
    Check("credentials.complete", "Are key, secret and token there, and of one source?", _complete),
    Check("credentials.source", "Whose keys are used, and which are not?", _source, _NEEDS_SETTINGS),
    Check("credentials.usable", "Can a session be made, and does it have keys?", _usable, _NEEDS_SETTINGS, 7.0),
    Check("credentials.expiry", "How long do the keys last?", _expiry, _NEEDS_KEYS),
)
# It waits for the check of the server that it asks.
LAST = (
    Check(
        "credentials.identity",
        "Does the server know the keys, and whose are they?",
        identify,
        _NEEDS_KEYS,
        9.0,
        ("s3.endpoint", "env.proxy"),
    ),
)
