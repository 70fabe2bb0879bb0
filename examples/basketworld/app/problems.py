"""Turns errors into answers: one form, {error, hint}, and a status that fits."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from holdfast.errors import (
    BackendUnavailableError,
    HoldfastError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
)
from holdfast.logs import get_logger

from .messages import Problem
from .sessions import TooManySessionsError
from .workers import BusyError

_log = get_logger(__name__)
_STATUSES: tuple[tuple[type[HoldfastError], int], ...] = (
    (NotFoundError, 404),
    (InvalidInputError, 422),
    (PermissionDeniedError, 403),
    (TooManySessionsError, 503),
    (BusyError, 503),
    (BackendUnavailableError, 503),
    (MissingDependencyError, 501),
)
_FORM = "see /api/openapi.json for the form"
_HINTS = {
    400: _FORM,
    404: "see /api/openapi.json for what there is",
    405: "see /api/openapi.json for the methods",
}


def status_of(error: HoldfastError) -> int:
    """Return the HTTP status of an error; 502 where the tracking server or the files are to blame."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)


def problem_of(error: Exception) -> Problem:
    """Return what a caller is told. Of an unforeseen error it is nothing but that: the log has the rest."""
    if isinstance(error, HoldfastError):
        return Problem(error=error.message, hint=error.hint)
    if isinstance(error, RequestValidationError | ValidationError):
        return Problem(error=_said(error.errors()), hint=_FORM)
    _log.error("unforeseen", error_type=type(error).__name__, exc_info=error)
    return Problem(error="Something went wrong in the server.", hint="its log says what")


def answer(status: int, error: str, hint: str = "") -> JSONResponse:
    """Return an answer that tells of a problem."""
    return JSONResponse({"error": error, "hint": hint}, status)


def add_handlers(app: FastAPI) -> None:
    """Make an app answer every error in the one form."""
    app.add_exception_handler(HoldfastError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unforeseen)


async def _refused(_: Request, error: Exception) -> Response:
    told = problem_of(error)
    return answer(status_of(error) if isinstance(error, HoldfastError) else 500, told.error, told.hint)


async def _malformed(_: Request, error: Exception) -> Response:
    told = problem_of(error)
    return answer(422, told.error, told.hint)


async def _plain(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "Something went wrong."
    return answer(status, detail, _HINTS.get(status, ""))


async def _unforeseen(_: Request, error: Exception) -> Response:
    told = problem_of(error)
    return answer(500, told.error, told.hint)


def _said(errors: Any) -> str:
    """Name each field and what it lacks; never what was sent."""
    parts = [(_where(one), one["msg"]) for one in errors]
    return "; ".join(f"{where}: {what}" if where else str(what) for where, what in parts)


def _where(one: Any) -> str:
    """Name a field; a body that is no JSON has none, but the number of a character."""
    is_json = one["type"] != "json_invalid"
    return ".".join(str(part) for part in one["loc"] if part != "body") if is_json else ""
