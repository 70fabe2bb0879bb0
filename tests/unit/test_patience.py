"""Calls that a database turns back are made again; all else is passed on at once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from holdfast.backend import patience
from holdfast.backend.patience import Patient, patiently


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Return a call that fails so many times, and then returns how often it was made."""
    made = 0

    def call() -> int:
        nonlocal made
        made += 1
        if made <= times:
            raise error
        return made

    return call


LOCKED = MlflowException("(sqlite3.OperationalError) database is locked\n[SQL: …", TEMPORARILY_UNAVAILABLE)
DEADLOCK = MlflowException("(psycopg.errors.DeadlockDetected) deadlock detected", TEMPORARILY_UNAVAILABLE)


@pytest.mark.parametrize("error", [LOCKED, DEADLOCK])
def test_what_is_turned_back_is_made_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.001)
    assert patiently(failing(5, error)) == 6
    monkeypatch.setattr(patience, "LIMIT_S", 0.05)
    with pytest.raises(MlflowException, match=r"locked|deadlock"):
        patiently(failing(10_000, error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        MlflowException("Changing param values is not allowed: 'database is locked'", INVALID_PARAMETER_VALUE),
        MlflowException("(x) disk full\n[SQL: …]\n[parameters: 'deadlock detected']", TEMPORARILY_UNAVAILABLE),
    ],
)
def test_all_else_is_not(error: Exception) -> None:
    with pytest.raises(type(error)):
        patiently(failing(1, error))


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mlflow.store.db.utils")

    class Store:
        def read(self, value: int) -> int:
            logger.error("SQLAlchemy database error: %s", LOCKED)
            logger.error("something else")
            return value

    assert Patient(Store()).read(3) == 3
    assert [record.getMessage() for record in caplog.records if record.name == logger.name] == ["something else"]
