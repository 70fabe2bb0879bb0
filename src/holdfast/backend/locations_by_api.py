"""Where files lie, as MLflow's API tells it: for stores whose database is out of reach. It can be read, not written."""

from __future__ import annotations

from typing import Any

from holdfast.backend.client import Connection
from holdfast.backend.locations import Catalog, Column, ExperimentRow, Location
from holdfast.backend.paging import all_of

_EXPERIMENTS_AT_ONCE = 50
_EXPERIMENT = Column("experiments", "artifact_location", "experiment")
_RUN = Column("runs", "artifact_uri", "run")
_MODEL = Column("logged_models", "artifact_location", "model")
_VERSION = Column("model_versions", "source", "version")


def read_catalog_by_api(connection: Connection) -> Catalog:
    """Return where everything lies that MLflow's API knows: experiments, runs, logged models and versions.

    Traces are left out: their files lie below their experiments'.

    Raises:
        BackendError: The server cannot be reached, or refuses.
    """
    catalog = Catalog(experiments=read_experiments(connection))
    catalog.locations = [
        Location(_EXPERIMENT, (("experiment_id", item.experiment_id),), item.location, item.experiment_id)
        for item in catalog.experiments
    ]
    with connection.tracking("read where files lie"):
        ids = [experiment.experiment_id for experiment in catalog.experiments]
        for start in range(0, len(ids), _EXPERIMENTS_AT_ONCE):
            _read_runs(connection.client, ids[start : start + _EXPERIMENTS_AT_ONCE], catalog)
            _read_models(connection.client, ids[start : start + _EXPERIMENTS_AT_ONCE], catalog)
    with connection.registry("read where versions lie"):
        _read_versions(connection.client, catalog)
    return catalog


def read_experiments(connection: Connection) -> list[ExperimentRow]:
    """Return all experiments of a store of any kind, deleted ones included.

    Raises:
        BackendError: The store cannot be reached, or refuses.
    """
    with connection.tracking("list experiments"):
        from mlflow.entities import ViewType

        return [
            ExperimentRow(
                str(item.experiment_id), item.name, item.artifact_location or "", item.lifecycle_stage == "deleted"
            )
            for item in all_of(connection.client.search_experiments, view_type=ViewType.ALL)
        ]


def _read_runs(client: Any, experiment_ids: list[str], catalog: Catalog) -> None:
    from mlflow.entities import ViewType

    for item in all_of(client.search_runs, experiment_ids=experiment_ids, run_view_type=ViewType.ALL):
        info = item.info
        catalog.experiment_of_run[info.run_id] = info.experiment_id
        if info.status in ("RUNNING", "SCHEDULED") and info.lifecycle_stage == "active":
            catalog.under_way.setdefault(info.experiment_id, []).append(info.run_id)
        if info.artifact_uri:
            key = (("run_uuid", info.run_id),)
            catalog.locations.append(Location(_RUN, key, info.artifact_uri, info.experiment_id))


def _read_models(client: Any, experiment_ids: list[str], catalog: Catalog) -> None:
    # Servers take no more than a hundred at once here.
    for item in all_of(client.search_logged_models, page=100, experiment_ids=experiment_ids):
        key = (("model_id", item.model_id),)
        catalog.locations.append(Location(_MODEL, key, item.artifact_location, str(item.experiment_id)))


def _read_versions(client: Any, catalog: Catalog) -> None:
    for item in all_of(client.search_model_versions, filter_string=""):
        key = (("name", item.name), ("version", int(item.version)))
        experiment_id = catalog.experiment_of_run.get(item.run_id or "", "")
        catalog.locations.append(Location(_VERSION, key, item.source or "", experiment_id))
