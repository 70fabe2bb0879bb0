"""One run on a tracking server, logged to as Holdfast logs, that is used again at each examination.

MLflow has no call that deletes a run for good. So there is one experiment for this, deleted as soon as it is made, and
in it one run, which is restored from the trash and goes back there. Several may do this at once.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from holdfast.backend.rest_sender import RestSender
from holdfast.core.sending import KEY_TAG, ExperimentRef, Point, Refused, RunRef, Unavailable
from holdfast.errors import BackendError, BackendUnavailableError, HoldfastError, PermissionDeniedError

NAME = "holdfast-doctor"
_METRIC = "holdfast.doctor"
# Whoever examines the same server at this moment may put the run into the trash again, or delete it for good.
_TRIES = 5
_T = TypeVar("_T")


class ProbeSender(RestSender):
    """A way to a server that can also restore what was deleted."""

    def restore_run(self, run_id: str) -> None:
        """Take a run out of the trash; one that is not there is fine."""
        self._tell("runs/restore", {"run_id": run_id})

    def restore_experiment(self, experiment_id: str) -> None:
        """Take an experiment out of the trash, with its runs.

        Raises:
            Refused: It is not there.
        """
        self._tell("experiments/restore", {"experiment_id": experiment_id})

    def delete_experiment(self, experiment_id: str) -> None:
        """Put an experiment into the trash, with its runs.

        Raises:
            Refused: It is there already.
        """
        self._tell("experiments/delete", {"experiment_id": experiment_id})


@dataclass(frozen=True)
class ProbedRun:
    """What was done.

    Attributes:
        run_id: The run; it is in the trash.
        experiment: The name of its experiment, which is there too.
        experiment_id: Its id.
        is_new: Whether its experiment was not in the trash before.
    """

    run_id: str
    experiment: str
    experiment_id: str
    is_new: bool


class RunProbe:
    """A run on a server, from its beginning to its end.

    Args:
        sender: The way to the server.
        user: Who logs in there, if anybody: each has an experiment of its own, for one may not write to another's.
    """

    def __init__(self, sender: ProbeSender, user: str | None = None) -> None:
        self._sender = sender
        self.experiment = f"{NAME}-{user}" if user else NAME

    def run(self) -> ProbedRun:
        """Begin the run or restore it, log to it, read it back, end it, and put it into the trash.

        Raises:
            HoldfastError: The server refuses one of these, or what is read is not what was logged.
        """
        try:
            done = self._step("log a run", lambda: self._log(self._begin()))
        except HoldfastError:
            with contextlib.suppress(HoldfastError):  # the first one tells more
                self.clean()
            raise
        self._step("delete a run", lambda: self._put_away(done))
        return done

    def clean(self) -> None:
        """Put into the trash what is not there.

        Raises:
            HoldfastError: The server refuses.
        """
        self._step(f"delete the run of {self.experiment!r}", self._clean)

    def _step(self, doing: str, call: Callable[[], _T]) -> _T:
        for left in reversed(range(_TRIES)):
            try:
                return call()
            except (Refused, Unavailable) as error:
                if left and isinstance(error, Refused):
                    continue
                raise _translated(doing, error) from None
        raise AssertionError  # the last try returns or raises

    def _begin(self) -> ProbedRun:
        sender = self._sender
        found = sender.find_experiment(self.experiment) or sender.create_experiment(self.experiment, None, {})
        known = self._known_run(found)
        if known is not None:
            sender.restore_run(known.run_id)
            return ProbedRun(known.run_id, self.experiment, found.experiment_id, not found.deleted)
        if found.deleted:
            sender.restore_experiment(found.experiment_id)
        made = sender.create_run(found.experiment_id, NAME, _now_ms(), NAME, {KEY_TAG: NAME})
        return ProbedRun(made.run_id, self.experiment, found.experiment_id, True)

    def _known_run(self, experiment: ExperimentRef) -> RunRef | None:
        return next(iter(self._sender.find_runs(experiment.experiment_id, NAME)), None)

    def _log(self, begun: ProbedRun) -> ProbedRun:
        sender, run_id = self._sender, begun.run_id
        stamp, tag = _now_ms(), f"holdfast.doctor.{uuid.uuid4().hex[:12]}"
        sender.update_run(run_id, "RUNNING", None, None)
        sender.log_batch(run_id, [Point(_METRIC, float(stamp), stamp, stamp)], [(_METRIC, "1")], [(tag, str(stamp))])
        found = sender.get_run(run_id)
        # Whoever does the same at once may have logged a later value.
        is_there = found is not None and (
            found.tags.get(tag) == str(stamp)
            and found.params.get(_METRIC) == "1"
            and found.metrics.get(_METRIC, 0.0) >= stamp
        )
        sender.delete_tag(run_id, tag)
        if not is_there:
            raise BackendError(
                f"What was logged to run {run_id} is not what the server gives back.",
                "see whether a cache, or a replica that lags, stands before the server or its database",
            )
        sender.update_run(run_id, "FINISHED", _now_ms(), None)
        return begun

    def _put_away(self, done: ProbedRun) -> None:
        self._sender.delete_run(done.run_id)
        if done.is_new:
            self._delete_experiment(done.experiment_id)

    def _delete_experiment(self, experiment_id: str) -> None:
        with contextlib.suppress(Refused):  # somebody else was faster
            self._sender.delete_experiment(experiment_id)

    def _clean(self) -> None:
        found = self._sender.find_experiment(self.experiment)
        if found is None:
            return
        for run in self._sender.find_runs(found.experiment_id, NAME):
            if not run.deleted:
                self._sender.delete_run(run.run_id)
        if not found.deleted:
            self._delete_experiment(found.experiment_id)


def _translated(doing: str, error: Refused | Unavailable) -> HoldfastError:
    message = f"The server refuses to {doing}: {error.reason}." if isinstance(error, Refused) else f"{error.reason}."
    if isinstance(error, Refused):
        return BackendError(message, "see the server's log; `holdfast doctor --only server.version` compares releases")
    if error.needs_people:
        return PermissionDeniedError(
            message,
            "give this login the right to make experiments and runs, or correct MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD",
        )
    return BackendUnavailableError(message, "see the server's log, and try again", retryable=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
