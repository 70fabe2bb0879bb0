"""The checks of the database behind the tracking store, where it can be asked: its tables, and its connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.core.uris import mask_uri, scheme_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.env import numbers_of, pip_install, version_of
from holdfast.doctor.server.reach import AT_FIRST_RUN
from holdfast.doctor.server.tracking_store import (
    DATABASE_S,
    database_errors,
    database_of,
    is_server,
    missing_file,
    setting_of_database,
)
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.backend.capacity import Capacity
    from holdfast.backend.schema import Schema

_LITTLE = 0.2
# For people: it is shown, and never run here.
_MARKING = (
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY); "
    "INSERT INTO alembic_version VALUES ('REVISION');"
)
_SERVER_WORKERS = 4


def _unknown(context: Context) -> Finding:
    if missing_file(context) is not None:
        return skipped(AT_FIRST_RUN)
    if context.settings.backend_store_uri:
        return skipped(
            f"MLFLOW_BACKEND_STORE_URI={mask_uri(context.settings.backend_store_uri)} is not there from here"
        )
    return skipped(
        "only the server knows its database",
        "set MLFLOW_BACKEND_STORE_URI, where the database can be reached from here",
    )


def _from_here(ask: Callable[[Context], Finding]) -> Callable[[Context], Finding]:
    """Ask a server's database only where this machine gets there: that the server does is known already."""

    def run(context: Context) -> Finding:
        try:
            return ask(context)
        except HoldfastError as error:
            if is_server(context.settings.tracking_uri):
                return skipped(
                    f"the server's database is not reached from here: {error.message.rstrip('.')}", error.hint
                )
            raise

    return run


# -- tables ---------------------------------------------------------------------------------


def _schema(context: Context) -> Finding:
    from holdfast.backend.schema import schema_of

    uri = database_of(context)
    if uri is None:
        return _unknown(context)
    with database_errors(context, "read the database's schema", uri):
        schema = schema_of(uri, DATABASE_S)
    if not schema.wanted:
        return skipped("the MLflow of this environment has no part for databases (mlflow-skinny)")
    if is_server(context.settings.tracking_uri) and _is_another_mlflow(context):
        return skipped(
            f"the server runs MLflow {context.noted('server.version')}: which tables that wants is not known here"
        )
    return _judged(context, uri, schema)


def _is_another_mlflow(context: Context) -> bool:
    theirs, own = context.noted("server.version") or "", version_of("mlflow") or ""
    return numbers_of(theirs)[:2] != numbers_of(own)[:2]


def _judged(context: Context, uri: str, schema: Schema) -> Finding:
    own = version_of("mlflow") or "?"
    details: dict[str, Any] = {"revision": schema.found, "wanted": schema.wanted, "behind": schema.behind}
    if schema.has_tables and not schema.found:
        return _unmarked(uri, schema, details)
    if schema.is_current and schema.missing:
        return failed(
            f"{_named(schema.missing)} missing, with what was kept there; the database says that it has all of MLflow "
            f"{own} (revision {schema.found})",
            "bring the database back from a backup (`mlflow db upgrade` changes nothing: the revision is the newest)",
            Evidence.TOLD,
            **details,
            missing=list(schema.missing),
        )
    if schema.is_current:
        return ok(f"the tables are those of MLflow {own} (revision {schema.found})", **details)
    if not schema.found:
        return ok(f"the database has no tables of MLflow yet: {AT_FIRST_RUN}", Evidence.INFERRED, **details)
    if schema.behind is None:
        return failed(
            f"the database was made by a newer MLflow than {own} (revision {schema.found}, which it does not know)",
            f"{pip_install('--upgrade', 'mlflow')}; {_whose(context)}",
            Evidence.TOLD,
            **details,
        )
    steps = "1 step" if schema.behind == 1 else f"{schema.behind} steps"
    return failed(
        f"the tables are {steps} behind MLflow {own} (revision {schema.found}, wanted {schema.wanted})",
        f"make a backup, then run `mlflow db upgrade '{mask_uri(uri)}'`{_with_password(uri)}",
        Evidence.TOLD,
        **details,
    )


def _named(tables: tuple[str, ...]) -> str:
    more = f" and {len(tables) - 3} more" if len(tables) > 3 else ""
    what, verb = ("tables", "are") if len(tables) > 1 else ("table", "is")
    return f"{what} {', '.join(tables[:3])}{more} {verb}"


def _unmarked(uri: str, schema: Schema, details: dict[str, Any]) -> Finding:
    """Return the finding where MLflow's tables are there, and the one row that says of which release."""
    backup = "bring the database back from a backup"
    statements = _MARKING.replace("REVISION", schema.wanted)
    mend = f"; or, if MLflow {version_of('mlflow')} has made it, make a backup and have it say so: {statements}"
    return failed(
        f"{mask_uri(uri)} has tables of MLflow and does not say of which release (alembic_version is empty or "
        "missing): MLflow refuses it",
        backup + ("" if schema.missing else mend),
        Evidence.TOLD,
        **details,
        missing=list(schema.missing),
    )


def _with_password(uri: str) -> str:
    return " with the password in place of ****" if mask_uri(uri) != uri else ""


def _whose(context: Context) -> str:
    return "everything that opens this database needs at least the newest MLflow among them" + (
        ", the server too" if is_server(context.settings.tracking_uri) else ""
    )


# -- connections ----------------------------------------------------------------------------


def _pool(context: Context) -> Finding:
    from holdfast.backend.capacity import capacity_of

    uri = database_of(context)
    if uri is None:
        return _unknown(context)
    if scheme_of(uri) != "postgresql":
        return skipped(f"asked of PostgreSQL only, and this is {scheme_of(uri)}")
    with database_errors(context, "ask for the database's connections", uri):
        return _head_room(context, capacity_of(uri, DATABASE_S))


def _head_room(context: Context, capacity: Capacity) -> Finding:
    from holdfast.backend.capacity import most_taken

    workers = _workers(context) if is_server(context.settings.tracking_uri) else 1
    most = most_taken(context.environ, workers)
    who = f"{workers} workers of MLflow" if workers > 1 else "one process of MLflow"
    details: dict[str, Any] = {
        "max_connections": capacity.limit,
        "reserved": capacity.reserved,
        "in_use": capacity.in_use,
        "left": capacity.left,
        "most_taken": most,
    }
    found = f"{capacity.left} of {capacity.usable} connections are left; {who} may take up to {most}"
    if capacity.left >= _LITTLE * capacity.usable:
        return ok(found, **details)
    return warning(
        found,
        f"raise max_connections ({capacity.limit}) of the server in {setting_of_database(context)}, or let MLflow "
        "take fewer: MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=2 and MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=3 for its server",
        **details,
    )


def _workers(context: Context) -> int:
    text = context.environ.get("MLFLOW_WORKERS", "")
    return int(text) if text.isdecimal() and int(text) else _SERVER_WORKERS


CHECKS = (
    Check(
        "server.schema", "Are the database's tables those that MLflow wants?", _from_here(_schema), ("server.version",)
    ),
    Check("server.pool", "Has the database connections left?", _from_here(_pool), ("server.reachable",)),
)
