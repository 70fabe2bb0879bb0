"""Whether things may still be removed: asked in the transaction that removes them, with their rows locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.backend.cleanup.sql_census import DELETED, SOURCE_RUN, linked_runs, versions_in
from holdfast.backend.cleanup.store import LINKED, NOT_DELETED, REGISTERED, RESTORED, USED, PlaceOf
from holdfast.backend.cleanup.tables import Tables
from holdfast.core.cleanup.places import protecting
from holdfast.core.cleanup.records import VersionRecord

if TYPE_CHECKING:
    from sqlalchemy import Table


class Registered:
    """What registered versions come from.

    Args:
        versions: All of them.
    """

    def __init__(self, versions: Iterable[VersionRecord]) -> None:
        self._runs: set[str] = set()
        self._models: set[str] = set()
        self._places: set[str] = set()
        for version in versions:
            self._runs.add(version.run_id)
            self._models.add(version.model_id)
            self._places.update(map(protecting, version.places))
        self._above = {above for place in self._places for above in _above(place)}

    def has_run(self, run_id: str) -> bool:
        """Whether a version comes from a run."""
        return run_id in self._runs

    def has_model(self, model_id: str) -> bool:
        """Whether a version comes from a logged model."""
        return model_id in self._models

    def touches(self, place: str) -> bool:
        """Whether a version has its files at a place, below or above it."""
        if not place:
            return False
        return place in self._places or place in self._above or any(up in self._places for up in _above(place))


def _above(place: str) -> Iterator[str]:
    """Yield the places above one, up to the bucket or folder that it begins with."""
    scheme, separator, path = place.rpartition("://")
    parts = path.split("/")
    for count in range(len(parts) - 1, 0, -1):
        up = "/".join(parts[:count])
        if up:
            yield f"{scheme}{separator}{up}"


@dataclass(frozen=True)
class Checks:
    """Looks at rows that are to be removed, and locks them.

    Each method returns the ids of those that must stay, and why; rows that are gone are none of them.
    """

    tables: Tables
    place_of: PlaceOf

    def runs(self, run_ids: Sequence[str]) -> dict[str, str]:
        """A run stays if it is not deleted, or if a version comes from it, its models or its files."""
        registered = Registered(versions_in(self.tables, self.place_of))
        models: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for model_id, run_id, address in self._some(
            "logged_models", "source_run_id", run_ids, "model_id", "source_run_id", "artifact_location"
        ):
            models[run_id].append((model_id, address or ""))
        kept: dict[str, str] = {}
        for run_id, stage, address in self._locked(
            "runs", "run_uuid", run_ids, "run_uuid", "lifecycle_stage", "artifact_uri"
        ):
            if stage != DELETED:
                kept[run_id] = RESTORED
            elif self._is_registered(registered, run_id, address or "", models[run_id]):
                kept[run_id] = REGISTERED
        return kept

    def _is_registered(
        self, registered: Registered, run_id: str, address: str, models: Sequence[tuple[str, str]]
    ) -> bool:
        places = [address, *(place for _, place in models)]
        return (
            registered.has_run(run_id)
            or any(registered.has_model(model_id) for model_id, _ in models)
            or any(registered.touches(self.place_of(place)) for place in places if place)
        )

    def models(self, model_ids: Sequence[str]) -> dict[str, str]:
        """A model stays if neither it nor what it belongs to is deleted, if it is registered, or a live run uses it."""
        columns = ("model_id", "lifecycle_stage", "source_run_id", "experiment_id", "artifact_location")
        rows = list(self._locked("logged_models", "model_id", model_ids, *columns))
        runs = self._live("runs", "run_uuid", {row[2] for row in rows if row[2]})
        experiments = self._live("experiments", "experiment_id", {row[3] for row in rows})
        registered, used = Registered(versions_in(self.tables, self.place_of)), self._used(rows)
        kept: dict[str, str] = {}
        for model_id, stage, run_id, experiment_id, address in rows:
            belongs = run_id in runs if run_id else experiment_id in experiments
            if stage != DELETED and belongs:
                kept[model_id] = RESTORED
            elif registered.has_model(model_id) or registered.touches(self.place_of(address or "")):
                kept[model_id] = REGISTERED
            elif model_id in used:
                kept[model_id] = USED
        return kept

    def _used(self, rows: Sequence[Any]) -> set[str]:
        """Return the models that live runs took in or gave out that they did not log themselves."""
        sources = {row[0]: row[2] for row in rows}
        uses = [
            (run_id, model_id)
            for kind, run_id, model_id in self._some(
                "inputs", "destination_id", list(sources), "source_type", "source_id", "destination_id"
            )
            if kind in ("RUN_INPUT", "RUN_OUTPUT") and run_id != sources[model_id]
        ]
        live = self._live("runs", "run_uuid", {run_id for run_id, _ in uses})
        return {model_id for run_id, model_id in uses if run_id in live}

    def traces(self, trace_ids: Sequence[str]) -> dict[str, str]:
        """A trace stays if its run is live, or it has none and its experiment is, or a live run is linked to it."""
        rows = list(self._locked("trace_info", "request_id", trace_ids, "request_id", "experiment_id"))
        said = self._some("trace_request_metadata", "request_id", trace_ids, "request_id", "key", "value")
        source = {trace_id: run_id for trace_id, key, run_id in said if key == SOURCE_RUN and run_id}
        links = list(linked_runs(self.tables, trace_ids))
        live = self._live("runs", "run_uuid", {*source.values(), *(run_id for _, run_id in links)})
        linked = {trace_id for trace_id, run_id in links if run_id in live}
        experiments = self._live("experiments", "experiment_id", {row[1] for row in rows})
        kept: dict[str, str] = {}
        for trace_id, experiment_id in rows:
            if source.get(trace_id) in live:
                kept[trace_id] = RESTORED
            elif trace_id not in source and experiment_id in experiments:
                kept[trace_id] = NOT_DELETED
            elif trace_id in linked:
                kept[trace_id] = LINKED
        return kept

    def experiments(self, experiment_ids: Sequence[str]) -> dict[str, str]:
        """An experiment stays if it is not deleted, holds something, or a guardrail of MLflow's gateway needs it."""
        rows = self._locked("experiments", "experiment_id", experiment_ids, "experiment_id", "lifecycle_stage")
        kept = {str(found): RESTORED for found, stage in rows if stage != DELETED}
        for table, what in (("runs", "runs"), ("logged_models", "logged models"), ("trace_info", "traces")):
            for (found,) in self._some(table, "experiment_id", experiment_ids, "experiment_id"):
                kept.setdefault(str(found), f"it still has {what}")
        for found in self._guarded(experiment_ids):
            kept.setdefault(str(found), "a guardrail of the gateway uses its scorer")
        return kept

    def _guarded(self, experiment_ids: Sequence[str]) -> Iterator[Any]:
        if "guardrails" in self.tables:
            scorers = list(self._some("scorers", "experiment_id", experiment_ids, "scorer_id", "experiment_id"))
            of = dict(tuple(row) for row in scorers)
            for (scorer_id,) in self._some("guardrails", "scorer_id", list(of), "scorer_id"):
                yield of[scorer_id]

    def _live(self, table: str, key: str, ids: Collection[Any]) -> set[Any]:
        """Return which of some rows are there and not deleted, and lock them all."""
        rows = self._locked(table, key, sorted(ids), key, "lifecycle_stage")
        return {found for found, stage in rows if stage != DELETED}

    def _locked(self, table: str, key: str, ids: Sequence[Any], *columns: str) -> list[Any]:
        return self._select(table, key, ids, columns, locks=True)

    def _some(self, table: str, key: str, ids: Sequence[Any], *columns: str) -> list[Any]:
        return self._select(table, key, ids, columns, locks=False)

    def _select(self, name: str, key: str, ids: Sequence[Any], columns: Sequence[str], locks: bool) -> list[Any]:
        from sqlalchemy import select

        if name not in self.tables or not ids:
            return []
        table = self.tables[name]
        chosen = table.c[key].in_([_as_in(table, key, item) for item in ids])
        query = select(*(table.c[column] for column in columns)).where(chosen)
        # All in the same order, so that two who lock the same rows wait for each other instead of failing.
        query = query.order_by(table.c[key]).with_for_update() if locks else query.distinct()
        return list(self.tables.connection.execute(query))


def _as_in(table: Table, key: str, value: Any) -> Any:
    return int(value) if table.c[key].type.python_type is int else value
