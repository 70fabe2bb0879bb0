"""pytest fixtures over the servers of this package: `pytest_plugins = ["holdfast.testing.fixtures"]`.

Servers start when a test first asks for them and serve the whole session. With pytest-xdist all
workers share one of each: the first to need it starts it and ends it after the others have left.
MLflow's tables are made once a session; each test gets a copy of them.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from holdfast.errors import ServerError
from holdfast.server import ServerOptions
from holdfast.server.diagnosis import last_lines
from holdfast.server.options import redactor_for, server_environment
from holdfast.testing.certificates import ServerCertificate, make_certificate
from holdfast.testing.mlflow_server import LocalMlflowServer
from holdfast.testing.postgres import PostgresAccess, PostgresServer
from holdfast.testing.rclone import RcloneAccess, RcloneServer
from holdfast.testing.s3 import Account, S3Access, S3Server
from holdfast.testing.swift import SwiftAccess, SwiftServer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)
else:
    T = TypeVar("T")

_TEMPLATE = "mlflow_template"
# MLflow has no command that only makes the tables: `mlflow db upgrade` wants them there, and opening
# the store also adds an experiment whose files would lie with the template.
_MAKE_TABLES = """
import os
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
_initialize_tables(create_sqlalchemy_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]))
"""


@dataclasses.dataclass(frozen=True)
class RunningMlflow:
    """A running MLflow server.

    Attributes:
        url: Its tracking URI.
        artifacts: The folder where it keeps the files that clients send.
    """

    url: str
    artifacts: str


def database_with_tables(postgres: PostgresAccess, name: str | None = None) -> str:
    """Make a database with the tables of the installed MLflow on the session's server, and return its URI."""
    return postgres.create_database(name, template=_TEMPLATE)


def _account(fields: dict[str, Any]) -> Account:
    """Return an account as the worker that started the server wrote it; JSON knows no tuples."""
    return Account(**{**fields, "buckets": tuple(fields["buckets"])})


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PostgresAccess:
    """A PostgreSQL server for the session. A test that stops or kills one starts its own `PostgresServer`."""

    @contextmanager
    def serve() -> Iterator[PostgresAccess]:
        with PostgresServer() as server:
            make_tables(server.create_database(_TEMPLATE))
            yield server.access

    return shared(request.config, tmp_path_factory, "postgres", serve, lambda fields: PostgresAccess(**fields))


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> S3Access:
    """An S3 server for the session, which checks keys. Use account and bucket names that no other test uses."""

    @contextmanager
    def serve() -> Iterator[S3Access]:
        with S3Server() as server:
            yield server.access

    def restore(fields: dict[str, Any]) -> S3Access:
        return S3Access(fields["endpoint_url"], _account(fields["admin"]))

    return shared(request.config, tmp_path_factory, "s3", serve, restore)


@pytest.fixture(scope="session")
def swift_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SwiftAccess:
    """An S3 server for the session, which checks keys and checksums. Use account names that no other test uses."""

    @contextmanager
    def serve() -> Iterator[SwiftAccess]:
        with SwiftServer() as server:
            yield server.access

    return shared(request.config, tmp_path_factory, "swift", serve, lambda fields: SwiftAccess(**fields))


@pytest.fixture(scope="session")
def rclone_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RcloneAccess:
    """An awkward S3 server for the session, with one user. Use bucket names that no other test uses."""

    @contextmanager
    def serve() -> Iterator[RcloneAccess]:
        with RcloneServer() as server:
            yield server.access

    def restore(fields: dict[str, Any]) -> RcloneAccess:
        return RcloneAccess(fields["endpoint_url"], _account(fields["account"]))

    return shared(request.config, tmp_path_factory, "rclone", serve, restore)


