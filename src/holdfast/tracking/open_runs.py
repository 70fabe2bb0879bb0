"""The open runs of a tracker, the innermost last, and how they are ended."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.backend import fluent
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.tracking.lifecycle import run_guard

_log = get_logger(__name__)


@dataclass(frozen=True)
class OpenRun:
    """A run that is being logged to, and where its files go."""

    run_id: str
    artifact_uri: str


class OpenRuns:
    """Runs begun and not yet ended. Each is MLflow's active run too, and is ended with the process at the latest.

    Args:
        project: Where the runs are.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runs: list[OpenRun] = []

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def innermost(self) -> OpenRun | None:
        """The run that is logged to, or None."""
        return self._runs[-1] if self._runs else None

    def enter(self, run: OpenRun) -> None:
        """Make the run the innermost, and MLflow's active one."""
        settings = self._project.settings
        # Again, since another tracker may have pointed them elsewhere in the meantime.
        fluent.point_at(settings.tracking_uri, settings.registry_uri or settings.tracking_uri)
        fluent.enter_run(run.run_id, settings.tracking_uri)
        self._runs.append(run)
        run_guard().add(run.run_id, lambda status: self.end(run, status))

    def end(self, run: OpenRun, status: str) -> None:
        """End a run, with those that `mlflow.start_run(nested=True)` began inside it.

        Raises:
            BackendError: The store did not take it; the run is still open then.
        """
        self._project.runs.end_run(run.run_id, status)
        for inner in fluent.leave_run(run.run_id):
            self._project.runs.end_run(inner, status)
        self._runs = [other for other in self._runs if other != run]
        run_guard().remove(run.run_id)

    def end_down_to(self, depth: int, status: str, raising: bool) -> None:
        """End runs, the innermost first, until `depth` are left.

        Args:
            depth: How many stay open.
            status: FINISHED, FAILED or KILLED.
            raising: Whether an error is raised, or only logged, because the exception that ends the block
                matters more.
        """
        while len(self._runs) > depth:
            run = self._runs[-1]
            try:
                self.end(run, status)
            except HoldfastError as error:
                if raising:
                    raise
                _log.error("the run could not be ended", run=run.run_id, status=status, reason=error.message)
                return
