"""Clean-up over REST: what MLflow's API can do. It cannot remove the rows of runs, models and experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from holdfast.backend.cleanup.api_census import ApiCensus
from holdfast.backend.cleanup.lifecycle import active_among, delete_runs, live_experiments, restore_runs
from holdfast.backend.cleanup.still import Registered
from holdfast.backend.cleanup.store import (
    REGISTERED,
    RESTORED,
    PlaceOf,
    Purged,
    Wanted,
    batches,
    outcome,
)
from holdfast.backend.client import Connection
from holdfast.core.cleanup.records import State, TraceRecord, VersionRecord
from holdfast.errors import BackendError, NotFoundError

_MODELS_AT_ONCE = 100
_TRACES_AT_ONCE = 100


class ApiCleanup:
    """A tracking server and its registry; see `CleanupStore`.

    Args:
        connection: The server, and its registry.
        place_of: Makes a place of an address as the server tells it.
    """

    has_rows = False

    def __init__(self, connection: Connection, place_of: PlaceOf) -> None:
        self._connection = connection
        self._census = ApiCensus(connection, place_of)
        self._place_of = place_of

    def census(self, wanted: Wanted) -> State:
        """Return what the server tells.

        When runs were deleted is not known, deleted logged models cannot be seen, and only traces of deleted runs and
        experiments are looked for. It is read page by page, not at one moment.

        Raises:
            BackendError: The server or the registry cannot be reached, or refuses.
        """
        return self._census.read(wanted)

    def versions(self) -> tuple[VersionRecord, ...]:
        """Return the registered versions as they are now; raises as `census`."""
        return self._census.versions(State())

    def check_may_purge(self) -> None:
        """Nothing: no rows are removed."""

    def purge_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Refuse.

        Raises:
            BackendError: Always: MLflow has no call for it.
        """
        raise _no_rows("runs")

    def purge_experiments(self, experiment_ids: Sequence[str]) -> Iterator[Purged]:
        """Refuse; raises as `purge_runs`."""
        raise _no_rows("experiments")

    def purge_models(self, model_ids: Sequence[str]) -> Iterator[Purged]:
        """Delete logged models as MLflow does; their rows stay.

        One that a version comes from, or that has a run which is not deleted, is skipped.

        Raises:
            BackendError: The server refuses, or cannot be reached.
        """
        deleted: dict[str, bool] = {}
        for batch in batches(model_ids, _MODELS_AT_ONCE):
            registered = Registered(self.versions())
            skipped: dict[str, str] = {}
            for model_id in batch:
                why = self._delete_model(model_id, registered, deleted)
                if why:
                    skipped[model_id] = why
            yield outcome(batch, skipped)

    def _delete_model(self, model_id: str, registered: Registered, deleted: dict[str, bool]) -> str:
        """Delete a logged model, or return why it must stay; one that is gone already is neither."""
        client = self._connection.client
        try:
            with self._connection.tracking(f"delete logged model {model_id}"):
                model = client.get_logged_model(model_id)
                if registered.has_model(model_id) or registered.touches(self._place_of(model.artifact_location)):
                    return REGISTERED
                if not self._is_deleted(model.source_run_id or "", str(model.experiment_id), deleted):
                    return RESTORED
                client.delete_logged_model(model_id)
        except NotFoundError:
            return ""
        return ""

    def _is_deleted(self, run_id: str, experiment_id: str, known: dict[str, bool]) -> bool:
        """Whether a run is deleted or gone; without a run, whether the experiment is."""
        key = run_id or f"experiment {experiment_id}"
        if key not in known:
            known[key] = self._is_run_deleted(run_id) if run_id else self._is_experiment_deleted(experiment_id)
        return known[key]

    def _is_run_deleted(self, run_id: str) -> bool:
        try:
            with self._connection.tracking(f"read run {run_id}"):
                return str(self._connection.client.get_run(run_id).info.lifecycle_stage) == "deleted"
        except NotFoundError:
            return True

    def _is_experiment_deleted(self, experiment_id: str) -> bool:
        try:
            with self._connection.tracking(f"read experiment {experiment_id}"):
                return str(self._connection.client.get_experiment(experiment_id).lifecycle_stage) == "deleted"
        except NotFoundError:
            return True

    def purge_traces(self, traces: Sequence[TraceRecord]) -> Iterator[Purged]:
        """Delete traces; one whose run is live, or that has none and its experiment is, is skipped.

        Raises:
            BackendError: The server refuses, or cannot be reached.
        """
        by_experiment: dict[str, dict[str, TraceRecord]] = {}
        for trace in traces:
            by_experiment.setdefault(trace.experiment_id, {})[trace.trace_id] = trace
        for experiment_id, found in by_experiment.items():
            for batch in batches(found, _TRACES_AT_ONCE):
                yield self._delete_traces(experiment_id, {trace_id: found[trace_id] for trace_id in batch})

    def _delete_traces(self, experiment_id: str, traces: Mapping[str, TraceRecord]) -> Purged:
        known: dict[str, bool] = {}
        skipped = {
            trace_id: RESTORED
            for trace_id, trace in traces.items()
            if not self._is_deleted(trace.run_id, experiment_id, known)
        }
        chosen = [trace_id for trace_id in traces if trace_id not in skipped]
        if chosen:
            with self._connection.tracking(f"delete {len(chosen)} traces"):
                self._connection.client.delete_traces(experiment_id, trace_ids=chosen)
        return outcome(list(traces), skipped)

    def has_models(self) -> bool:
        """Return True: the registry is asked for them in any case."""
        return True

    def active_among(self, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> dict[str, str]:
        """Return which of some runs are not deleted now, each with its status. Raises as `delete_runs`."""
        return active_among(self._connection, run_ids, experiment_ids)

    def live_experiments(self, experiment_ids: Sequence[str]) -> set[str]:
        """Return which of some experiments are there and not deleted now. Raises as `delete_runs`."""
        return live_experiments(self._connection, experiment_ids)

    def delete_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Delete runs as MLflow does; one that is not there is skipped.

        Raises:
            BackendError: The server refuses, or cannot be reached.
        """
        return delete_runs(self._connection, run_ids)

    def restore_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Restore runs; one that is not there any more is skipped. Raises as `delete_runs`."""
        return restore_runs(self._connection, run_ids)


def _no_rows(what: str) -> BackendError:
    return BackendError(
        f"MLflow's server cannot remove the rows of {what}: it has no call for that.",
        "run this where the server's database can be reached, and name that database",
    )
