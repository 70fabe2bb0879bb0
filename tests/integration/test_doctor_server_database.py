"""The doctor's checks of a tracking database, on real databases."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from relaying import assert_found, bad, examined, result_of

from holdfast.backend.capacity import Capacity, capacity_of, most_taken
from holdfast.backend.probe import experiment_in
from holdfast.backend.rest_sender import RestSender
from holdfast.backend.run_probe import NAME
from holdfast.backend.schema import schema_of
from holdfast.core.uris import sqlite_path
from holdfast.doctor.check import Status
from holdfast.doctor.context import Context
from holdfast.doctor.server import database
from holdfast.server.ports import free_port
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.postgres import PostgresAccess

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED
_NOBODY = 65534
# An earlier one of MLflow 2, which every release since knows.
_EARLIER = "f5a4f2784254"


def uri(address: str, **settings: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": address, **settings}


def rows(address: str) -> dict[str, list[Any]]:
    """Return everything that a database has of experiments and runs."""
    from sqlalchemy import text

    from holdfast.backend.database import connected

    with connected(address, 5) as connection:
        tables = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags", "experiment_tags")
        return {name: sorted(map(str, connection.execute(text(f"SELECT * FROM {name}")))) for name in tables}  # noqa: S608


# -- healthy --------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["sqlite_uri", "postgres_uri"])
def test_a_healthy_database_and_nothing_left_in_it(request: pytest.FixtureRequest, fixture: str) -> None:
    address: str = request.getfixturevalue(fixture)
    before = rows(address)
    report = examined(uri(address, HOLDFAST_DELIVERY="journal"))
    assert bad(report) == []
    run = next(result for result in report.results if result.check.name == "server.run")
    assert (run.finding.status, "read back" in run.finding.found) == (OK, True)
    assert rows(address) == before


def test_a_database_that_is_still_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    report = examined(uri(f"sqlite:///{path}"), "server", "config")
    assert bad(report) == []
    assert_found(result_of("server.reachable", uri(f"sqlite:///{path}")), OK, "is made at the first run", "")
    assert not path.parent.exists()


def test_an_empty_database_gets_its_tables_at_the_first_run(postgres: PostgresAccess, tmp_path: Path) -> None:
    address = postgres.create_database()
    assert bad(examined(uri(address), "server", "config")) == []
    assert_found(result_of("server.schema", uri(address)), OK, "no tables of MLflow yet", "")


# -- a database that cannot be used ---------------------------------------------------------


def _other(address: str, old: str, new: str) -> str:
    assert old in address
    return address.replace(old, new)


UNUSABLE: dict[str, tuple[Callable[[PostgresAccess, str], str], str, str]] = {
    "wrong password": (
        lambda pg, canary: _other(pg.uri("mlflow_template"), pg.password, canary),
        "refuses the user 'mlflow': wrong or missing password",
        "correct user and password in MLFLOW_TRACKING_URI",
    ),
    "unknown database": (
        lambda pg, _: pg.uri("not_there"),
        "has no database 'not_there'",
        "createdb -h 127.0.0.1",
    ),
    "nobody listening": (
        lambda pg, _: _other(pg.uri("x"), str(pg.port), str(free_port("127.0.0.1"))),
        "Nobody answers at postgresql",
        "start the database, or correct host and port in MLFLOW_TRACKING_URI",
    ),
    "TLS that the server lacks": (
        lambda pg, _: f"{pg.uri('mlflow_template')}?sslmode=require",
        "server does not support SSL",
        "correct sslmode and sslrootcert",
    ),
    "unknown host": (
        lambda pg, _: _other(pg.uri("x"), "127.0.0.1", "no-such-host.invalid"),
        "Nobody answers at postgresql",
        "correct host and port in MLFLOW_TRACKING_URI",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_postgresql_that_cannot_be_used(postgres: PostgresAccess, case: str, canary: str) -> None:
    make, found, remedy = UNUSABLE[case]
    result = result_of("server.reachable", uri(make(postgres, canary)))
    assert_found(result, FAILED, found, remedy)
    assert canary not in str(result)


def test_a_postgresql_that_swallows_everything(postgres: PostgresAccess) -> None:
    with FaultProxy(f"127.0.0.1:{postgres.port}", raw=True) as proxy:
        proxy.black_hole()
        address = _other(postgres.uri("mlflow_template"), f"127.0.0.1:{postgres.port}", proxy.address)
        result = result_of("server.reachable", uri(address))
    assert_found(result, FAILED, "cannot be reached at 127.0.0.1", "correct host and port in MLFLOW_TRACKING_URI")
    assert result.took_s < 30  # and not the minute that the check has here


class Absent:
    """Lets a package look as if it were not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes a package away until the end of the test."""

    def take(package: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])

    return take


ABSENT: dict[str, tuple[str, str, str, str]] = {
    "SQLAlchemy, no file yet": ("sqlalchemy", "sqlite:///none.db", "is not installed: sqlalchemy", "holdfast[server]"),
    "alembic": ("alembic", "sqlite:///none.db", "is not installed: alembic", "pip install 'holdfast[server]'"),
    "the driver": ("psycopg", "postgresql+psycopg://ann@127.0.0.1:9/x", "The driver psycopg", "holdfast[server]"),
    "another driver": ("none", "mysql+pymysql://ann@127.0.0.1:9/x", "The driver pymysql", "pip install pymysql"),
    "a driver for asyncio": (
        "none",
        "postgresql+asyncpg://ann@127.0.0.1:9/x",
        "asyncpg of postgresql+asyncpg://ann@127.0.0.1:9/x is one for asyncio",
        "write postgresql+psycopg://ann@127.0.0.1:9/x in MLFLOW_TRACKING_URI",
    ),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_opens_the_database_is_not_installed(case: str, without: Callable[[str], None]) -> None:
    package, address, found, remedy = ABSENT[case]
    context = Context(environ=uri(address))  # what is imported at first is not of this test
    assert context.settings.tracking_uri
    without(package)
    assert_found(result_of("server.reachable", uri(address)), FAILED, found, remedy)
    report = examined(uri(address), "server.version")
    assert report.failures[0].check.name == "server.reachable", str(report)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("not a database, and long enough to be seen as none\n" * 40)
    result = result_of("server.reachable", uri(f"sqlite:///{path}"))
    assert_found(result, FAILED, "is a file, but no SQLite database", "name another file in MLFLOW_TRACKING_URI")


def test_a_folder_where_no_database_can_be_made() -> None:
    result = result_of("server.reachable", uri("sqlite:////proc/holdfast/mlflow.db"))
    assert_found(result, FAILED, "cannot be made in /proc", "make /proc writable for this user")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be a user without rights, where the tests run as root, who has every right."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_database_that_is_read_only(sqlite_template: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hf-ro-"))
    path = Path(shutil.copy(sqlite_template, folder / "mlflow.db"))
    result_of("server.run", uri(f"sqlite:///{path}"))  # what is imported meanwhile is readable for the owner only
    path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    folder.chmod(0o555)
    try:
        with somebody_else():
            result = result_of("server.run", uri(f"sqlite:///{path}"), start=folder)
        assert_found(result, FAILED, "cannot be opened for writing", f"chmod u+rw {path}")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_database_that_somebody_holds(sqlite_uri: str) -> None:
    with closing(sqlite3.connect(sqlite_path(sqlite_uri) or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = result_of("server.run", uri(sqlite_uri))
    assert_found(result, FAILED, "Another process is writing to", "end the other process, or use PostgreSQL")
    assert result.took_s < 30  # and not the minute that the check has here


# -- its tables, its connections ------------------------------------------------------------

REVISIONS: dict[str, tuple[str, str, str]] = {
    "behind": (_EARLIER, "steps behind MLflow", "mlflow db upgrade '"),
    "ahead": ("0123456789ab", "made by a newer MLflow than", "-m pip install --upgrade mlflow"),
}


@pytest.mark.parametrize("case", REVISIONS)
@pytest.mark.parametrize("fixture", ["sqlite_uri", "postgres_uri"])
def test_tables_of_another_release(request: pytest.FixtureRequest, fixture: str, case: str) -> None:
    revision, found, remedy = REVISIONS[case]
    address: str = request.getfixturevalue(fixture)
    set_revision(address, revision)
    before = rows(address)
    result = result_of("server.schema", uri(address))
    assert_found(result, FAILED, found, remedy)
    assert ("****" in result.finding.remedy) is (fixture == "postgres_uri" and case == "behind")
    assert_found(result_of("server.run", uri(address)), SKIPPED, "see server.schema", "")
    assert rows(address) == before
    assert schema_of(address, 3).found == revision, "nothing may be migrated unasked"


def test_a_database_that_does_not_say_its_release(sqlite_uri: str) -> None:
    for change in ("DELETE FROM alembic_version", "DROP TABLE alembic_version"):
        with closing(sqlite3.connect(sqlite_path(sqlite_uri) or "")) as database:
            database.execute(change)
            database.commit()
        result = result_of("server.schema", uri(sqlite_uri))
        assert_found(result, FAILED, "does not say of which release", "from a backup")
        assert_found(result_of("server.run", uri(sqlite_uri)), SKIPPED, "see server.schema", "")
    with closing(sqlite3.connect(sqlite_path(sqlite_uri) or "")) as database:
        database.executescript(result.finding.remedy.partition("say so: ")[2])
    assert_found(result_of("server.schema", uri(sqlite_uri)), OK, "the tables are those of MLflow", "")


@pytest.mark.parametrize("fixture", ["sqlite_uri", "postgres_uri"])
def test_a_table_that_is_missing(request: pytest.FixtureRequest, fixture: str) -> None:
    from sqlalchemy import text

    from holdfast.backend.database import connected

    address: str = request.getfixturevalue(fixture)
    with connected(address, 5) as connection, connection.begin():
        connection.execute(text("DROP TABLE latest_metrics"))
    result = result_of("server.schema", uri(address))
    assert_found(result, FAILED, "table latest_metrics is missing", "bring the database back from a backup")
    assert result.finding.details["missing"] == ["latest_metrics"]
    assert_found(result_of("server.run", uri(address)), SKIPPED, "see server.schema", "")


def set_revision(address: str, revision: str) -> None:
    from sqlalchemy import text

    from holdfast.backend.database import connected

    with connected(address, 5) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_the_tables_that_mlflow_wants_are_those_that_it_makes(sqlite_uri: str) -> None:
    schema = schema_of(sqlite_uri, 3)
    assert (schema.is_current, schema.behind) == (True, 0)
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert schema.wanted == _get_latest_schema_revision()


def test_connections_are_counted(postgres: PostgresAccess, postgres_uri: str) -> None:
    others = [postgres.connect() for _ in range(40)]
    try:
        now = capacity_of(postgres_uri, 3)
    finally:
        for other in others:
            other.close()
    assert now.in_use > 40
    assert (now.limit, now.reserved, now.usable) == (300, 3, 297)
    assert_found(result_of("server.pool", uri(postgres_uri)), OK, "of 297 connections are left", "")


@pytest.mark.parametrize(("in_use", "status"), [(10, OK), (77, OK), (78, WARNING), (97, WARNING), (120, WARNING)])
def test_head_room(postgres_uri: str, in_use: int, status: Status) -> None:
    context = Context(environ=uri(postgres_uri, MLFLOW_SQLALCHEMYSTORE_POOL_SIZE="4"))
    finding = database._head_room(context, Capacity(100, 3, in_use))
    assert (finding.status, finding.details["left"]) == (status, max(0, 97 - in_use))
    assert ("raise max_connections (100)" in finding.remedy) is (status is WARNING)
    assert finding.details["most_taken"] == most_taken(context.environ, 1) == 2 * (4 + 10)


def test_a_server_whose_database_is_known(
    mlflow_server: RunningMlflow, postgres: PostgresAccess, unique: str, canary: str
) -> None:
    login = {"MLFLOW_TRACKING_USERNAME": unique, "MLFLOW_TRACKING_PASSWORD": canary}
    sender = RestSender(mlflow_server.url)
    sender.create_experiment(unique, None, {})
    settings = uri(mlflow_server.url, **login, MLFLOW_BACKEND_STORE_URI=database_with(postgres, unique))
    report = examined(settings, "server")
    assert bad(report) == []
    found = {result.check.name: result.finding for result in report.results}
    assert "the tables are those of MLflow" in found["server.schema"].found
    assert "4 workers of MLflow" in found["server.pool"].found
    assert found["server.run"].details["left"] == "nothing"
    assert sender.find_experiment(f"{NAME}-{unique}") is None


def test_a_server_whose_database_is_not_reached_from_here(
    mlflow_server: RunningMlflow, postgres: PostgresAccess
) -> None:
    backend = _other(postgres.uri("x"), str(postgres.port), str(free_port("127.0.0.1")))
    for name in ("server.schema", "server.pool"):
        result = result_of(name, uri(mlflow_server.url, MLFLOW_BACKEND_STORE_URI=backend))
        assert_found(result, SKIPPED, "is not reached from here", "host and port in MLFLOW_BACKEND_STORE_URI")


def database_with(postgres: PostgresAccess, experiment: str) -> str:
    """Return the URI of the database that has this experiment."""
    with postgres.connect() as connection:
        names = [row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test%'")]
    return next(uri for name in names if experiment_in(uri := postgres.uri(name), experiment, 3) is not None)
