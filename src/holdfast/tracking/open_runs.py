"""The open runs of a tracker, and how they are ended.

As with MLflow's own active runs, a run belongs to the thread that began it. A thread without one
may still log to the tracker's run where there is only one to mean.
"""

from __future__ import annotations

import contextlib
import threading

from holdfast.backend import fluent
from holdfast.backend.errors import reach_hint
from holdfast.backend.reach import check_listening
from holdfast.errors import BackendError, HoldfastError, InvalidInputError, NotFoundError, RunStateError
from holdfast.lifecycle import run_guard
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.tracking.open_run import OpenRun

_log = get_logger(__name__)


class OpenRuns:
    """Runs begun and not yet ended. Each is MLflow's active run too, and is ended with the process at the latest.

    Args:
        project: Where the runs are.
        experiment_id: What `mlflow.start_run()` uses while one of them is open.
    """

    def __init__(self, project: Project, experiment_id: str) -> None:
        settings = project.settings
        self._project = project
        self._place = fluent.Place(settings.tracking_uri, settings.registry_uri or settings.tracking_uri, experiment_id)
        self._runs: list[OpenRun] = []

    # -- which run --------------------------------------------------------------------

    @property
    def run_id(self) -> str | None:
        """The id of the run that this thread logs to; None where there is none, or more than one to choose from."""
        found = self._candidates()
        return found[0].run_id if len(found) == 1 else None

    @property
    def current(self) -> OpenRun | None:
        """The run that this thread logs to: its own innermost, else the only one that is open.

        Raises:
            RunStateError: The thread has none, and several are open in others.
        """
        return _only(self._candidates())

    def blocking(self) -> str | None:
        """Return the id of the run that keeps this thread from starting another, or None.

        That is one of this tracker, or one of plain `mlflow.start_run()`; other trackers' runs are their own matter.
        """
        for run in self.own():
            if not run.is_active:
                self._forget(run)
        others = {run.run_id for run in _watched() if run not in self._runs}
        found = [run_id for run_id in fluent.run_ids(fluent.thread_stack()) if run_id not in others]
        return found[-1] if found else None

    def parent(self) -> str | None:
        """Return the id of the run that a nested one begins in: this thread's active run, else the tracker's outermost.

        Raises:
            RunStateError: The thread has none, and several that are not nested are open in others.
        """
        here = self._place.tracking_uri
        elsewhere = {run.run_id for run in _watched() if run.place.tracking_uri != here}
        found = [run_id for run_id in fluent.run_ids(fluent.thread_stack()) if run_id not in elsewhere]
        if found:
            return found[-1]
        active = [run for run in self._runs if run.is_active]
        ids = {run.run_id for run in active}
        outermost = _only([run for run in active if run.parent_id not in ids])
        return outermost.run_id if outermost else None

    def own(self) -> list[OpenRun]:
        """Return the runs that this thread began, the innermost last."""
        return [run for run in self._runs if run.is_of_this_thread]

    def _candidates(self) -> list[OpenRun]:
        active = [run for run in self._runs if run.is_active]
        return [run for run in active if run.is_of_this_thread][-1:] or active

    # -- beginning --------------------------------------------------------------------

    def point_fluent(self) -> None:
        """Point MLflow's fluent functions at the project, unless a run is open that they now serve."""
        if not fluent.is_any_run_active():
            fluent.go_to(self._place)

    def enter(self, run_id: str, artifact_uri: str, parent_id: str | None) -> OpenRun:
        """Make the run this thread's innermost, and MLflow's active one."""
        # Again, since another tracker may have pointed them elsewhere in the meantime.
        fluent.go_to(self._place)
        delivery = self._project.delivery
        known = None if delivery is None else delivery.entities.get(run_id)
        stack = fluent.enter_run(run_id, self._place.tracking_uri, known)
        writer = None if delivery is None else delivery.writer(run_id)
        claim = self._project.claim(artifact_uri)
        run = OpenRun(run_id, artifact_uri, parent_id, self._place, stack, writer, claim)
        self._runs.append(run)
        run_guard().add(run, lambda status: self._end_at_exit(run, status))
        return run

    # -- ending -----------------------------------------------------------------------

    def end_current(self, status: str) -> None:
        """End this thread's innermost run, else the only one this process has open; nothing where there is none.

        Raises:
            RunStateError: The thread has none, and several are open in others.
            BackendError: As for `end`.
        """
        others = [run for run in self._runs if run.is_of_this_process and run.is_active]
        # One that `mlflow.end_run()` ended still counts here, so that this call does not end the one around it.
        run = _only(self.own()[-1:] or others)
        if run is not None:
            self.end(run, status)

    def end(self, run: OpenRun, status: str, patient: bool = True) -> None:
        """End a run, with those that `mlflow.start_run(nested=True)` began inside it.

        One that was ended by `mlflow.end_run()` keeps the status it got there.

        Args:
            run: Which.
            status: FINISHED, FAILED or KILLED.
            patient: Whether a server that is down may be waited for, for the minutes that MLflow tries again.

        Raises:
            BackendError: The store did not take it; the run is still open then. Or the run was deleted in the
                meantime; it is no longer open here then.
        """
        gone = None
        if run.is_active:
            if not patient and self._project.delivery is None:
                check_listening(self._place.tracking_uri, reach_hint(self._place.tracking_uri))
            gone = self._end_in_store(run.run_id, status)
        for inner in self._forget(run):
            self._project.runs.end_run(inner, status)
        if gone is not None:
            raise gone

    def _end_in_store(self, run_id: str, status: str) -> HoldfastError | None:
        """End the run; the answer is the error where there is no such run any more."""
        try:
            self._project.runs.end_run(run_id, status)
        except NotFoundError as error:
            return error
        except InvalidInputError:  # what MLflow says of a deleted run, among other things
            if not self._project.runs.get_run(run_id).deleted:
                raise
            return BackendError(
                f"Run {run_id} was deleted while it was open.", f"mlflow runs restore --run-id {run_id}"
            )
        return None

    def _forget(self, run: OpenRun) -> list[str]:
        """Let go of a run here; return what `mlflow.start_run(nested=True)` began in it and is still to be ended."""
        inner = fluent.leave_run(run.stack, run.run_id, {other.run_id for other in _watched()})
        with contextlib.suppress(ValueError):  # another thread was faster
            self._runs.remove(run)
        if run.claim is not None:
            run.claim.release()
        run_guard().remove(run)
        left = _watched()
        around = [other for other in left if other.stack is run.stack] or left
        if around:
            fluent.go_to(around[-1].place)
        return inner

    def _end_at_exit(self, run: OpenRun, status: str) -> None:
        try:
            self.end(run, status, patient=False)
        finally:
            # Else MLflow's own exit handler would try once more, and wait.
            self._forget(run)

    def end_all_but(self, kept: list[OpenRun], status: str, raising: bool) -> None:
        """End the runs of this thread that a block began, the innermost first.

        Args:
            kept: What the thread had open before the block.
            status: FINISHED, FAILED or KILLED.
            raising: Whether an error is raised, or only logged, because the exception that ends the block
                matters more; a server that is down is not waited for then.
        """
        failed: HoldfastError | None = None
        for run in reversed([run for run in self.own() if run not in kept]):
            try:
                self.end(run, status, patient=raising and failed is None)
            except HoldfastError as error:
                failed = failed or error
                if not raising:
                    _log.error("the run could not be ended", run=run.run_id, status=status, reason=error.message)
        if raising and failed is not None:
            raise failed


class Blocks(threading.local):
    """The blocks that each thread is in; for each, what `kept` of `OpenRuns.end_all_but` is at its end."""

    def __init__(self) -> None:
        self.kept: list[list[OpenRun]] = []


def _only(runs: list[OpenRun]) -> OpenRun | None:
    if len(runs) > 1:
        raise RunStateError(
            f"This thread began no run, and {len(runs)} are open in others: {', '.join(run.run_id for run in runs)}.",
            "start a run in this thread: `with tracker.run(…):`",
        )
    return runs[0] if runs else None


def _watched() -> list[OpenRun]:
    """Return the open runs of all trackers of this process."""
    return [run for run in run_guard().watched() if isinstance(run, OpenRun)]
