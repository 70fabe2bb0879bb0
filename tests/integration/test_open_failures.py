"""A database that cannot be opened is told of within seconds, in one line, with what mends it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.backend import database
from holdfast.backend.client import Connection
from holdfast.core.redaction import Redactor
from holdfast.errors import (
    BackendError,
    BackendUnavailableError,
    HoldfastError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
)
from holdfast.testing import PostgresAccess, free_port


def refused(uri: str, kind: type[HoldfastError], within_s: float = 15) -> HoldfastError:
    start = time.monotonic()
    with pytest.raises(HoldfastError) as caught:
        _ = Connection(uri, redact=Redactor(["unused-secret"])).client
    assert time.monotonic() - start < within_s
    assert type(caught.value) is kind, caught.value
    return caught.value


def test_a_wrong_password(postgres: PostgresAccess, postgres_uri: str, canary: str) -> None:
    error = refused(postgres_uri.replace(postgres.password, canary), PermissionDeniedError)
    assert "wrong or missing password" in error.message
    assert "psql -h" in error.hint
    assert "MLFLOW_TRACKING_URI" in error.hint
    assert canary not in str(error)
    assert not error.retryable


def test_a_database_that_is_not_there(postgres: PostgresAccess) -> None:
    error = refused(postgres.uri("nowhere"), NotFoundError)
    assert "has no database 'nowhere'" in error.message
    assert "createdb -h" in error.hint


def test_tls_where_the_server_has_none(postgres_uri: str) -> None:
    error = refused(f"{postgres_uri}?sslmode=require", BackendError)
    assert "TLS" in error.message
    assert "sslmode" in error.hint


def test_nobody_listens(canary: str) -> None:
    error = refused(f"postgresql+psycopg://me:{canary}@127.0.0.1:{free_port()}/db", BackendUnavailableError)
    assert error.retryable


def test_the_second_host_is_not_there_either(canary: str) -> None:
    hosts = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    error = refused(f"postgresql+psycopg://me:{canary}@/db?host={hosts}", BackendUnavailableError)
    assert error.retryable


def test_a_driver_that_is_missing(postgres_uri: str) -> None:
    error = refused(f"mysql://me@127.0.0.1:{postgres_uri.rsplit(':', 1)[1]}", MissingDependencyError)
    assert "MySQLdb" in error.message


def test_mlflow_skinny_alone_opens_no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    error = refused(f"sqlite:///{tmp_path}/new.db", MissingDependencyError)
    assert error.hint == "pip install 'holdfast[server]'"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but some text that is long enough\n" * 9)
    assert "no SQLite database" in refused(f"sqlite:///{tmp_path}/text.db", BackendError).message


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    error = refused(f"sqlite:///{tmp_path}", PermissionDeniedError)
    assert "chmod" in error.hint


def test_a_locked_file_may_be_tried_again(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_SQLITE_WAIT_S", 0)
    holder = sqlite3.connect(sqlite_uri.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        error = refused(sqlite_uri, BackendUnavailableError)
    finally:
        holder.close()
    assert error.retryable
    assert "PostgreSQL for many writers" in error.hint


def test_the_command_tells_it_in_two_lines(postgres: PostgresAccess, postgres_uri: str, canary: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "runs", "list"],
        env={**os.environ, "MLFLOW_TRACKING_URI": postgres_uri.replace(postgres.password, canary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["error", "hint"], done.stderr
