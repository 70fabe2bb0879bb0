"""From MLflow's and the drivers' errors to Holdfast's."""

from __future__ import annotations

import pytest

from holdfast.backend.errors import translate
from holdfast.core.redaction import Redactor
from holdfast.errors import (
    BackendUnavailableError,
    HoldfastError,
    InvalidInputError,
    PermissionDeniedError,
)

SQLITE = "sqlite:////srv/mlflow.db"


class _MlflowError(Exception):
    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.error_code = code


def _translated(text: str, code: str = "TEMPORARILY_UNAVAILABLE", uri: str = SQLITE) -> HoldfastError:
    return translate(_MlflowError(text, code), "log a metric", uri, Redactor())


@pytest.mark.parametrize("text", ["attempt to write a readonly database", "unable to open database file"])
def test_a_sqlite_file_that_may_not_be_written(text: str) -> None:
    error = _translated(f"(sqlite3.OperationalError) {text}\n[SQL: INSERT INTO metrics]")
    assert type(error) is PermissionDeniedError
    assert not error.retryable
    assert "chmod u+rw /srv/mlflow.db; chmod u+rwx /srv" in error.hint


def test_a_locked_sqlite_file_may_be_tried_again() -> None:
    error = _translated("(sqlite3.OperationalError) database is locked")
    assert type(error) is BackendUnavailableError
    assert error.retryable
    assert "many writers" in error.hint


def test_other_failures_of_sqlite_blame_no_other_process() -> None:
    error = _translated("(sqlite3.OperationalError) disk I/O error")
    assert type(error) is BackendUnavailableError
    assert "df -h '/srv'" in error.hint


def test_a_users_own_words_are_no_diagnosis() -> None:
    said = "Param with key='note' was already logged with value='password authentication is fine'"
    assert type(_translated(f"{said} database is gone", "INVALID_PARAMETER_VALUE")) is InvalidInputError
    values = "(psycopg.errors.DataError) too long\n[SQL: INSERT]\n[parameters: ('Access denied for user',)]"
    assert type(_translated(values, "BAD_REQUEST", "postgresql://h/d")) is InvalidInputError