@pytest.fixture(scope="session")
def server_certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    """A certificate for servers on this machine, of an authority that nobody trusts unasked."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def mlflow_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresAccess
) -> RunningMlflow:
    """An MLflow server for the session, on PostgreSQL; files go through it. Use names that no other test uses."""

    @contextmanager
    def serve() -> Iterator[RunningMlflow]:
        artifacts = tmp_path_factory.mktemp("mlflow-artifacts")
        backend = database_with_tables(postgres)
        with LocalMlflowServer(ServerOptions(backend, artifacts_destination=str(artifacts), port=0)) as server:
            yield RunningMlflow(server.url, str(artifacts))

    return shared(request.config, tmp_path_factory, "mlflow", serve, lambda fields: RunningMlflow(**fields))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of the installed MLflow and nothing in them; to be copied, not used."""
    folder = session_folder(tmp_path_factory)
    path = folder / "mlflow-template.db"
    with locked(folder / "mlflow-template.lock"):
        if not path.exists():
            made = folder / "mlflow-template.db.part"
            made.unlink(missing_ok=True)
            make_tables(f"sqlite:///{made}")
            made.rename(path)
    return path


@pytest.fixture
def sqlite_uri(sqlite_template: Path, tmp_path: Path) -> str:
    """The URI of a SQLite database of this test, with MLflow's tables."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'mlflow.db')}"


@pytest.fixture
def postgres_uri(postgres: PostgresAccess) -> Iterator[str]:
    """The URI of a PostgreSQL database of this test, with MLflow's tables; dropped after it."""
    name = f"test_{secrets.token_hex(6)}"
    yield database_with_tables(postgres, name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql", "http"])
def tracking_uri(request: pytest.FixtureRequest) -> str:
    """A tracking URI, once of each kind. Behind "http" is one server for the session: use names of your own."""
    if request.param == "http":
        server: RunningMlflow = request.getfixturevalue("mlflow_server")
        return server.url
    uri: str = request.getfixturevalue("sqlite_uri" if request.param == "sqlite" else "postgres_uri")
    return uri


def make_tables(uri: str) -> None:
    """Make the tables of the installed MLflow in an empty database, in a process of its own.

    Raises:
        ServerError: MLflow could not.
    """
    options = ServerOptions(uri)
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MAKE_TABLES],
        env=server_environment(options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"MLflow's tables cannot be made:\n{redactor_for(options)(last_lines(done.stderr))}")


def shared(
    config: pytest.Config,
    factory: pytest.TempPathFactory,
    name: str,
    serve: Callable[[], AbstractContextManager[T]],
    restore: Callable[[dict[str, Any]], T],
) -> T:
    """Return what `serve` yields, started once for all workers of a session.

    Each worker holds a shared file lock, which the kernel takes back however it ends; the one that
    started the server ends it once it gets that lock alone. That happens at the end of the worker,
    where no time limit of a test is running.

    Args:
        config: Of the worker; `serve` is left when it ends.
        factory: Whose folder, common to all workers, holds the locks.
        name: Of the server; names the files.
        serve: Starts the server; yields a dataclass of plain fields that says how to reach it.
        restore: Makes that dataclass from its fields as JSON, in the other workers.
    """
    folder = session_folder(factory)
    state, mutex = folder / f"{name}.json", folder / f"{name}.lock"
    stack = ExitStack()
    config.add_cleanup(stack.close)
    with locked(mutex):
        if state.exists():
            users, fields = json.loads(state.read_text())
            stack.enter_context(locked(folder / users, fcntl.LOCK_SH))
            return restore(fields)
        access = stack.enter_context(serve())
        users = f"{name}-{secrets.token_hex(4)}.users"
        stack.callback(_wait_for_others, state, mutex, folder / users)
        state.touch(mode=0o600)
        state.write_text(json.dumps([users, dataclasses.asdict(access)]))
        return access


def _wait_for_others(state: Path, mutex: Path, users: Path) -> None:
    with locked(mutex):
        state.unlink()  # who comes now starts a server of its own
    with locked(users):
        pass


@contextmanager
def locked(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a file lock of `kind`, for which this waits; the kernel frees it if the process dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, kind)
        yield
    finally:
        os.close(fd)


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder that all workers of this session share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
