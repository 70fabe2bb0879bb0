"""Where the histories of registered models are kept: in runs, as params, which MLflow lets nobody change.

Each model has a run in the experiment `holdfast-history`; event 17 is its param `event/000017`. Logging a param that is
there with another value is refused by every MLflow server and database, so that of two who write event 17 at once
exactly one does: a compare-and-set on a stock server.

Which run is a model's stands in a run of its own, the index, as a param too; and which run is the index, in a tag that
the experiment `holdfast-history-index` got when it was made: an experiment's name can be taken once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.backend.client import Connection
from holdfast.backend.patience import patiently
from holdfast.backend.tracking import now_ms
from holdfast.core.uris import join_uri
from holdfast.errors import AlreadyExistsError, BackendError, HistoryError, HoldfastError, InvalidInputError

EXPERIMENT = "holdfast-history"
INDEX_EXPERIMENT = "holdfast-history-index"
MODEL_TAG = "holdfast.model"
"""On a history's run: the model it is of."""
HISTORY_TAG = "holdfast.history"
"""On a registered model: the run that keeps its history."""
_INDEX_TAG = "holdfast.index"
_KEY = "event/{:06d}"
# Of a run's name; that of a registered model may be longer, and stands whole in the run's tag.
_MAX_RUN_NAME_LENGTH = 250
_NOTE = (
    "The history of registered model {!r}, written by Holdfast; `holdfast models history` shows it. "
    "Deleting this run loses it."
)


@dataclass(frozen=True)
class HistoryRun:
    """A model's history as it is kept.

    Attributes:
        run_id: The run.
        artifact_uri: Where its files lie.
        model: The model it was begun for.
        is_deleted: Whether the run is deleted; it can be read then, not written.
        texts: The events, in order, up to the first gap.
        beyond: The numbers of events that stand behind a gap.
        tags: The run's tags.
    """

    run_id: str
    artifact_uri: str
    model: str
    is_deleted: bool
    texts: tuple[str, ...]
    beyond: tuple[int, ...]
    tags: Mapping[str, str]


