"""The tracking store: experiments, runs, metrics, params and tags."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from holdfast.backend.client import Connection
from holdfast.backend.entities import Experiment, MetricPoint, Run
from holdfast.core.names import MAX_METRICS_PER_BATCH, MAX_PARAMS_PER_BATCH, MAX_TAGS_PER_BATCH
from holdfast.errors import AlreadyExistsError, BackendError

_PAGE = 1000
_VERSIONS_TAG = "mlflow.modelVersions"
_Item = TypeVar("_Item")


class TrackingStore:
    """Experiments and runs behind one tracking URI: SQLite, PostgreSQL or a server, all alike.

    Args:
        connection: Where, and what to hide in errors.

    Every method raises a `BackendError` (unavailable, not found, refused …) or an
    `InvalidInputError`, never an exception of MLflow, SQLAlchemy or requests.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _client(self) -> Any:
        return self._connection.client

    # -- experiments ------------------------------------------------------------------

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of this name, deleted or not; None where there is none."""
        with self._connection.tracking(f"look up experiment {name!r}"):
            found = self._client.get_experiment_by_name(name)
        return None if found is None else _experiment(found)

    def get_or_create_experiment(self, name: str, artifact_location: str | None = None) -> Experiment:
        """Return the experiment of this name, created where it is missing.

        Args:
            name: Its name.
            artifact_location: Where a *new* experiment keeps its artifacts; None leaves it to the server.

        Two processes that create it at once both get the same one.

        Raises:
            BackendError: The experiment is deleted.
        """
        found = self.find_experiment(name)
        if found is None:
            found = self._create_experiment(name, artifact_location)
        if found.deleted:
            raise BackendError(
                f"Experiment {name!r} is deleted.",
                f"mlflow experiments restore --experiment-id {found.experiment_id}, "
                "or set another MLFLOW_EXPERIMENT_NAME",
            )
        return found

    def _create_experiment(self, name: str, artifact_location: str | None) -> Experiment:
        try:
            with self._connection.tracking(f"create experiment {name!r}"):
                made = self._client.create_experiment(name, artifact_location=artifact_location)
                return _experiment(self._client.get_experiment(made))
        except AlreadyExistsError:  # someone else was faster
            found = self.find_experiment(name)
            if found is None:
                raise
            return found

    def experiments(self) -> list[Experiment]:
        """Return all experiments that are not deleted, the latest first."""
        with self._connection.tracking("list experiments"):
            return [_experiment(item) for page in self._pages("search_experiments") for item in page]

    # -- runs -------------------------------------------------------------------------

    def create_run(self, experiment_id: str, name: str | None, tags: Mapping[str, str]) -> Run:
        """Create a run in state RUNNING.

        Args:
            experiment_id: Where.
            name: Its name; None lets MLflow think of one.
            tags: Its tags. Those of MLflow's context (user, source, git commit) are added.
        """
        with self._connection.tracking(f"start a run in experiment {experiment_id}"):
            from mlflow.tracking.context.registry import resolve_tags

            client = self._client
            return _run(client.create_run(experiment_id, tags=resolve_tags(dict(tags)), run_name=name))

    def get_run(self, run_id: str) -> Run:
        """Return the run.

        Raises:
            NotFoundError: There is none of this id.
        """
        with self._connection.tracking(f"read run {run_id}"):
            return _run(self._client.get_run(run_id))

    def reopen_run(self, run_id: str) -> Run:
        """Set a run that had ended to RUNNING again, and return it.

        Raises:
            BackendError: The run is deleted.
        """
        run = self.get_run(run_id)
        if run.deleted:
            raise BackendError(f"Run {run_id} is deleted.", f"mlflow runs restore --run-id {run_id}")
        with self._connection.tracking(f"resume run {run_id}"):
            self._client.update_run(run_id, status="RUNNING")
        return run

    def end_run(self, run_id: str, status: str, end_time_ms: int | None = None) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        with self._connection.tracking(f"end run {run_id} as {status}"):
            from mlflow.entities import RunStatus

            # Not `set_terminated`: that prints the run's address, with the password of the tracking URI in it.
            store = self._client._tracking_client.store
            store.update_run_info(run_id, RunStatus.from_string(status), end_time_ms or now_ms(), run_name=None)

    def log(
        self,
        run_id: str,
        metrics: Sequence[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Store metrics, params and tags, in as few requests as MLflow's limits allow.

        Raises:
            InvalidInputError: MLflow refuses one, such as a param that has another value already.
        """
        with self._connection.tracking(f"log {_counted(metrics, params, tags)} to run {run_id}"):
            from mlflow.entities import Metric, Param, RunTag

            points = [Metric(m.name, m.value, m.timestamp_ms, m.step) for m in metrics]
            pairs = [Param(key, value) for key, value in (params or {}).items()]
            labels = [RunTag(key, value) for key, value in (tags or {}).items()]
            for batch in _batches(points, pairs, labels):
                self._client.log_batch(run_id, **batch)

    def metric_history(self, run_id: str, name: str) -> list[MetricPoint]:
        """Return every logged value of a metric, in the order of step and time; empty where it was not logged."""
        with self._connection.tracking(f"read metric {name!r} of run {run_id}"):
            found = self._client.get_metric_history(run_id, name)
        points = [MetricPoint(m.key, m.value, m.step, m.timestamp) for m in found]
        return sorted(points, key=lambda m: (m.step, m.timestamp_ms))

    def last_steps(self, run_id: str) -> dict[str, int]:
        """Return the greatest step that each metric of a run was logged with; one request.

        MLflow's latest value of a metric is the one of the greatest step.

        Raises:
            NotFoundError: There is none of this id.
        """
        with self._connection.tracking(f"read the steps of run {run_id}"):
            found = self._client.get_run(run_id).data
        return {metric.key: int(metric.step) for metric in found._metric_objs}

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        order_by: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[Run]:
        """Return runs that are not deleted.

        Args:
            experiment_ids: Where to look.
            filter_string: A filter in MLflow's language.
            order_by: MLflow's order clauses; the latest first where empty.
            limit: At most so many.

        Raises:
            InvalidInputError: The filter is not MLflow's language.
        """
        if not experiment_ids:
            return []
        page = min(_PAGE, limit or _PAGE)
        with self._connection.tracking(f"search runs{f' with filter {filter_string!r}' if filter_string else ''}"):
            pages = self._pages(
                "search_runs", list(experiment_ids), filter_string, order_by=list(order_by) or None, max_results=page
            )
            return [_run(item) for item in islice((item for items in pages for item in items), limit)]

    # -- logged models ----------------------------------------------------------------

    def find_logged_model(self, run: Run, name: str) -> str | None:
        """Return the id of the model that the run logged under this name, that of the last step, or None."""
        with self._connection.tracking(f"look for model {name!r} of run {run.run_id}"):
            filter_string = f"name = '{name}'"
            pages = self._pages("search_logged_models", [run.experiment_id], filter_string)
            mine = [model for page in pages for model in page if model.source_run_id == run.run_id]
            if len(mine) < 2:
                return str(mine[0].model_id) if mine else None
            outputs = self._client.get_run(run.run_id).outputs
            steps = {item.model_id: item.step for item in outputs.model_outputs} if outputs else {}
        last = max(mine, key=lambda model: (steps.get(model.model_id, -1), model.creation_timestamp))
        return str(last.model_id)

    def source_run_of_model(self, model_id: str) -> str | None:
        """Return the id of the run that logged this model, or None where it was logged outside of any.

        Raises:
            NotFoundError: There is no such model.
        """
        with self._connection.tracking(f"read model {model_id}"):
            return self._client.get_logged_model(model_id).source_run_id or None

    def note_registration(self, model_id: str, name: str, version: int) -> None:
        """Tell the logged model which version it became, where MLflow's UI looks for it."""
        with self._connection.tracking(f"note {name} version {version} on model {model_id}"):
            known = self._client.get_logged_model(model_id).tags.get(_VERSIONS_TAG)
            versions = [*(json.loads(known) if known else []), {"name": name, "version": version}]
            self._client.set_logged_model_tags(model_id, {_VERSIONS_TAG: json.dumps(versions)})

    def _pages(self, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = getattr(self._client, method)(*args, page_token=token, **kwargs)
            yield page
            token = page.token
            if not token:
                return


def now_ms() -> int:
    """Return the time as MLflow stores it: milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _batches(metrics: list[Any], params: list[Any], tags: list[Any]) -> Iterator[dict[str, list[Any]]]:
    chunks = _side_by_side(
        (metrics, MAX_METRICS_PER_BATCH - MAX_PARAMS_PER_BATCH - MAX_TAGS_PER_BATCH),
        (params, MAX_PARAMS_PER_BATCH),
        (tags, MAX_TAGS_PER_BATCH),
    )
    for some_metrics, some_params, some_tags in chunks:
        yield {"metrics": some_metrics, "params": some_params, "tags": some_tags}


def _side_by_side(*lists: tuple[list[_Item], int]) -> Iterator[tuple[list[_Item], ...]]:
    """Cut each list into chunks of its own size; yield them side by side until the longest is done."""
    start = 0
    while any(start * size < len(items) for items, size in lists):
        yield tuple(items[start * size : (start + 1) * size] for items, size in lists)
        start += 1


def _counted(metrics: Iterable[object], params: Mapping[str, str] | None, tags: Mapping[str, str] | None) -> str:
    counts = (("metrics", len(list(metrics))), ("params", len(params or {})), ("tags", len(tags or {})))
    return ", ".join(f"{count} {what}" for what, count in counts if count) or "nothing"


def _experiment(item: Any) -> Experiment:
    return Experiment(item.experiment_id, item.name, item.artifact_location or "", item.lifecycle_stage == "deleted")


def _run(item: Any) -> Run:
    info, data = item.info, item.data
    return Run(
        run_id=info.run_id,
        name=info.run_name or "",
        experiment_id=info.experiment_id,
        status=info.status,
        start_time_ms=info.start_time or 0,
        end_time_ms=info.end_time,
        artifact_uri=info.artifact_uri or "",
        deleted=info.lifecycle_stage == "deleted",
        params=dict(data.params),
        metrics=dict(data.metrics),
        tags=dict(data.tags),
    )
