"""Where MLflow's tables say that files lie, and writing it anew: the one thing of theirs that is changed by SQL.

MLflow has no call that moves an experiment. Its tables are looked at, not assumed, for they differ between MLflow 3.0
and later: what a table or column that is missing would have held, is not there.

The columns: `experiments.artifact_location`, `runs.artifact_uri`, `logged_models.artifact_location`,
`model_versions.source` and `.storage_location`, the tags of traces that say where their files are, and the roots of
workspaces. Other texts that name a place (a user's tags and params, the sources of datasets) are history and are
left as they are; `mentions` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.backend.database import connected
from holdfast.backend.errors import translated
from holdfast.core.redaction import Redactor
from holdfast.errors import BackendError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_TIMEOUT_S = 10
_BATCH = 5000
_TRACE_TAGS = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")
_UNDER_WAY = ("RUNNING", "SCHEDULED")


@dataclass(frozen=True)
class Column:
    """A column that holds where files lie.

    Attributes:
        table: Its table.
        name: Its name.
        holder: What has its files there, for people.
        has_files: Whether the files themselves are there; a workspace's root only says where new ones go.
    """

    table: str
    name: str
    holder: str
    has_files: bool = True


_COLUMNS = (
    Column("experiments", "artifact_location", "experiment"),
    Column("runs", "artifact_uri", "run"),
    Column("logged_models", "artifact_location", "model"),
    Column("model_versions", "source", "version"),
    Column("model_versions", "storage_location", "version"),
    Column("trace_tags", "value", "trace"),
    Column("workspaces", "default_artifact_root", "workspace", has_files=False),
    Column("workspaces", "trace_archival_location", "workspace", has_files=False),
)
_MENTIONING = (
    ("tags", "value"),
    ("params", "value"),
    ("experiment_tags", "value"),
    ("datasets", "dataset_source"),
    ("logged_model_tags", "tag_value"),
    ("logged_model_params", "param_value"),
    ("model_version_tags", "value"),
    ("registered_model_tags", "value"),
    ("trace_request_metadata", "value"),
)


@dataclass(frozen=True)
class Location:
    """One place where files lie, as one row says it.

    Attributes:
        column: Where that stands.
        key: The row's primary key: names and values.
        uri: The place.
        experiment_id: The experiment that it belongs to; empty where that is none, or cannot be told.
        longest: How many characters the column takes; None where there is no bound.
    """

    column: Column
    key: tuple[tuple[str, Any], ...]
    uri: str
    experiment_id: str = ""
    longest: int | None = None

    @property
    def shown(self) -> str:
        """What has its files there: `run 1f2e…`."""
        values = [str(value) for name, value in self.key if name not in ("workspace", "key")]
        return f"{self.column.holder} {' '.join(values)}"


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment as its table has it, deleted ones included."""

    experiment_id: str
    name: str
    location: str
    is_deleted: bool = False


