"""What a tracking store does through the journal; everything else stays MLflow's.

`JournaledStore` stands before one of MLflow's stores in a class of both (see `making`). Until a delivery is attached
each method is MLflow's.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from holdfast.core.names import check_keys, is_unicode
from holdfast.core.sending import KEY_TAG, Refused, Unavailable
from holdfast.core.uris import is_database
from holdfast.delivery.identity import RunAbout
from holdfast.errors import HoldfastError, InvalidInputError, JournalError
from holdfast.journal.codec import Kind
from holdfast.journal.writer import NOT_PLAIN
from holdfast.lifecycle import status_for
from holdfast.plugins import entities
from holdfast.plugins.fluent_runs import watch_run
from holdfast.plugins.reads import JournaledReads
from holdfast.plugins.registry_uri import quicken_registry_uri

if TYPE_CHECKING:
    from holdfast.delivery.delivery import Delivery
    from holdfast.journal.writer import RunWriter

_NAME_TAG = "mlflow.runName"
# update_run_info, set_terminated, its client's, end_run, and what decorates them.
_FRAMES_TO_BLOCK = 8
_ENDED = ("FINISHED", "FAILED", "KILLED")


def _see_to_its_files(delivery: Delivery) -> None:
    """Have the files uploaded that plain code logs into the folder of a run begun offline."""
    from holdfast.artifacts.access import access_of
    from holdfast.settings import load_settings

    with contextlib.suppress(HoldfastError):  # `holdfast sync` says what is wrong with the settings
        settings = load_settings()
        delivery.see_to_uploads(access_of(settings), settings.artifact_root)


class JournaledStore(JournaledReads):
    """The writes. When one returns, what it was given is in the journal; it raises `JournalError` where not."""

    def holdfast_attach(self, delivery: Delivery) -> None:
        """Log through the journal from now on."""
        self._holdfast = delivery
        delivery.stores.add(self)
        quicken_registry_uri()

    def holdfast_detach(self) -> None:
        """Be MLflow's own store again."""
        self._holdfast = None

    def _writer(self, run_id: str) -> RunWriter:
        from mlflow.utils.validation import _validate_run_id

        _validate_run_id(run_id)  # it becomes the name of a folder
        return self._delivery.writer(run_id)

    # -- values -----------------------------------------------------------------------

    def log_metric(self, run_id: str, metric: Any) -> Any:
        """Log one value."""
        delivery = self._holdfast
        if delivery is None:
            return super().log_metric(run_id, metric)
        if metric.model_id is None and metric.dataset_name is None:
            if metric.timestamp < 0:
                raise _invalid(metric, ValueError("its timestamp is negative"))
            writer = delivery.writers.get(run_id) or self._writer(run_id)
            try:
                writer.metrics({metric.key: metric.value}, metric.step, metric.timestamp)
            except (InvalidInputError, *NOT_PLAIN) as error:
                raise _invalid(metric, error) from None
        else:
            self.log_batch(run_id, [metric], [], [])
        return None

    def log_param(self, run_id: str, param: Any) -> Any:
        """Log a param; it keeps its first value."""
        if self._holdfast is None:
            return super().log_param(run_id, param)
        self.log_batch(run_id, [], [param], [])
        return param.value

    def set_tag(self, run_id: str, tag: Any) -> Any:
        """Set a tag."""
        if self._holdfast is None:
            return super().set_tag(run_id, tag)
        return self.log_batch(run_id, [], [], [tag])

    def delete_tag(self, run_id: str, key: str) -> Any:
        """Delete a tag; one that is missing is no error, since the server is not asked."""
        if self._holdfast is None:
            return super().delete_tag(run_id, key)
        return self._writer(run_id).entry(Kind.DELETE_TAG, {"key": key})

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        """Log metrics, params and tags; all are checked before any is written."""
        delivery = self._holdfast
        if delivery is None:
            return super().log_batch(run_id, metrics, params, tags)
        if not params and not tags and self._put_plain(delivery, run_id, metrics):
            return None
        from mlflow.utils.validation import (
            _validate_batch_log_data,
            _validate_param_keys_unique,
            _validate_run_id,
        )

        _validate_run_id(run_id)
        # MLflow's own rules, which cut what is too long and say so.
        metrics, params, tags = _validate_batch_log_data(metrics, params, tags)
        _validate_param_keys_unique(params)
        delivery.check_params(run_id, [(param.key, str(param.value)) for param in params], _changed)
        writer = delivery.writers.get(run_id) or delivery.writer(run_id)
        pairs = [[param.key, str(param.value)] for param in params]
        labels = [[tag.key, str(tag.value)] for tag in tags]
        _check_texts(pairs, labels)
        plain = [m for m in metrics if m.model_id is None and m.dataset_name is None]
        if plain:
            writer.points([(m.key, float(m.value), m.timestamp, m.step) for m in plain])
        others = [
            [m.key, float(m.value), m.timestamp, m.step, m.model_id, m.dataset_name, m.dataset_digest]
            for m in metrics
            if m.model_id is not None or m.dataset_name is not None
        ]
        if others or pairs or labels:
            content = {"m": others, "p": pairs, "t": labels}
            writer.entry(Kind.ENTITIES, {key: value for key, value in content.items() if value})
        for key, value in labels:
            if key == _NAME_TAG:  # a batch sets the tag alone, `set_tag` the name as well
                writer.entry(Kind.UPDATE, {"status": None, "end_time": None, "name": value})
        return None

    def _put_plain(self, delivery: Delivery, run_id: str, metrics: Any) -> bool:
        """Log metrics that need no second look; False where MLflow's own rules have to say what is wrong."""
        points = [
            (m.key, m.value, m.timestamp, m.step) for m in metrics if m.model_id is None and m.dataset_name is None
        ]
        if len(points) < len(metrics) or any(time_ms < 0 for _, _, time_ms, _ in points):
            return False
        writer = delivery.writers.get(run_id) or self._writer(run_id)
        try:
            check_keys([key for key, _, _, _ in points], "metric")
            writer.points([(key, float(value), time_ms, step) for key, value, time_ms, step in points])
        except (InvalidInputError, *NOT_PLAIN):
            return False
        return True

    def log_batch_async(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        """Log at once, since nothing is waited for; what is returned is done."""
        if self._holdfast is None:
            return super().log_batch_async(run_id, metrics, params, tags)
        from mlflow.utils.async_logging.run_operations import RunOperations

        self.log_batch(run_id, metrics, params, tags)
        return RunOperations(operation_futures=[])

    # -- inputs and outputs -----------------------------------------------------------

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> Any:
        """Log datasets and model inputs."""
        if self._holdfast is None:
            return super().log_inputs(run_id, datasets, models)
        from mlflow.protos.service_pb2 import LogInputs

        message = LogInputs(
            datasets=[d.to_proto() for d in datasets or []], models=[m.to_proto() for m in models or []]
        )
        return self._writer(run_id).entry(Kind.INPUTS, _body(message))

    def log_outputs(self, run_id: str, models: Any) -> Any:
        """Log model outputs."""
        if self._holdfast is None:
            return super().log_outputs(run_id, models)
        from mlflow.protos.service_pb2 import LogOutputs

        return self._writer(run_id).entry(
            Kind.OUTPUTS, _body(LogOutputs(models=[model.to_proto() for model in models]))
        )

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> Any:
        """Note a model on its run."""
        if self._holdfast is None:
            return super().record_logged_model(run_id, mlflow_model)
        content = {"json": json.dumps(mlflow_model.get_tags_dict())}
        return self._writer(run_id).entry(Kind.MODEL, content)

    # -- runs -------------------------------------------------------------------------

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str | None) -> Any:
        """Begin a run: on the server where it answers within two seconds, else on a local id."""
        delivery = self._holdfast
        if delivery is None:
            return super().create_run(experiment_id, user_id, start_time, tags, run_name)
        key = delivery.new_key()
        texts = {tag.key: str(tag.value) for tag in tags or []} | {KEY_TAG: key}
        begun = self._begin_on_server(experiment_id, user_id, start_time, texts, run_name)
        if begun is None:
            about = delivery.begin_offline_run(str(experiment_id), user_id, start_time, run_name, texts, key)
            begun = entities.run_of_about(about)
            _see_to_its_files(delivery)
        delivery.entities[begun.info.run_id] = begun
        watch_run(self, begun.info.run_id)
        return begun

    def _begin_on_server(
        self, experiment_id: str, user: str, start_ms: int, tags: dict[str, str], name: str | None
    ) -> Any:
        delivery = self._delivery
        if delivery.is_offline:
            return None
        try:
            where = delivery.experiment_on_server(str(experiment_id))
            if is_database(delivery.target.tracking_uri):
                run = self._create_in_database(where, user, start_ms, tags, name)
            else:
                run = entities.run_of_ref(delivery.sender().create_run(where, user, start_ms, name, tags), user)
        except Unavailable as error:
            if error.needs_people:
                raise _refused(error.reason) from None
            delivery.go_offline()
            return None
        except Refused as error:
            raise _refused(error.reason) from None
        info = run.info
        about = RunAbout(
            info.run_id, tags[KEY_TAG], info.experiment_id, user, start_ms, info.run_name, tags, info.artifact_uri
        )
        try:
            delivery.begin_run(about)
        except JournalError:
            with contextlib.suppress(Refused, Unavailable):  # nobody would ever end it
                delivery.sender().delete_run(info.run_id)
            raise
        return run

    def _create_in_database(self, where: str, user: str, start_ms: int, tags: dict[str, str], name: str | None) -> Any:
        from mlflow.entities import RunTag

        if not self._delivery.is_reachable():
            raise Unavailable("the database cannot be opened")
        return super().create_run(where, user, start_ms, [RunTag(key, value) for key, value in tags.items()], name)

    def update_run_info(self, run_id: str, run_status: Any, end_time: int | None, run_name: str | None) -> Any:
        """Set status, end and name of a run."""
        delivery = self._holdfast
        if delivery is None:
            return super().update_run_info(run_id, run_status, end_time, run_name)
        from mlflow.entities import RunStatus

        status = None if run_status is None else RunStatus.to_string(run_status)
        if status == "FAILED" and _is_end_of_block() and status_for(*sys.exc_info()[:2]) == "KILLED":
            status = "KILLED"  # a block of MLflow's ends as FAILED by Ctrl-C and SIGTERM too
        writer = self._writer(run_id)
        if status == "RUNNING":  # somebody goes on with it, and is the one to end it
            writer.entry(Kind.OWNED, {})
            watch_run(self, run_id)
        writer.entry(Kind.UPDATE, {"status": status, "end_time": end_time, "name": run_name})
        if status in _ENDED:
            watch_run(self, run_id, is_over=True)
        return self._updated_info(run_id, status, end_time, run_name)

    def _updated_info(self, run_id: str, status: str | None, end_time: int | None, run_name: str | None) -> Any:
        known = self._delivery.entities.get(run_id)
        if known is None:
            return None
        info = known.info
        info._status = status or info.status
        info._end_time = end_time or info.end_time
        info._run_name = run_name or info.run_name
        return info

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> Any:
        """Create an experiment: on the server where it answers, else on a local id."""
        delivery = self._holdfast
        if delivery is None or delivery.is_reachable():
            return super().create_experiment(name, artifact_location, tags)
        texts = {tag.key: str(tag.value) for tag in tags or []}
        return delivery.begin_offline_experiment(name, artifact_location, texts).experiment_id


