"""MLflow's errors, and those of what it stands on, turned into Holdfast's: here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.backend.diagnosis import diagnose
from holdfast.core.redaction import Redactor
from holdfast.core.uris import is_database, mask_uri, scheme_of, sqlite_path
from holdfast.errors import (
    AlreadyExistsError,
    BackendError,
    BackendUnavailableError,
    HoldfastError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
)

# MLflow's error codes (mlflow.protos.databricks_pb2.ErrorCode), by name.
_BY_CODE: dict[str, type[HoldfastError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "ENDPOINT_NOT_FOUND": BackendError,
    "RESOURCE_ALREADY_EXISTS": AlreadyExistsError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "INVALID_PARAMETER_VALUE": InvalidInputError,
    "BAD_REQUEST": InvalidInputError,
    "MALFORMED_REQUEST": InvalidInputError,
    "INVALID_STATE": BackendError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "UNAUTHENTICATED": PermissionDeniedError,
    "CUSTOMER_UNAUTHORIZED": PermissionDeniedError,
    "TEMPORARILY_UNAVAILABLE": BackendUnavailableError,
    "SERVICE_UNDER_MAINTENANCE": BackendUnavailableError,
    "REQUEST_LIMIT_EXCEEDED": BackendUnavailableError,
    "DEADLINE_EXCEEDED": BackendUnavailableError,
    "RESOURCE_EXHAUSTED": BackendUnavailableError,
    "RESOURCE_CONFLICT": BackendError,
    "ABORTED": BackendError,
    "CANCELLED": BackendError,
    "NOT_IMPLEMENTED": BackendError,
    "INTERNAL_ERROR": BackendError,
}
_UNREACHABLE = re.compile(
    r"max retries exceeded|connection (refused|reset|aborted|timed out|error)|failed to establish"
    r"|name or service not known|could not translate host|temporary failure in name resolution|timed? ?out"
    r"|could not connect|connection to server .* failed|server closed the connection|remote end closed"
    r"|failed with error code (429|50[234])|too many \d+ error responses|database is locked|terminating connection",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"out-of-date database schema|can't locate revision", re.I)
_TABLE = re.compile(r"no such table|relation .* does not exist|table .* doesn't exist", re.I)

_NUMBER_AS_TEXT = re.compile(r"operator does not exist: integer \S+ character varying")


@contextmanager
def translated(doing: str, uri: str, redact: Redactor) -> Iterator[None]:
    """Turn whatever MLflow raises inside into one of Holdfast's errors.

    Args:
        doing: What was being done, to which thing: `log 3 metrics to run 1f2e`.
        uri: The tracking or registry URI that was asked.
        redact: Hides the project's secrets in the text of the error.

    Raises:
        HoldfastError: Always one of its kinds; the original stands behind it only as type and
            redacted text, since its traceback may hold the URI with its password.
    """
    try:
        yield
    except HoldfastError:
        raise
    except Exception as error:
        raise translate(error, doing, uri, redact) from None


def translate(error: Exception, doing: str, uri: str, redact: Redactor) -> HoldfastError:
    """Return the Holdfast error for what MLflow, SQLAlchemy or requests raised."""
    text = redact(_first_lines(str(error) or type(error).__name__))
    where = mask_uri(uri)
    known = _diagnosed(error, uri)
    if known is not None:
        return type(known)(redact(f"Cannot {doing}: {known.message}"), redact(known.hint), known.retryable)
    if isinstance(error, ImportError):
        return MissingDependencyError(f"Cannot {doing} on {where}: {text}", "pip install 'holdfast[server]'")
    of_tables = _about_tables(doing, where, text)
    if of_tables is not None:
        return of_tables
    kind = _kind_of(error, text)
    message = f"Cannot {doing} on {where}: {text}"
    if kind is BackendUnavailableError:
        return BackendUnavailableError(message, reach_hint(uri), retryable=True)
    return kind(message, _HINTS.get(kind, ""))


def _about_tables(doing: str, where: str, text: str) -> HoldfastError | None:
    if _SCHEMA.search(text):
        return BackendError(
            f"Cannot {doing}: the database {where} has another schema than this MLflow.", f"mlflow db upgrade {where}"
        )
    if _TABLE.search(text):
        return BackendError(
            f"Cannot {doing}: the database {where} lacks a table of MLflow: {text}",
            "`holdfast doctor --only server.schema` says whether the database is an older MLflow's (then "
            f"`mlflow db upgrade {where}`, after a backup); if not, bring it back from a backup",
        )
    if _NUMBER_AS_TEXT.search(text):
        return BackendError(
            f"Cannot {doing} on {where}: {text}",
            "MLflow before 3.2 needs the older driver: pip install psycopg2-binary, and postgresql+psycopg2://… as URI",
        )
    return None


# The codes under which MLflow passes on what a database says; elsewhere the same words may be a user's own.
_CODES_OF_DATABASES = (None, "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST", "INTERNAL_ERROR")
_HINTS: dict[type[HoldfastError], str] = {
    NotFoundError: "look it up with `holdfast runs list` or `holdfast models list`",
    PermissionDeniedError: "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
}


def _diagnosed(error: Exception, uri: str) -> HoldfastError | None:
    if not is_database(uri) or getattr(error, "error_code", None) not in _CODES_OF_DATABASES:
        return None
    said = str(error).partition("\n[SQL")[0]  # what follows holds the user's own values
    return diagnose(said, uri)


def _kind_of(error: Exception, text: str) -> type[HoldfastError]:
    code = getattr(error, "error_code", None)
    kind = _BY_CODE.get(code) if isinstance(code, str) else None
    if re.search(r"error code 401|error code 403|password authentication failed", text):
        return PermissionDeniedError
    if kind in (None, BackendError, InvalidInputError) and _UNREACHABLE.search(text):
        return BackendUnavailableError
    return kind or BackendError


def reach_hint(uri: str) -> str:
    """Return what to do where a store cannot be reached."""
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        return "start the server (`holdfast up`) or mend MLFLOW_TRACKING_URI"
    if scheme == "sqlite":
        path = sqlite_path(uri)
        return f"see whether file and disk are in order: `ls -l '{path}'; df -h '{path.parent if path else '.'}'`"
    return "start the database, or mend MLFLOW_TRACKING_URI"


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("[SQL", "[parameters", "(Background on"))]
    return " ".join(kept[:3])[:600]
