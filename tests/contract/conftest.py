"""Which backends a suite runs on, where not on all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.backend.cleanup.opening import open_cleanup
from holdfast.backend.cleanup.store import CleanupStore
from holdfast.backend.client import Connection
from holdfast.delivery import settling
from holdfast.testing.fixtures import PostgresAccess, database_with_tables

sys.path.insert(0, str(Path(__file__).parent))
from cleanup_scene import Scene


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the backends that a test's mark `backends` does not name."""
    left_out = [item for item in items if not _runs_on_its_backend(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _runs_on_its_backend(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("backends")
    params = getattr(getattr(item, "callspec", None), "params", {})
    return mark is None or params.get("tracking_uri") in (None, *mark.args)


@pytest.fixture(scope="session")
def shared_postgres_uri(postgres: PostgresAccess) -> str:
    """The URI of a database of the session, with MLflow's tables."""
    return database_with_tables(postgres)


@pytest.fixture
def postgres_uri(request: pytest.FixtureRequest) -> str:
    """A database of this test for clean-up, which looks at all of it; else one of the session, as behind "http"."""
    is_for_all = "connection" not in request.fixturenames
    uri: str = request.getfixturevalue("shared_postgres_uri" if is_for_all else "postgres_uri")
    return uri


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow because other tests keep it busy is not away."""
    monkeypatch.setattr(settling, "REACH_S", 20.0)


@pytest.fixture
def connection(tracking_uri: str) -> Connection:
    return Connection(tracking_uri)


@pytest.fixture
def store(connection: Connection) -> CleanupStore:
    return open_cleanup(connection)


@pytest.fixture
def scene(connection: Connection, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    import mlflow

    # MLflow looks up the source of a version in the store of the process, not in that of its client.
    mlflow.set_tracking_uri(connection.tracking_uri)
    yield Scene(connection.client, connection.client.create_experiment(unique), unique)
    mlflow.set_tracking_uri(None)