@dataclass
class Catalog:
    """What the tables of a store say.

    Attributes:
        experiments: All experiments.
        locations: All places, experiments' own included.
        under_way: The runs of each experiment that have not ended.
        experiment_of_run: The experiment of each run.
    """

    experiments: list[ExperimentRow] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)
    under_way: dict[str, list[str]] = field(default_factory=dict)
    experiment_of_run: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A place that is to be written anew."""

    location: Location
    new_uri: str


def read_catalog(uri: str, redact: Redactor) -> Catalog:
    """Return where everything lies, as a database's tables have it.

    Args:
        uri: A normalised database URI.
        redact: Hides the project's secrets in errors.

    Raises:
        BackendError: The database cannot be read.
    """
    with translated("read where files lie", uri, redact), connected(uri, _TIMEOUT_S) as connection:
        return _read(connection, _tables(connection))


def rewrite(uri: str, changes: Sequence[Change], redact: Redactor) -> int:
    """Write places anew, all of them or none, in one transaction; return how many rows were changed.

    Args:
        uri: A normalised database URI.
        changes: What to write, as `read_catalog` found it.
        redact: Hides the project's secrets in errors.

    Raises:
        BackendError: The database refuses, or a row is no longer as it was found; nothing was changed.
    """
    doing = f"rewrite {len(changes)} locations"
    with translated(doing, uri, redact), connected(uri, _TIMEOUT_S) as connection, connection.begin():
        tables = _tables(connection)
        for column, group in _by_column(changes).items():
            _update(connection, tables[column.table], column, group)
        _check(_read(connection, tables), changes)
    return len(changes)


def mentions(uri: str, old_uris: Sequence[str], redact: Redactor) -> dict[str, int]:
    """Return how many texts that are left as they are name one of some places, by `table.column`.

    Args:
        uri: A normalised database URI.
        old_uris: The places, without a slash at the end.
        redact: Hides the project's secrets in errors.

    Raises:
        BackendError: The database cannot be read.
    """
    from sqlalchemy import func, or_, select

    found: dict[str, int] = {}
    with translated("look for old locations", uri, redact), connected(uri, _TIMEOUT_S) as connection:
        tables = _tables(connection)
        for table, column in _MENTIONING:
            if table not in tables or column not in tables[table].c:
                continue
            said = tables[table].c[column]
            # A folder's name may go on: only what ends there, or below it, is meant.
            holds = [said.contains(f"{old}{end}", autoescape=True) for old in old_uris for end in ("/", '"')]
            ends = [said.endswith(old, autoescape=True) for old in old_uris]
            count = connection.execute(select(func.count()).select_from(tables[table]).where(or_(*holds, *ends)))
            found[f"{table}.{column}"] = int(count.scalar_one())
    return {name: count for name, count in found.items() if count}


# -- reading ------------------------------------------------------------------------------


def _tables(connection: Connection) -> Mapping[str, Table]:
    from sqlalchemy import MetaData, inspect

    wanted = {column.table for column in _COLUMNS} | {name for name, _ in _MENTIONING} | {"trace_info"}
    there = sorted(wanted & set(inspect(connection).get_table_names()))
    if "experiments" not in there:
        raise BackendError(
            "The database has no tables of MLflow.", "see MLFLOW_TRACKING_URI; `mlflow db upgrade` makes them"
        )
    known = MetaData()
    known.reflect(connection, only=there, resolve_fks=False)
    return known.tables


def _read(connection: Connection, tables: Mapping[str, Table]) -> Catalog:
    catalog = Catalog()
    experiments = tables["experiments"].c
    said = (experiments.experiment_id, experiments.name, experiments.artifact_location, experiments.lifecycle_stage)
    for experiment_id, name, location, stage in _rows(connection, *said):
        catalog.experiments.append(ExperimentRow(str(experiment_id), name, location or "", stage == "deleted"))
    runs = tables["runs"].c
    for run_id, experiment_id, status, stage in _rows(
        connection, runs.run_uuid, runs.experiment_id, runs.status, runs.lifecycle_stage
    ):
        catalog.experiment_of_run[run_id] = str(experiment_id)
        if status in _UNDER_WAY and stage == "active":
            catalog.under_way.setdefault(str(experiment_id), []).append(run_id)
    for column in _COLUMNS:
        if column.table in tables and column.name in tables[column.table].c:
            catalog.locations += _locations(connection, tables, column, catalog.experiment_of_run)
    return catalog


def _locations(
    connection: Connection, tables: Mapping[str, Table], column: Column, experiment_of_run: Mapping[str, str]
) -> Iterator[Location]:
    table = tables[column.table]
    keys = list(table.primary_key.columns)
    place = table.c[column.name]
    longest = getattr(place.type, "length", None)
    belongs = _belonging(connection, tables, column, experiment_of_run)
    owner = table.c[belongs.by] if belongs.by else place
    for *values, uri, about in _rows(connection, *keys, place, owner):
        key = tuple((item.name, value) for item, value in zip(keys, values, strict=True))
        if uri and (column.table != "trace_tags" or dict(key)["key"] in _TRACE_TAGS):
            yield Location(column, key, str(uri), belongs.find(about), longest)


@dataclass(frozen=True)
class _Belonging:
    """How the experiment of a row is found: from which column, and what that one's value means."""

    by: str
    find: Callable[[Any], str]


def _belonging(
    connection: Connection, tables: Mapping[str, Table], column: Column, experiment_of_run: Mapping[str, str]
) -> _Belonging:
    if column.table == "model_versions":
        return _Belonging("run_id", lambda run_id: experiment_of_run.get(run_id, ""))
    if column.table == "trace_tags":
        traces = tables["trace_info"].c
        known = {row[0]: str(row[1]) for row in _rows(connection, traces.request_id, traces.experiment_id)}
        return _Belonging("request_id", lambda request_id: known.get(request_id, ""))
    if column.table == "workspaces":
        return _Belonging("", lambda _: "")
    return _Belonging("experiment_id", str)


def _rows(connection: Connection, *columns: Any) -> Iterator[Any]:
    from sqlalchemy import select

    yield from connection.execution_options(yield_per=_BATCH).execute(select(*columns))


# -- writing ------------------------------------------------------------------------------


def _by_column(changes: Iterable[Change]) -> dict[Column, list[Change]]:
    found: dict[Column, list[Change]] = {}
    for change in changes:
        found.setdefault(change.location.column, []).append(change)
    return found


def _update(connection: Connection, table: Table, column: Column, changes: Sequence[Change]) -> None:
    from sqlalchemy import bindparam, update

    place = table.c[column.name]
    keys = [item == bindparam(f"key_{item.name}") for item in table.primary_key.columns]
    statement = update(table).where(*keys, place == bindparam("old")).values({column.name: bindparam("new")})
    for start in range(0, len(changes), _BATCH):
        connection.execute(
            statement,
            [
                {"old": change.location.uri, "new": change.new_uri}
                | {f"key_{name}": value for name, value in change.location.key}
                for change in changes[start : start + _BATCH]
            ],
        )


def _check(now: Catalog, changes: Sequence[Change]) -> None:
    """See, before the transaction is ended, that every row says what it shall: drivers count rows each in its way."""
    said = {(found.column, found.key): found.uri for found in now.locations}
    for change in changes:
        if said.get((change.location.column, change.location.key)) != change.new_uri:
            raise BackendError(
                f"The location of {change.location.shown} was changed by somebody else; nothing was rewritten.",
                "give the same command again",
                retryable=True,
            )