def _check_texts(*lists: list[list[str]]) -> None:
    """Refuse half of a surrogate pair, which MLflow's client fails on and no store takes."""
    for key, value in (pair for pairs in lists for pair in pairs):
        if not is_unicode(value):
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(
                f"The value of {key!r} holds half of a surrogate pair, which no store takes. "
                'Leave it out: value.encode(errors="replace").decode()'
            )


def _is_end_of_block() -> bool:
    """Whether MLflow ends the run because its `with` block was left, and nobody asked for this status."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES_TO_BLOCK):
        if frame is None or frame.f_code.co_name == "__exit__":
            return frame is not None
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _body(message: Any) -> dict[str, Any]:
    from mlflow.utils.proto_json_utils import message_to_json

    body: dict[str, Any] = json.loads(message_to_json(message))
    body.pop("run_id", None)
    return body


def _invalid(metric: Any, error: Exception) -> Any:
    """Return MLflow's own error for a metric that it refuses, so that code which expects that goes on working."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric

    _validate_metric(metric.key, metric.value, metric.timestamp, metric.step)
    return MlflowException.invalid_parameter_value(f"Got invalid metric {metric.key!r}: {error}")


def _changed(run_id: str, key: str, old: str, new: str) -> Any:
    from mlflow.exceptions import MlflowException

    return MlflowException.invalid_parameter_value(
        f"Changing param values is not allowed. Param with key={key!r} was already logged with value={old!r} for run "
        f"ID={run_id!r}. Attempted logging new value {new!r}."
    )


def _refused(reason: str) -> Any:
    from mlflow.exceptions import MlflowException

    return MlflowException(reason)