class HistoryStore:
    """Histories behind one tracking URI.

    Args:
        connection: Where. Calls go past the journal, whatever else logs to this server in this process: an event is
            either written or not.

    Every method raises a `HoldfastError`, never an exception of MLflow, SQLAlchemy or requests.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, run_id: str) -> HistoryRun:
        """Return the history that a run keeps; one request.

        Raises:
            NotFoundError: There is no such run (any more).
        """
        run = self._call(f"read the history in run {run_id}", "get_run", run_id)
        return _history(run)

    def append(self, run_id: str, number: int, text: str) -> bool:
        """Write event `number`; one request.

        Returns:
            Whether it stands there now; False where another does.

        Raises:
            HistoryError: The run was deleted.
            BackendError: It was refused, or the answer is missing: it may still arrive there.
        """
        from mlflow.entities import Param

        try:
            self._call(f"write event {number} of a history", "log_param", run_id, Param(_KEY.format(number), text))
        except (InvalidInputError, BackendError) as error:
            # MLflow's answers differ from version to version, and one may be lost; what stands there tells.
            kept = self.read(run_id)
            if kept.is_deleted:
                raise _deleted(run_id, kept.model) from None
            if len(kept.texts) < number:
                raise _not_written(number, error) from None
            return kept.texts[number - 1] == text
        return True

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a history's run; one request."""
        from mlflow.entities import RunTag

        self._call(f"tag the history in run {run_id}", "set_tag", run_id, RunTag(key, value))

    def restore(self, run_id: str) -> None:
        """Take back the deletion of a history's run."""
        self._call(f"restore the history in run {run_id}", "restore_run", run_id)

    def artifact_uri_of(self, run_id: str) -> str | None:
        """Return where the artifacts of a history's run lie, or lay where it is gone; None without any histories."""
        found = self._call("look up the experiment of histories", "get_experiment_by_name", EXPERIMENT)
        return None if found is None else join_uri(str(found.artifact_location), run_id, "artifacts")

    def find(self, name: str) -> str | None:
        """Return the run that keeps the history of a model, or None where it has none; two requests."""
        index = self._index()
        entries = [] if index is None else self._entries(index, name)
        return entries[-1] if entries else None

    def begin(self, name: str, artifact_location: str | None, taken: str | None = None) -> str:
        """Return the run that keeps the history of a model, made where it is missing; the same one to all who ask.

        Args:
            name: The registered model.
            artifact_location: Where a *new* experiment of histories keeps its files; None leaves it to the server.
            taken: A run that keeps the history of another model, which had this name before it was renamed.
        """
        index = self._index() or self._make_index(artifact_location)
        entries = self._entries(index, name)
        known = entries[-1] if entries and entries[-1] != taken else None
        return known or self._enter(index, name, _index_key(name, len(entries)), artifact_location)

    def _entries(self, index: str, name: str) -> list[str]:
        """Return the runs that a name's histories were begun in, in order."""
        params = self._params(index)
        found: list[str] = []
        while (key := _index_key(name, len(found))) in params:
            found.append(params[key])
        return found

    def _enter(self, index: str, name: str, key: str, artifact_location: str | None) -> str:
        from mlflow.entities import Param

        made = self._make_run(name, {MODEL_TAG: name, "mlflow.note.content": _NOTE.format(name)}, artifact_location)
        try:
            self._call(f"enter the history of {name!r}", "log_param", index, Param(key, made))
        except InvalidInputError:  # somebody else was faster
            winner = self._params(index).get(key)
            if winner is None:
                raise
            if winner != made:
                self._call("delete a history that was not begun", "delete_run", made)
            return winner
        return made

    def _index(self) -> str | None:
        found = self._call("look up the index of histories", "get_experiment_by_name", INDEX_EXPERIMENT)
        if found is None:
            return None
        run_id = dict(found.tags or {}).get(_INDEX_TAG)
        if run_id is None:
            raise HistoryError(
                f"Experiment {INDEX_EXPERIMENT!r} does not name the index of the models' histories.",
                f"set its tag {_INDEX_TAG} to the run named 'index' in experiment {EXPERIMENT!r}",
            )
        return str(run_id)

    def _make_index(self, artifact_location: str | None) -> str:
        from mlflow.entities import ExperimentTag

        made = self._make_run(
            "index", {"mlflow.note.content": "Which run keeps which model's history."}, artifact_location
        )
        tags = [ExperimentTag(_INDEX_TAG, made)]
        try:
            self._call("make the index of histories", "create_experiment", INDEX_EXPERIMENT, artifact_location, tags)
        except AlreadyExistsError:
            self._call("delete an index that is not used", "delete_run", made)
            return self._index() or made
        return made

    def _make_run(self, name: str, tags: Mapping[str, str], artifact_location: str | None) -> str:
        from mlflow.entities import RunStatus, RunTag

        experiment = self._experiment(artifact_location)
        short = name[:_MAX_RUN_NAME_LENGTH]
        labels = [RunTag(key, value) for key, value in {**tags, "mlflow.runName": short}.items()]
        made = self._call("begin a history", "create_run", experiment, "holdfast", now_ms(), labels, short)
        run_id = str(made.info.run_id)
        self._call("begin a history", "update_run_info", run_id, RunStatus.FINISHED, now_ms(), None)
        return run_id

    def _experiment(self, artifact_location: str | None) -> str:
        found = self._call("look up the experiment of histories", "get_experiment_by_name", EXPERIMENT)
        if found is None:
            try:
                return str(
                    self._call(
                        "make the experiment of histories", "create_experiment", EXPERIMENT, artifact_location, []
                    )
                )
            except AlreadyExistsError:
                found = self._call("look up the experiment of histories", "get_experiment_by_name", EXPERIMENT)
        if found.lifecycle_stage == "deleted":
            raise HistoryError(
                f"The experiment {EXPERIMENT!r}, which keeps the models' histories, is deleted.",
                f"mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def _params(self, run_id: str) -> dict[str, str]:
        run = self._call("read the index of histories", "get_run", run_id)
        if run.info.lifecycle_stage == "deleted":
            raise _deleted(run_id)
        return dict(run.data.params)

    def _call(self, doing: str, method: str, *args: Any) -> Any:
        """Call MLflow's own store, past whatever a plugin has put over it."""
        store = self._connection.client._tracking_client.store
        own = next(base for base in type(store).__mro__ if base.__module__.startswith("mlflow."))
        with self._connection.tracking(doing):
            return patiently(getattr(own, method), store, *args)


def _index_key(name: str, before: int) -> str:
    """Return where the index names the history of a model whose name so many others had before it."""
    return f"model/{hashlib.sha256(name.encode()).hexdigest()}" + (f"/{before + 1}" if before else "")


def _history(run: Any) -> HistoryRun:
    params, tags = dict(run.data.params), dict(run.data.tags)
    numbers = sorted(int(key[6:]) for key in params if key.startswith("event/") and key[6:].isdecimal())
    whole = 0
    while whole < len(numbers) and numbers[whole] == whole + 1:
        whole += 1
    return HistoryRun(
        run_id=run.info.run_id,
        artifact_uri=run.info.artifact_uri,
        model=tags.get(MODEL_TAG, ""),
        is_deleted=run.info.lifecycle_stage == "deleted",
        texts=tuple(params[_KEY.format(number)] for number in numbers[:whole]),
        beyond=tuple(numbers[whole:]),
        tags=tags,
    )


def _not_written(number: int, error: HoldfastError) -> HoldfastError:
    if error.retryable:
        return error
    # What MLflow says may hold the event itself.
    return HistoryError(f"Event {number} of a history is refused: {error.message[:200]}", error.hint)


def _deleted(run_id: str, model: str = "") -> HistoryError:
    restore = f"mlflow runs restore --run-id {run_id}"
    return HistoryError(
        f"Run {run_id}, which keeps a history in experiment {EXPERIMENT!r}, is deleted.",
        f"holdfast models repair {model}; or {restore}" if model else restore,
    )
