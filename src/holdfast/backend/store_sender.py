"""A SQL database reached by MLflow's own tracking store, as MLflow itself reaches it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from holdfast.backend.client import quiet_migrations
from holdfast.backend.database import check_opens
from holdfast.backend.diagnosis import diagnose
from holdfast.backend.first_opening import opened_alone
from holdfast.backend.rest_errors import DoubledError, code_error, within
from holdfast.backend.rest_messages import batch_request, compact
from holdfast.backend.rest_sender import key_filter
from holdfast.backend.sendable import (
    HISTORY_TAG,
    check_int64,
    check_status,
    check_text,
    holds_model,
    model_of,
    new_outputs,
    smaller_parts,
)
from holdfast.core.redaction import Redactor
from holdfast.core.sending import ExperimentRef, Point, Refused, RunRef, Unavailable
from holdfast.core.uris import mask_uri, secrets_in

_OPENS_WITHIN_S = 10.0
_RUNS_PAGE = 100
_T = TypeVar("_T")


class StoreSender:
    """Sends to a database; implements `holdfast.core.sending.Sender`.

    Args:
        tracking_uri: A normalised database URI. A SQLite file that is missing is made, with its tables.
        redact: Hides the project's secrets in errors; the URI's password is hidden in any case.

    Making one does nothing; MLflow is imported and the database opened at the first call. The store
    is always MLflow's own, never one that a plugin has put in its place.
    """

    def __init__(self, tracking_uri: str, redact: Redactor | None = None) -> None:
        self._uri = tracking_uri
        self._own = Redactor(secrets_in(tracking_uri))
        self._redact = redact or Redactor()

    def __repr__(self) -> str:
        return f"StoreSender({mask_uri(self._uri)!r})"

    # -- the database -----------------------------------------------------------------

    @cached_property
    def _store(self) -> Any:
        # MLflow would try ten times, for minutes, and tell the screen about it.
        self._check_opens(_OPENS_WITHIN_S)
        with quiet_migrations(), opened_alone(self._uri):
            from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

            return _get_sqlalchemy_store(self._uri, None)

    def check(self, timeout_s: float) -> None:
        """Return if the database answers within this time; raise `Unavailable` if not."""
        with self._translated(f"open {mask_uri(self._uri)}"):
            self._check_opens(timeout_s)

    def _check_opens(self, timeout_s: float) -> None:
        # A driver counts whole seconds, the shortest of them two.
        within(timeout_s, f"open {mask_uri(self._uri)}", lambda: check_opens(self._uri, max(2, round(timeout_s))))

    def close(self) -> None:
        """Let go of connections."""
        store = self.__dict__.pop("_store", None)
        if store is not None:
            store._dispose_engine()

    # -- experiments ------------------------------------------------------------------

    def find_experiment(self, name: str) -> ExperimentRef | None:
        """Return the experiment of this name, deleted or not."""
        with self._translated("find experiment"):
            found = self._store.get_experiment_by_name(name)
            return None if found is None else _experiment_ref(found)

    def get_experiment(self, experiment_id: str) -> ExperimentRef | None:
        """Return the experiment, or None where there is none."""
        with self._translated(f"get experiment {experiment_id}"):
            return _unless(
                "RESOURCE_DOES_NOT_EXIST", lambda: _experiment_ref(self._store.get_experiment(experiment_id))
            )

    def create_experiment(self, name: str, artifact_location: str | None, tags: Mapping[str, str]) -> ExperimentRef:
        """Create an experiment; where somebody else was faster, return theirs."""
        with self._translated("create experiment"):
            from mlflow.entities import ExperimentTag

            check_text(compact({"name": name, "tags": dict(tags)}))
            given = [ExperimentTag(key, value) for key, value in tags.items()]
            create = self._store.create_experiment
            _unless("RESOURCE_ALREADY_EXISTS", lambda: create(name, artifact_location or None, given))
        found = self.find_experiment(name)
        if found is None:
            raise Unavailable(f"experiment {self._hide(name)!r} exists, but is not found")
        return found

    # -- runs -------------------------------------------------------------------------

    def find_runs(self, experiment_id: str, key: str) -> list[RunRef]:
        """Return the runs whose tag `KEY_TAG` is `key`, deleted ones too, the earliest first."""
        found: list[RunRef] = []
        token: str | None = None
        wanted = key_filter(key)
        with self._translated("find runs"):
            from mlflow.entities import ViewType

            while True:
                page = self._store.search_runs(
                    [experiment_id], wanted, ViewType.ALL, _RUNS_PAGE, ["attributes.start_time ASC"], token
                )
                found += [_run(run) for run in page]
                token = page.token
                if not token:
                    return found

    def create_run(
        self, experiment_id: str, user: str, start_time_ms: int, name: str | None, tags: Mapping[str, str]
    ) -> RunRef:
        """Create a run in state RUNNING; not repeatable, see `find_runs`."""
        check_int64(start_time_ms=start_time_ms)
        check_text(compact({"user": user, "name": name, "tags": dict(tags)}))
        with self._translated("create run"):
            from mlflow.entities import RunTag

            given = [RunTag(key, value) for key, value in tags.items()]
            return _run(self._store.create_run(experiment_id, user, start_time_ms, given, name or ""))

    def get_run(self, run_id: str) -> RunRef | None:
        """Return the run, deleted or not; None where there is none."""
        with self._translated(f"get run {run_id}"):
            return _unless("RESOURCE_DOES_NOT_EXIST", lambda: _run(self._store.get_run(run_id)))

    def delete_run(self, run_id: str) -> None:
        """Delete a run (MLflow keeps it restorable)."""
        with self._translated(f"delete run {run_id}"):
            self._store.delete_run(run_id)

    def update_run(self, run_id: str, status: str | None, end_time_ms: int | None, name: str | None) -> None:
        """Set status, end time and name; None leaves as it is."""
        check_status(status)
        check_int64(end_time_ms=end_time_ms)
        with self._translated(f"update run {run_id}"):
            from mlflow.entities import RunStatus

            code = None if status is None else RunStatus.from_string(status)
            self._store.update_run_info(run_id, code, end_time_ms, name)

    # -- what a run holds -------------------------------------------------------------

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        """Store at most 1,000 metrics, 100 params and 100 tags, 1,000 in all."""
        batch_request(run_id, metrics, params, tags)  # refuses what the database would break on, at each try
        try:
            self._log_batch(run_id, metrics, params, tags)
        except DoubledError:
            for part in smaller_parts(metrics, lambda key: self.metric_history(run_id, key)):
                self._log_batch(run_id, part, params, tags)

    def _log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        with self._translated(f"log to run {run_id}"):
            from mlflow.entities import Metric, Param, RunTag

            points = [Metric(p.key, float(p.value), p.timestamp, p.step, *(p.extra or ())) for p in metrics]
            self._store.log_batch(run_id, points, [Param(*pair) for pair in params], [RunTag(*pair) for pair in tags])

    def log_inputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store datasets and model inputs; `body` is the request of MLflow's REST API without the run id."""
        with self._translated(f"log inputs of run {run_id}"):
            from mlflow.entities import DatasetInput, LoggedModelInput
            from mlflow.protos.service_pb2 import LogInputs

            asked = _parsed(body, LogInputs())
            datasets = [DatasetInput.from_proto(item) for item in asked.datasets]
            models = [LoggedModelInput.from_proto(item) for item in asked.models]
            self._store.log_inputs(run_id, datasets=datasets, models=models or None)

    def log_outputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store model outputs; `body` is the request of MLflow's REST API without the run id."""
        with self._translated(f"log outputs of run {run_id}"):
            from mlflow.entities import LoggedModelOutput
            from mlflow.protos.service_pb2 import LogOutputs

            stored = {output.model_id for output in self._store.get_run(run_id).outputs.model_outputs}
            asked = _parsed({"models": new_outputs(body, stored)}, LogOutputs())
            if asked.models:
                self._store.log_outputs(run_id, [LoggedModelOutput.from_proto(item) for item in asked.models])

    def log_model(self, run_id: str, model_json: str) -> None:
        """Note a model the way MLflow 2 did (`mlflow.log-model.history`)."""
        with self._translated(f"note a model of run {run_id}"):
            from mlflow.models import Model

            if not holds_model(self._store.get_run(run_id).data.tags.get(HISTORY_TAG), model_json):
                self._store.record_logged_model(run_id, Model.from_dict(model_of(model_json)))

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag; nothing happens where there is none."""
        try:
            with self._translated(f"delete tag of run {run_id}"):
                self._store.delete_tag(run_id, key)
        except Refused as error:
            if error.about_run or "No tag with name" not in error.reason:
                raise

    def metric_history(self, run_id: str, key: str) -> list[Point]:
        """Return every stored value of a metric, in any order."""
        with self._translated(f"read metric of run {run_id}"):
            found = self._store.get_metric_history(run_id, key)
            return [Point(metric.key, metric.value, metric.timestamp, metric.step) for metric in found]

    # -- errors -----------------------------------------------------------------------

    def _hide(self, text: str) -> str:
        return self._redact(self._own(text))

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            with _tracebacks_kept_off_the_log():
                yield
        except (Refused, Unavailable):
            raise
        except Exception as error:
            raise self._error(doing, error) from None

    def _error(self, doing: str, error: Exception) -> Exception:
        message = str(error) or type(error).__name__
        code = getattr(error, "error_code", None)
        reason = f"{doing}: {message}"
        if isinstance(code, str):
            told = code_error(code, message, reason, self._hide)
            return self._diagnosed(message, told) if isinstance(told, Unavailable) else told
        needs_people = isinstance(error, ImportError)
        return self._diagnosed(message, Unavailable(self._hide(reason), needs_people=needs_people))

    def _diagnosed(self, message: str, error: Exception) -> Exception:
        """Tell trouble that only people mend, such as a wrong password, from trouble that passes."""
        cause = diagnose(message.partition("\n[SQL")[0], self._uri)
        if cause is None:
            return error
        return Unavailable(self._hide(f"{cause.message} {cause.hint}".strip()), needs_people=not cause.retryable)


@contextmanager
def _tracebacks_kept_off_the_log() -> Iterator[None]:
    """MLflow logs each failure of the database with its traceback, which in an outage means at each try."""
    logger = logging.getLogger("mlflow.store.db.utils")

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("SQLAlchemy database error")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _unless(code: str, call: Callable[[], _T]) -> _T | None:
    """Return what `call` gives, or None where MLflow answers with this code."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code == code:
            return None
        raise


def _parsed(body: Mapping[str, Any], message: Any) -> Any:
    """Fill one of MLflow's protobuf messages, as its server does."""
    from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]

    check_text(compact(body))
    try:
        return ParseDict(dict(body), message, ignore_unknown_fields=True)
    except ParseError as error:
        raise Refused(f"not a request of MLflow: {error}") from None


def _experiment_ref(found: Any) -> ExperimentRef:
    deleted = found.lifecycle_stage == "deleted"
    return ExperimentRef(str(found.experiment_id), found.name, found.artifact_location or "", deleted)


def _run(found: Any) -> RunRef:
    info, data = found.info, found.data
    return RunRef(
        run_id=info.run_id,
        experiment_id=str(info.experiment_id),
        name=info.run_name or "",
        status=info.status,
        start_time_ms=info.start_time or 0,
        end_time_ms=info.end_time,
        artifact_uri=info.artifact_uri or "",
        deleted=info.lifecycle_stage == "deleted",
        params=dict(data.params),
        metrics=dict(data.metrics),
        tags=dict(data.tags),
    )
