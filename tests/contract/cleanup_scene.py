"""Experiments, runs, models, traces and versions for the tests of clean-up, made by MLflow itself."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from inspect import signature as inspect_signature
from typing import Any

from sqlalchemy import MetaData, String, Table, cast, create_engine, func, inspect, select

from holdfast.core.cleanup.records import State, VersionRecord


@dataclass
class Scene:
    """An experiment to make things in, with MLflow's own client."""

    client: Any
    experiment_id: str
    name: str

    def run(self, experiment_id: str | None = None, **tags: str) -> str:
        made = self.client.create_run(experiment_id or self.experiment_id, tags=tags)
        self.client.set_terminated(made.info.run_id)
        return str(made.info.run_id)

    def place(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.artifact_uri)

    def model(self, run_id: str | None = None, experiment_id: str | None = None) -> str:
        made = self.client.create_logged_model(
            experiment_id or self.experiment_id, name="net", source_run_id=run_id, params={"p": "1"}, tags={"t": "1"}
        )
        if run_id:
            self.gives_out(run_id, made.model_id)
        return str(made.model_id)

    def gives_out(self, run_id: str, model_id: str) -> None:
        from mlflow.entities import LoggedModelOutput

        self.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])

    def takes_in(self, run_id: str, model_id: str) -> None:
        from mlflow.entities import LoggedModelInput

        self.client.log_inputs(run_id, models=[LoggedModelInput(model_id)])

    def dataset(self, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(f"set-{run_id[:6]}", secrets.token_hex(4), "local", "{}")
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def metrics(self, run_id: str, model_id: str | None = None) -> None:
        from mlflow.entities import Metric, Param

        points = [Metric(f"m{n}", float(n), 1, step, model_id=model_id) for n in range(3) for step in range(2)]
        self.client.log_batch(run_id, [*points, Metric("odd", float("nan"), 1, 0)], [Param("p", "1")])

    def trace(self, run_id: str | None = None, experiment_id: str | None = None) -> str:
        from mlflow.entities import TraceInfo, TraceLocation, TraceState

        info = TraceInfo(
            trace_id=f"tr-{secrets.token_hex(16)}",
            trace_location=TraceLocation.from_experiment_id(experiment_id or self.experiment_id),
            request_time=int(time.time() * 1000),
            state=TraceState.OK,
            trace_metadata={"mlflow.sourceRun": run_id} if run_id else {},
        )
        store = self.client._tracking_client.store
        return str(_start_trace(store, info).trace_id)

    def register(self, source: str, run_id: str | None = None, name: str | None = None) -> tuple[str, int]:
        name = name or f"{self.name}-{secrets.token_hex(3)}"
        self.client.create_registered_model(name)
        # A server takes only a source that lies in the run or the model that is named with it.
        model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
        made = self.client.create_model_version(name, source, run_id, model_id=model_id)
        return name, int(made.version)


def _start_trace(store: Any, info: Any) -> Any:
    if "trace_info" in inspect_signature(store.start_trace).parameters:
        return store.start_trace(info)
    # MLflow 3.0 gives them ids of its own.
    return store.start_trace(info.experiment_id, info.request_time, info.trace_metadata, {})


def versions_of(found: State | tuple[VersionRecord, ...], name: str) -> list[VersionRecord]:
    versions = found.versions if isinstance(found, State) else found
    return [version for version in versions if version.name == name]


def mentions(uri: str, text: str) -> dict[str, int]:
    """Return in which columns of a database a text stands."""
    engine, found = create_engine(uri), {}
    with engine.connect() as connection:
        for table in _tables(uri.partition(":")[0], uri).values():
            counts = [func.count().filter(cast(column, String).contains(text)).label(column.name) for column in table.c]
            said = connection.execute(select(*counts).select_from(table)).one()
            found.update({f"{table.name}.{column}": count for column, count in said._mapping.items()})
    engine.dispose()
    return {name: count for name, count in found.items() if count}


_known: dict[str, Any] = {}


def _tables(dialect: str, uri: str) -> dict[str, Table]:
    """Return all tables; those of the session's databases are the same, and looking takes seconds."""
    if dialect not in _known:
        known = MetaData()
        engine = create_engine(uri)
        known.reflect(engine, resolve_fks=False)
        engine.dispose()
        _known[dialect] = dict(known.tables)
    return _known[dialect]


def link(uri: str, trace: str, run: str) -> None:
    """Link a trace to a run, where MLflow knows such links."""
    engine = create_engine(uri)
    with engine.begin() as connection:
        if inspect(connection).has_table("entity_associations"):
            table = Table("entity_associations", MetaData(), autoload_with=connection)
            ends = {"source_type": "trace", "source_id": trace, "destination_type": "run", "destination_id": run}
            connection.execute(table.insert().values(association_id=f"a-{run[:8]}", **ends))
    engine.dispose()
