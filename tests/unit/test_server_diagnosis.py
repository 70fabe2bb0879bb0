"""One cause, one error, one remedy."""

from __future__ import annotations

import pytest

from holdfast.server.diagnosis import diagnose, last_lines

SAID = {
    'FATAL:  password authentication failed for user "me"': ("refuses the user 'me'", "psql -h db -p 5433 -U me runs"),
    "fe_sendauth: no password supplied": ("refuses the user 'me'", "MLFLOW_BACKEND_STORE_URI"),
    'FATAL:  database "runs" does not exist': ("no database 'runs'", "createdb -h db -p 5433 -U me runs"),
    "permission denied for schema public": ("may not make tables", "GRANT CREATE"),
    "permission denied for table trace_info": ("may not do this", "GRANT SELECT"),
    "Detected out-of-date database schema (found version a1, but expected b2)": (
        "found version a1",
        "db upgrade",
    ),
    "Can't locate revision identified by 'c3'": ("newer MLflow", "pip install --upgrade mlflow"),
    "ModuleNotFoundError: No module named 'psycopg2'": ("psycopg2", "postgresql+psycopg"),
    "ModuleNotFoundError: No module named 'MySQLdb'": ("MySQLdb", "pip install mysqlclient"),
    "NoSuchModuleError: Can't load plugin: sqlalchemy.dialects:postgresql.nope": ("postgresql.nope", "psycopg"),
    "sqlite3.DatabaseError: file is not a database": ("no SQLite database", "backup"),
    "sqlite3.OperationalError: attempt to write a readonly database": ("opened for writing", "chmod"),
    "sqlite3.OperationalError: database is locked": ("Another process", "PostgreSQL"),
    "[Errno 98] error while attempting to bind: address already in use": ("port", "--port"),
    "failed to resolve host 'db': Name or service not known": ("host name 'db'", "correct the host"),
    "FATAL:  the database system is starting up": ("not ready", "pg_isready -h db -p 5433"),
    "FATAL:  sorry, too many clients already": ("no connection left", "max_connections"),
    "connection failed: Connection refused\n\tIs the server running": ("cannot be reached at db:5433", "pg_isready"),
}


@pytest.mark.parametrize("said", SAID)
def test_each_cause_has_its_remedy(said: str, canary: str) -> None:
    error = diagnose(f"Traceback (most recent call last):\n  ...\n{said}\n", f"postgresql://me:{canary}@db:5433/runs")
    assert error is not None
    message, hint = SAID[said]
    assert message in error.message
    assert hint in error.hint
    assert canary not in str(error)


def test_the_unknown_stays_unknown() -> None:
    assert diagnose("ZeroDivisionError: division by zero", "sqlite:///x.db") is None


def test_only_what_may_pass_is_retryable() -> None:
    uri = "postgresql://me@db/runs"
    refused, unreachable = diagnose("password authentication failed", uri), diagnose("Connection refused", uri)
    assert refused is not None
    assert unreachable is not None
    assert (refused.retryable, unreachable.retryable) == (False, True)


def test_last_lines_are_those_with_text() -> None:
    assert last_lines("a\n\nb\n \nc\n", 2) == "b\nc"
