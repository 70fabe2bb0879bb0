"""What goes wrong with a tracking store, sorted into `Refused`, `TooLarge` and `Unavailable`: here and nowhere else.

What is refused is thrown away by the delivery, so `Refused` is only what MLflow itself refuses, in
MLflow's own JSON and with a code that speaks of the request. Proxies, load balancers, login pages
and servers that are starting answer with any status and any text: all of that is `Unavailable`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from holdfast.core.sending import Refused, TooLarge, Unavailable

# Codes of mlflow.protos.databricks_pb2.ErrorCode; every other one, known or new, passes with time.
REFUSED_CODES = frozenset(
    {
        "ALREADY_EXISTS",
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE_TRANSITION",
        "MALFORMED_REQUEST",
        "NOT_FOUND",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
# Waiting alone does not mend these: a login, a right, a quota or another version of the server is needed.
PEOPLE_CODES = frozenset(
    {
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "QUOTA_EXCEEDED",
        "RESOURCE_LIMIT_EXCEEDED",
        "UNAUTHENTICATED",
    }
)
_PEOPLE_STATUSES = (401, 403, 407)
# These come from whatever stands before MLflow as well, so a code in the body does not count.
_PASSING_STATUSES = (408, 425, 429, 502, 503, 504)

_ABOUT_RUN = re.compile(
    r"Run with id=.* not found|Run '[^']*' not found|The run .* must be in the 'active' state"
    r"|Invalid value .* for parameter 'run_id' supplied|Invalid run ID",
    re.IGNORECASE,
)
# MLflow passes every error of the database that is no OperationalError on as BAD_REQUEST: also
# a full pool, a lost connection, or two writers of the same row. SQLAlchemy's texts show by their form.
_OF_DATABASE = re.compile(
    r"(?:\(raised as a result of [^)]*\)\s+)?\((?:\w+\.)+(?P<kind>\w+)\) "
    r"|.*sqlalche\.me/e/|.*\b(connection|transaction) is closed",
    re.S | re.I,
)
_DOUBLED = re.compile(r"UNIQUE constraint failed|UniqueViolation|duplicate key|Duplicate entry", re.IGNORECASE)
_FAULTS_OF_DATA = frozenset(
    {
        "CharacterNotInRepertoire",
        "CheckViolation",
        "DataError",
        "InvalidTextRepresentation",
        "NotNullViolation",
        "NumericValueOutOfRange",
        "StringDataRightTruncation",
        "UntranslatableCharacter",
    }
)
_ERRNO = re.compile(r"\[Errno -?\d+\] ([A-Z][\w ]+)")
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|TLS CA certificate|TLS certificate|key file"
)
_LONGEST_REASON = 600


class DoubledError(Unavailable):
    """Rows of the request are stored already, or being stored by somebody else, and MLflow has tripped over them."""


Redact = Callable[[str], str]


def answer_error(asked: str, status: int, headers: Mapping[str, str], body: bytes, redact: Redact) -> Exception:
    """Return the error for an answer that is not what was asked for.

    Args:
        asked: Method and path, for the reason.
        status: The HTTP status.
        headers: The answer's headers; `Retry-After` counts, as seconds and as a date.
        body: The answer's body, decompressed.
        redact: Hides secrets in the reason.

    Returns:
        `Refused`, `TooLarge` or `Unavailable`.
    """
    code, message = _mlflow_error(body)
    said = f"{code}: {message}" if code else _shown(body)
    reason = f"{asked}: HTTP {status} {said}".rstrip()
    wait = retry_after_s(headers.get("Retry-After"))
    if status == 413:
        return TooLarge(_cut(redact(reason)))
    if status in _PEOPLE_STATUSES or 300 <= status < 400:
        return Unavailable(_cut(redact(reason)), wait, needs_people=True)
    if code and status >= 400 and status not in _PASSING_STATUSES:
        error = code_error(code, message, reason, redact, wait)
    else:
        error = Unavailable(_cut(redact(reason)), wait)
    if isinstance(error, Unavailable):
        error.is_crash = status == 500
    return error


def code_error(code: str, message: str, reason: str, redact: Redact, wait_s: float | None = None) -> Exception:
    """Return the error for one of MLflow's error codes.

    Args:
        code: The name of the code.
        message: MLflow's message.
        reason: What the error shall say; secrets in it are masked.
        redact: Hides them.
        wait_s: How long the server asked to be left alone.
    """
    reason = _cut(redact(_without_sql(reason)))
    if code == "BAD_REQUEST" and _passes_in_database(message):
        return (DoubledError if _DOUBLED.search(_without_sql(message)) else Unavailable)(reason, wait_s)
    if code in REFUSED_CODES:
        return Refused(reason, about_run=_ABOUT_RUN.match(message) is not None)
    return Unavailable(reason, wait_s, needs_people=code in PEOPLE_CODES)


def trouble_error(asked: str, error: Exception, redact: Redact) -> Unavailable:
    """Return the error for a request that got no answer: no connection, none in time, one cut short."""
    root = _root(error)
    text = f"{asked}: {_said(root)}"
    # A URL, header or file that is wrong raises ValueError or OSError before anything is sent.
    needs_people = bool(_CERTIFICATE.search(text)) or isinstance(root, ValueError)
    return Unavailable(_cut(redact(text)), needs_people=needs_people)


def _said(error: BaseException) -> str:
    """Return what happened in few words: what the system says rather than the names of three layers above it."""
    found = _ERRNO.search(str(error))
    return found[1].strip().lower() if found else f"{type(error).__name__}: {error}"


def strange_answer(asked: str, why: object, redact: Redact) -> Unavailable:
    """Return the error for an answer with status 200 that MLflow does not give."""
    return Unavailable(_cut(redact(f"{asked}: the answer is not MLflow's ({why})")))


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header in either of its forms; None where it is missing or unreadable."""
    if not header:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def within(timeout_s: float, doing: str, call: Callable[[], None]) -> None:
    """Run `call` for at most this long, whatever it waits for: DNS, a driver, a server that drips.

    A call that takes longer goes on in a daemon thread until its own time limits end it.

    Raises:
        Unavailable: The time is over.
        Exception: What `call` raises.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="holdfast-check", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise Unavailable(f"{doing}: no answer within {timeout_s:g} s")
    if failures:
        raise failures[0]


def _mlflow_error(body: bytes) -> tuple[str, str]:
    """Return code and message where the body is an error of MLflow; two empty texts elsewhere."""
    try:
        said: Any = json.loads(body)
    except ValueError:
        return "", ""
    code = said.get("error_code") if isinstance(said, dict) else None
    return (code, str(said.get("message", ""))) if isinstance(code, str) else ("", "")


def _passes_in_database(message: str) -> bool:
    match = _OF_DATABASE.match(message)
    return match is not None and match["kind"] not in _FAULTS_OF_DATA and not _breaks_a_rule(message)


def _breaks_a_rule(message: str) -> bool:
    # SQLite and MySQL have one class for all of these; a row that exists twice passes with the second try.
    return bool(re.search(r"(NOT NULL|CHECK) constraint failed|cannot be null", message.partition("\n")[0]))


def _without_sql(text: str) -> str:
    """Return what a database said without the statement and the user's own values behind it."""
    return text.partition("\n[SQL")[0]


def _shown(body: bytes) -> str:
    text = body[:4000].decode("utf-8", "replace")
    return " ".join(re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", text).split())[:200]


def _root(error: BaseException) -> BaseException:
    """Return the innermost cause that requests and urllib3 have wrapped."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _root(inner)
    return error


def _cut(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
