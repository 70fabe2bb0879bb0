"""Clean-up over a database: MLflow's tables, read and thinned out directly.

MLflow's own `gc` removes a run in one transaction of its own and leaves what names it without a foreign key. Here
hundreds are removed at once, and nothing of them stays but what other things say of them as a text: the tag of a live
run that names its parent, the source run of a model that was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from holdfast.backend.cleanup.api_versions import read_versions_by_api
from holdfast.backend.cleanup.lifecycle import delete_runs, restore_runs
from holdfast.backend.cleanup.removal import Removal
from holdfast.backend.cleanup.rollups import queue_rebuilds
from holdfast.backend.cleanup.same_store import ask_server, check_same
from holdfast.backend.cleanup.sources import merged
from holdfast.backend.cleanup.sql_census import read_state, read_versions
from holdfast.backend.cleanup.sql_present import LIVING_EXPERIMENTS, LIVING_RUNS, has_models, read_living
from holdfast.backend.cleanup.still import Checks
from holdfast.backend.cleanup.store import PlaceOf, Purged, Wanted, batches, outcome
from holdfast.backend.cleanup.tables import Tables, changing, reflected, transaction
from holdfast.backend.client import Connection
from holdfast.core.cleanup.records import State, TraceRecord, VersionRecord
from holdfast.core.uris import is_database

_BATCH = 500
_NOBODYS = "none"


class SqlCleanup:
    """A tracking database and the registry that belongs to it; see `CleanupStore`.

    Args:
        connection: The project's stores; runs are deleted and restored through them.
        uri: The tracking database, which may be that behind the connection's server.
        place_of: Makes a place of an address as the tables have it.
    """

    has_rows = True

    def __init__(self, connection: Connection, uri: str, place_of: PlaceOf) -> None:
        self._connection = connection
        self._uri = uri
        self._place_of = place_of

    def census(self, wanted: Wanted) -> State:
        """Return what the database holds at one moment, and then the versions of a registry that is elsewhere.

        Raises:
            BackendError: The database or the registry cannot be read.
            SettingsError: The database is not that of the connection's server.
        """
        server = self._connection.tracking_uri
        known = None if is_database(server) else ask_server(self._connection, self._place_of)
        state = read_state(self._uri, wanted, self._place_of, self._connection.redact)
        if known is not None:
            check_same(known, state, server, self._uri)
        return replace(state, versions=merged((*state.versions, *self._versions_elsewhere(state))))

    def versions(self) -> tuple[VersionRecord, ...]:
        """Return the registered versions, of the database and of a registry that is elsewhere; raises as `census`."""
        here = read_versions(self._uri, self._place_of, self._connection.redact)
        return merged((*here, *self._versions_elsewhere(State())))

    def _versions_elsewhere(self, state: State) -> list[VersionRecord]:
        """Read the registry, where that is a server, or another database.

        A server's registry need not be in the database that its runs are in.
        """
        registry = self._connection.registry_uri
        if registry == self._uri:
            return []
        if is_database(registry):
            return read_versions(registry, self._place_of, self._connection.redact)
        return read_versions_by_api(self._connection, self._place_of, state)

    def has_models(self) -> bool:
        """Return whether any model is registered; True of a registry that is a server. Raises as `census`."""
        registry = self._connection.registry_uri
        databases = {self._uri, registry} if is_database(registry) else set()
        return not databases or any(has_models(uri, self._connection.redact) for uri in databases)

    def active_among(self, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> dict[str, str]:
        """Return which of some runs are not deleted now, each with its status. Raises as `census`."""
        return dict(read_living(self._uri, LIVING_RUNS, run_ids, self._connection.redact))

    def live_experiments(self, experiment_ids: Sequence[str]) -> set[str]:
        """Return which of some experiments are there and not deleted now. Raises as `census`."""
        ids = [int(experiment_id) for experiment_id in experiment_ids]
        return {str(found) for found, _ in read_living(self._uri, LIVING_EXPERIMENTS, ids, self._connection.redact)}

    def check_may_purge(self) -> None:
        """Remove what is nobody's, which is nothing: the database refuses that as it would refuse more.

        Raises:
            BackendError: It does, or cannot be reached.
        """
        with self._changing("see whether rows may be removed") as tables, transaction(tables.connection):
            for table, key in (("trace_info", "request_id"), ("logged_models", "model_id"), ("runs", "run_uuid")):
                if table in tables:
                    Removal(tables).remove(table, key, [_NOBODYS])

    def purge_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove runs; one that is not deleted, or that a version in this database comes from, is skipped.

        Raises:
            BackendError: The database refuses, or cannot be reached.
        """
        return self._purge("runs", "run_uuid", run_ids, Checks.runs)

    def purge_models(self, model_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove logged models; see `CleanupStore`. Raises as `purge_runs`."""
        return self._purge("logged_models", "model_id", model_ids, Checks.models)

    def purge_traces(self, traces: Sequence[TraceRecord]) -> Iterator[Purged]:
        """Remove traces; see `CleanupStore`. Raises as `purge_runs`."""
        return self._purge("trace_info", "request_id", [trace.trace_id for trace in traces], Checks.traces)

    def purge_experiments(self, experiment_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove experiments; see `CleanupStore`. Raises as `purge_runs`."""
        return self._purge("experiments", "experiment_id", experiment_ids, Checks.experiments)

    def _purge(
        self, table: str, key: str, ids: Sequence[str], check: Callable[[Checks, Sequence[str]], dict[str, str]]
    ) -> Iterator[Purged]:
        if not ids:
            return
        with self._changing(f"remove rows of {table}") as tables:
            for batch in batches(ids, _BATCH):
                removal = Removal(tables)
                with transaction(tables.connection):
                    skipped = check(Checks(tables, self._place_of), batch) if table in tables else {}
                    chosen = [item for item in batch if item not in skipped and table in tables]
                    if table == "trace_info":
                        queue_rebuilds(tables, chosen)
                    removal.remove(table, key, chosen)
                yield outcome(batch, skipped, removal.rows)

    @contextmanager
    def _changing(self, doing: str) -> Iterator[Tables]:
        """Open a connection for transactions, with all tables that are there."""
        with changing(self._uri, doing, self._connection.redact) as connection:
            known = reflected(connection)
            connection.rollback()
            yield Tables(connection, known)

    def delete_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Delete runs as MLflow does; one that is not there is skipped.

        Raises:
            BackendError: The store refuses, or cannot be reached.
        """
        return delete_runs(self._connection, run_ids)

    def restore_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Restore runs; one that is not there any more is skipped. Raises as `delete_runs`."""
        return restore_runs(self._connection, run_ids)
