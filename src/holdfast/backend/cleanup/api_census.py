"""All that clean-up must know, as far as MLflow's API tells it.

It does not tell when a run was deleted, and shows no deleted logged models. A search for runs names the models that
they gave out and not those that they took in: over REST, nothing here keeps a model because a live run evaluated it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.backend.cleanup.api_versions import read_versions_by_api
from holdfast.backend.cleanup.sources import merged
from holdfast.backend.cleanup.sql_census import SOURCE_RUN, TRACE_PLACES, read_versions
from holdfast.backend.cleanup.store import PlaceOf, Wanted, batches
from holdfast.backend.client import Connection
from holdfast.backend.paging import all_of
from holdfast.core.cleanup.records import (
    ExperimentRecord,
    ModelRecord,
    Need,
    RunRecord,
    State,
    TraceRecord,
    VersionRecord,
)
from holdfast.core.uris import is_database
from holdfast.errors import BackendError, HoldfastError

_EXPERIMENTS_AT_ONCE = 50
_MODELS_AT_ONCE = 100
_TRACES_AT_ONCE = 500
_NO_TRACES = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "not supported", "not implemented", "error code 404")


@dataclass(frozen=True)
class ApiCensus:
    """Reads a server's store.

    Args:
        connection: The server, and its registry.
        place_of: Makes a place of an address as the server tells it.
    """

    connection: Connection
    place_of: PlaceOf

    def read(self, wanted: Wanted) -> State:
        """Return what the server tells; versions last, so that none is missed that others rest on.

        Raises:
            BackendError: The server or the registry cannot be reached, or refuses.
        """
        experiments, runs, needs = self._experiments(), list[RunRecord](), list[Need]()
        models: list[ModelRecord] = []
        with self.connection.tracking("read what clean-up must know"):
            for some in batches([item.experiment_id for item in experiments], _EXPERIMENTS_AT_ONCE):
                models += self._models(some)
                for record, uses in self._runs(some, wanted.details_of):
                    runs.append(record)
                    needs += uses
        sources = {model.model_id: model.run_id for model in models}
        state = State(
            experiments=tuple(experiments),
            runs=tuple(runs),
            models=tuple(models),
            traces=tuple(self._traces(experiments, runs)),
            needs=tuple(need for need in needs if sources.get(need.model_id, need.run_id) != need.run_id),
            has_rows=False,
        )
        needs_of_models = tuple(replace(need, run_id="") for need in state.needs)
        return replace(state, needs=needs_of_models, versions=self.versions(state))

    def versions(self, state: State) -> tuple[VersionRecord, ...]:
        """Return the registered versions; `state` is what is known of runs and models. Raises as `read`."""
        registry = self.connection.registry_uri
        if is_database(registry):
            return merged(read_versions(registry, self.place_of, self.connection.redact))
        return merged(read_versions_by_api(self.connection, self.place_of, state))

    def _place(self, address: str | None) -> str:
        return self.place_of(address) if address else ""

    def _experiments(self) -> list[ExperimentRecord]:
        with self.connection.tracking("list experiments"):
            from mlflow.entities import ViewType

            return [
                ExperimentRecord(
                    str(item.experiment_id),
                    item.name,
                    self._place(item.artifact_location),
                    item.lifecycle_stage == "deleted",
                    item.last_update_time,
                )
                for item in all_of(self.connection.client.search_experiments, view_type=ViewType.ALL)
            ]

    def _runs(
        self, experiment_ids: Sequence[str], details_of: Collection[str]
    ) -> Iterator[tuple[RunRecord, list[Need]]]:
        from mlflow.entities import ViewType

        search = self.connection.client.search_runs
        for item in all_of(search, experiment_ids=list(experiment_ids), run_view_type=ViewType.ALL):
            record = self._run(item, item.info.experiment_id in details_of)
            yield record, [] if record.is_deleted else list(_uses(item))

    def _run(self, item: Any, has_details: bool) -> RunRecord:
        info = item.info
        return RunRecord(
            info.run_id,
            str(info.experiment_id),
            self._place(info.artifact_uri),
            info.status,
            info.lifecycle_stage == "deleted",
            info.start_time or 0,
            info.end_time,
            name=info.run_name or "",
            tags=dict(item.data.tags) if has_details else {},
            metrics=dict(item.data.metrics) if has_details else {},
        )

    def _models(self, experiment_ids: Sequence[str]) -> Iterator[ModelRecord]:
        search = self.connection.client.search_logged_models
        for item in all_of(search, page=_MODELS_AT_ONCE, experiment_ids=list(experiment_ids)):
            yield ModelRecord(
                item.model_id,
                str(item.experiment_id),
                self._place(item.artifact_location),
                item.source_run_id or "",
                changed_ms=item.last_updated_timestamp or 0,
                name=item.name or "",
            )

    # -- traces -----------------------------------------------------------------------

    def _traces(self, experiments: Sequence[ExperimentRecord], runs: Sequence[RunRecord]) -> Iterator[TraceRecord]:
        """Yield the traces of what is deleted; none of a server that cannot search for them."""
        deleted = [item.experiment_id for item in experiments if item.is_deleted]
        asked: list[dict[str, Any]] = [{"experiment_ids": [item]} for item in deleted]
        asked += [
            {"experiment_ids": [run.experiment_id], "run_id": run.run_id}
            for run in runs
            if run.is_deleted and run.experiment_id not in deleted
        ]
        for arguments in asked:
            found = self._searched(arguments)
            if found is None:
                return
            for trace in found:
                yield from self._trace(trace.info)

    def _searched(self, arguments: dict[str, Any]) -> list[Any] | None:
        def search() -> list[Any]:
            with self.connection.tracking("search traces"), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer MLflow has another name for experiments
                client = self.connection.client
                return list(all_of(client.search_traces, _TRACES_AT_ONCE, include_spans=False, **arguments))

        return _unless_unknown(search)

    def _trace(self, info: Any) -> Iterator[TraceRecord]:
        run_id = dict(info.trace_metadata or {}).get(SOURCE_RUN, "")
        tags = dict(info.tags or {})
        places = [self.place_of(tags[key]) for key in TRACE_PLACES if tags.get(key)]
        for place in dict.fromkeys(places or [""]):
            yield TraceRecord(info.trace_id, str(info.experiment_id), place, run_id, info.request_time or 0)


def _unless_unknown(search: Callable[[], list[Any]]) -> list[Any] | None:
    """Return what a search found; None where the server knows no such search."""
    try:
        return search()
    except BackendError as error:
        if error.retryable or not _is_unknown(error):
            raise
        return None


def _is_unknown(error: HoldfastError) -> bool:
    return any(text in error.message for text in _NO_TRACES)


def _uses(item: Any) -> Iterator[Need]:
    """Yield the models that a run took in or gave out; the run stands in them until it is known who logged them."""
    run_id = item.info.run_id
    for kind, found in (("input", getattr(item, "inputs", None)), ("output", getattr(item, "outputs", None))):
        for model in getattr(found, f"model_{kind}s", None) or ():
            yield Need(f"{kind} of run {run_id}", run_id=run_id, model_id=model.model_id)
