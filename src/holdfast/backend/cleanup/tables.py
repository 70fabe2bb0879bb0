"""Transactions on MLflow's tables, and reading those that are there: a table or column that is missing holds nothing.

MLflow's tables differ between 3.0 and later. They are looked at, not assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.backend.database import connected
from holdfast.backend.diagnosis import Database
from holdfast.backend.errors import translated
from holdfast.core.redaction import Redactor
from holdfast.core.uris import scheme_of
from holdfast.errors import BackendError, BackendUnavailableError, HoldfastError, PermissionDeniedError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Inspector, Table

CONNECT_TIMEOUT_S = 10
_LOCK_TIMEOUT = "30s"
_ROWS_AT_ONCE = 5000
_REFUSED = re.compile(r"permission denied for (?:table|relation|view) (?P<table>\S+)|command denied to user", re.I)
# By database: the version and names of its tables, and what is known of them.
_reflections: dict[str, tuple[tuple[str, ...], Mapping[str, Table]]] = {}
_BUSY = re.compile(r"lock timeout|deadlock detected|could not serialize|Lock wait timeout|Deadlock found", re.I)


@dataclass(frozen=True)
class Tables:
    """An open transaction and the tables that are there."""

    connection: Connection
    known: Mapping[str, Table]

    def __contains__(self, table: str) -> bool:
        return table in self.known

    def __getitem__(self, table: str) -> Table:
        return self.known[table]

    def rows(self, table: str, *columns: str, where: Sequence[ColumnElement[bool]] = ()) -> Iterator[Any]:
        """Yield columns of a table as they come from the database, None for those that it lacks."""
        from sqlalchemy import null, select

        if table in self.known:
            there = self.known[table].c
            said = [there[name] if name in there else null().label(name) for name in columns]
            yield from self.stream(select(*said).where(*where))

    def stream(self, statement: Any) -> Iterator[Any]:
        """Yield the rows of a query as they come from the database."""
        yield from self.connection.execute(statement.execution_options(yield_per=_ROWS_AT_ONCE))


@contextmanager
def reading(uri: str, doing: str, redact: Redactor) -> Iterator[Tables]:
    """Open a transaction that sees the database as it is at one moment and changes nothing.

    Args:
        uri: A normalised database URI.
        doing: What for, for errors.
        redact: Hides the project's secrets in errors.

    Raises:
        BackendError: The database cannot be read, or is no MLflow's.
    """
    with translated(doing, uri, redact), connected(uri, CONNECT_TIMEOUT_S) as connection:
        if scheme_of(uri) == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        _begin(connection, "DEFERRED")
        yield Tables(connection, reflected(connection))


@contextmanager
def changing(uri: str, doing: str, redact: Redactor) -> Iterator[Connection]:
    """Open a connection for transactions that change rows; see `transaction`.

    Raises:
        BackendError: The database refuses, or cannot be reached; `retryable` where somebody else held the rows.
    """
    opened = connected(uri, CONNECT_TIMEOUT_S)
    with translated(doing, uri, redact), _refusals(doing, uri, redact), opened as connection:
        yield connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Do all that is inside or nothing. SQLite lets nobody else write from the start; others lock what is selected."""
    _begin(connection, "IMMEDIATE")
    try:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def reflected(connection: Connection) -> Mapping[str, Table]:
    """Return the tables that are there with their columns and foreign keys, by name.

    A database is looked at once for each version of its tables: that takes longer than most questions to it.

    Raises:
        BackendError: They are not MLflow's.
    """
    from sqlalchemy import inspect

    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    if not {"experiments", "registered_models"} & there:
        raise BackendError(
            "The database has no tables of MLflow.", "see MLFLOW_TRACKING_URI; `mlflow db upgrade` makes them"
        )
    if "alembic_version" not in there:
        return _looked_at(inspector)
    versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
    state = (*sorted(versions), *sorted(there))
    database = connection.engine.url.render_as_string(hide_password=True)
    known = _reflections.get(database)
    if known is None or known[0] != state:
        if len(_reflections) > 1:  # a clean-up has one database, or two
            _reflections.clear()
        known = _reflections[database] = (state, _looked_at(inspector))
    return known[1]


def _looked_at(inspector: Inspector) -> Mapping[str, Table]:
    """Return the tables without their indexes and defaults, which `MetaData.reflect` takes most of its time for."""
    from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table

    found = MetaData()
    keys = inspector.get_multi_foreign_keys()
    columns_of = inspector.get_multi_columns()
    for (schema, table), columns in columns_of.items():
        constraints = [
            ForeignKeyConstraint(
                key["constrained_columns"],
                [f"{key['referred_table']}.{column}" for column in key["referred_columns"]],
                ondelete=key.get("options", {}).get("ondelete"),
            )
            for key in keys.get((schema, table), ())
            if (key["referred_schema"] or schema, key["referred_table"]) in columns_of
        ]
        Table(table, found, *(Column(column["name"], column["type"]) for column in columns), *constraints)
    return found.tables


def _begin(connection: Connection, kind: str) -> None:
    if connection.dialect.name == "sqlite":
        # Python's driver would begin at the first change only, and so late that what was read may be out of date.
        driver: Any = connection.connection.dbapi_connection
        driver.isolation_level = None
        connection.exec_driver_sql(f"BEGIN {kind}")


@contextmanager
def _refusals(doing: str, uri: str, redact: Redactor) -> Iterator[None]:
    """Tell what only a change is refused for, before the errors of all calls are looked at."""
    try:
        yield
    except HoldfastError:
        raise
    except Exception as error:
        known = _refusal(str(error).partition("\n[SQL")[0], doing, uri)
        if known is None:
            raise
        raise type(known)(redact(known.message), known.hint, known.retryable) from None


def _refusal(said: str, doing: str, uri: str) -> HoldfastError | None:
    database = Database.of(uri, "MLFLOW_TRACKING_URI")
    match = _REFUSED.search(said)
    if match:
        return PermissionDeniedError(
            f"Cannot {doing}: the user {database.user!r} may not change rows in {database.uri} ({match[0]}).",
            f"as the owner: `GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {database.user}`, "
            "or use the owner's URI",
        )
    if _BUSY.search(said):
        return BackendUnavailableError(
            f"Cannot {doing}: somebody else held the same rows of {database.uri} for too long.",
            "give the same command again",
            retryable=True,
        )
    return None
