"""All that clean-up must know, read from MLflow's tables as they are at one moment."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.backend.cleanup.sources import VersionRow, records_of
from holdfast.backend.cleanup.store import PlaceOf, Wanted
from holdfast.backend.cleanup.tables import Tables, reading
from holdfast.core.cleanup.records import (
    ExperimentRecord,
    ModelRecord,
    Need,
    RunRecord,
    State,
    TraceRecord,
    VersionRecord,
)
from holdfast.core.redaction import Redactor

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

TRACE_PLACES = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")
SOURCE_RUN = "mlflow.sourceRun"
DELETED = "deleted"
_DELETED_VERSION = "Deleted_Internal"
_USES = {"RUN_INPUT": "input", "RUN_OUTPUT": "output"}


def read_state(uri: str, wanted: Wanted, place_of: PlaceOf, redact: Redactor) -> State:
    """Return what a database holds, as it was at one moment.

    Args:
        uri: A normalised database URI.
        wanted: What to read beside the rows that are always read.
        place_of: Makes a place of an address as the tables have it.
        redact: Hides the project's secrets in errors.

    Raises:
        BackendError: The database cannot be read.
    """
    with reading(uri, "read what clean-up must know", redact) as tables:
        return _Census(tables, place_of).state(wanted)


def read_versions(uri: str, place_of: PlaceOf, redact: Redactor) -> list[VersionRecord]:
    """Return the registered versions of a database; takes and raises what `read_state` does."""
    with reading(uri, "read the registered versions", redact) as tables:
        return versions_in(tables, place_of)


def versions_in(tables: Tables, place_of: PlaceOf) -> list[VersionRecord]:
    """Return the registered versions that the tables have, those of all workspaces."""
    rows = list(_version_rows(tables))
    places: dict[str, str] = {}
    if any(address.startswith("runs:") for row in rows for address in row.addresses):
        runs = tables.rows("runs", "run_uuid", "artifact_uri")
        places = {run_id: place_of(address) for run_id, address in runs if address}
    return records_of(rows, place_of, places)


@dataclass(frozen=True)
class _Census:
    tables: Tables
    place_of: PlaceOf

    def state(self, wanted: Wanted) -> State:
        runs = tuple(self._runs(wanted.details_of))
        models = tuple(self._models())
        live = {run.run_id for run in runs if not run.is_deleted}
        traces = tuple(self._traces(wanted.every_trace))
        return State(
            experiments=tuple(self._experiments()),
            runs=runs,
            models=models,
            traces=traces,
            versions=tuple(versions_in(self.tables, self.place_of)),
            needs=(*self._uses(models, live), *self._links(traces, live)),
        )

    def _place(self, address: str | None) -> str:
        return self.place_of(address) if address else ""

    def _experiments(self) -> Iterator[ExperimentRecord]:
        columns = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "last_update_time")
        for experiment_id, name, address, stage, changed in self.tables.rows("experiments", *columns):
            yield ExperimentRecord(str(experiment_id), name, self._place(address), stage == DELETED, changed)

    def _runs(self, details_of: Collection[str]) -> Iterator[RunRecord]:
        tags, metrics = self._tags(details_of), self._metrics(details_of)
        columns = (
            *("run_uuid", "experiment_id", "artifact_uri", "status", "lifecycle_stage"),
            *("start_time", "end_time", "deleted_time", "name"),
        )
        for run_id, experiment_id, address, status, stage, start, end, deleted, name in self.tables.rows(
            "runs", *columns
        ):
            yield RunRecord(
                run_id,
                str(experiment_id),
                self._place(address),
                status or "",
                stage == DELETED,
                start or 0,
                end,
                deleted if stage == DELETED else None,
                name or "",
                tags.get(run_id, {}),
                metrics.get(run_id, {}),
            )

    def _tags(self, experiment_ids: Collection[str]) -> Mapping[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for run_id, key, value in self.tables.rows(
            "tags", "run_uuid", "key", "value", where=self._of_runs_in("tags", experiment_ids)
        ):
            found[run_id][key] = value or ""
        return found

    def _metrics(self, experiment_ids: Collection[str]) -> Mapping[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for run_id, key, value, is_nan in self.tables.rows(
            *("latest_metrics", "run_uuid", "key", "value", "is_nan"),
            where=self._of_runs_in("latest_metrics", experiment_ids),
        ):
            found[run_id][key] = math.nan if is_nan else float(value)
        return found

    def _of_runs_in(self, table: str, experiment_ids: Collection[str]) -> list[ColumnElement[bool]]:
        from sqlalchemy import false, select

        if not experiment_ids or table not in self.tables:
            return [false()]
        runs = self.tables["runs"].c
        numbers = sorted(int(item) for item in experiment_ids if item.isdecimal())
        return [self.tables[table].c.run_uuid.in_(select(runs.run_uuid).where(runs.experiment_id.in_(numbers)))]

    def _models(self) -> Iterator[ModelRecord]:
        columns = (
            *("model_id", "experiment_id", "artifact_location", "source_run_id", "lifecycle_stage"),
            *("last_updated_timestamp_ms", "name"),
        )
        for model_id, experiment_id, address, run_id, stage, changed, name in self.tables.rows(
            "logged_models", *columns
        ):
            yield ModelRecord(
                model_id,
                str(experiment_id),
                self._place(address),
                run_id or "",
                stage == DELETED,
                changed or 0,
                name or "",
            )

    def _uses(self, models: Collection[ModelRecord], live: Collection[str]) -> Iterator[Need]:
        """Tell which models live runs took in or gave out that they did not log themselves."""
        sources = {model.model_id: model.run_id for model in models}
        for kind, run_id, model_id in self.tables.rows("inputs", "source_type", "source_id", "destination_id"):
            if kind in _USES and run_id in live and sources.get(model_id, run_id) != run_id:
                yield Need(f"{_USES[kind]} of run {run_id}", model_id=model_id)

    # -- traces -----------------------------------------------------------------------

    def _traces(self, every: bool) -> Iterator[TraceRecord]:
        """Yield traces; one that has files at two places twice."""
        if "trace_info" not in self.tables:
            return
        for trace_id, experiment_id, created, place, run_id in self.tables.stream(self._trace_query(every)):
            yield TraceRecord(trace_id, str(experiment_id), self._place(place), run_id or "", created or 0)

    def _trace_query(self, every: bool) -> Any:
        from sqlalchemy import and_, or_, select

        info, runs, experiments = (self.tables[name] for name in ("trace_info", "runs", "experiments"))
        tag, said = self.tables["trace_tags"], self.tables["trace_request_metadata"]
        joined = (
            info.join(experiments, experiments.c.experiment_id == info.c.experiment_id)
            .outerjoin(tag, and_(tag.c.request_id == info.c.request_id, tag.c.key.in_(TRACE_PLACES)))
            .outerjoin(said, and_(said.c.request_id == info.c.request_id, said.c.key == SOURCE_RUN))
            .outerjoin(runs, runs.c.run_uuid == said.c.value)
        )
        left = and_(said.c.value.is_not(None), runs.c.run_uuid.is_(None))
        chosen = [experiments.c.lifecycle_stage == DELETED, runs.c.lifecycle_stage == DELETED, left]
        chosen += [tag.c.value.is_not(None)] if every else []
        columns = (info.c.request_id, info.c.experiment_id, info.c.timestamp_ms, tag.c.value, said.c.value)
        return select(*columns).select_from(joined).where(or_(*chosen))

    def _links(self, traces: Collection[TraceRecord], live: Collection[str]) -> Iterator[Need]:
        """Tell which traces live runs were linked to that they were not recorded in."""
        linked = {trace_id: run_id for trace_id, run_id in linked_runs(self.tables) if run_id in live}
        for trace in traces:
            if trace.trace_id in linked and trace.place:
                yield Need(f"trace {trace.trace_id} linked to run {linked[trace.trace_id]}", place=trace.place)


def linked_runs(tables: Tables, trace_ids: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield traces, those given or all, and the runs that they were linked to afterwards."""
    if "entity_associations" not in tables:
        return
    links = tables["entity_associations"].c
    where = [links.source_type == "trace", links.destination_type == "run"]
    if trace_ids is not None:
        where.append(links.source_id.in_(list(trace_ids)))
    yield from tables.rows("entity_associations", "source_id", "destination_id", where=where)


def _version_rows(tables: Tables) -> Iterator[VersionRow]:
    aliases: dict[tuple[Any, str, int], list[str]] = defaultdict(list)
    for space, name, alias, version in tables.rows("registered_model_aliases", "workspace", "name", "alias", "version"):
        aliases[space, name, int(version)].append(alias)
    columns = ("workspace", "name", "version", "source", "storage_location", "run_id", "current_stage")
    for space, name, version, source, storage, run_id, stage in tables.rows("model_versions", *columns):
        if stage != _DELETED_VERSION:
            addresses = tuple(dict.fromkeys(address for address in (source, storage) if address))
            pointing = tuple(sorted(aliases.get((space, name, int(version)), ())))
            yield VersionRow(name, int(version), addresses, run_id or "", stage or "", pointing, space or "")
