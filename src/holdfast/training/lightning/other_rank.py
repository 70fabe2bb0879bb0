"""What the processes of a distributed run log that are not rank 0: to its run, without owning it."""

from __future__ import annotations

import time
from typing import Any

from holdfast.errors import RunStateError
from holdfast.project import open_project
from holdfast.tracking import MLflowTracker
from holdfast.tracking.values import to_points


class RankLog:
    """Appends metrics to a run that another process has open; it neither begins nor ends it.

    Args:
        tracker: Says where.
        run_id: The run of rank 0.

    Raises:
        RunStateError: Rank 0 has not said which.
    """

    def __init__(self, tracker: MLflowTracker, run_id: str | None) -> None:
        if run_id is None:
            raise RunStateError(
                "Rank 0 has not told this rank its run.", "log after the training has begun, or add RunCallback"
            )
        self._project = open_project(tracker.settings, journaled=True)
        self._run_id = run_id
        delivery = self._project.delivery
        self._writer = None if delivery is None else delivery.writer(run_id)

    def metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Log metrics of a step; they are in the journal when this returns."""
        points = to_points(metrics, step, time.time_ns() // 1_000_000)
        if self._writer is None:
            self._project.runs.log(self._run_id, points)
        else:
            self._writer.points([(point.name, point.value, point.timestamp_ms, point.step) for point in points])

    def settle(self) -> None:
        """Wait until all of it is on the server; what is not by then is delivered later."""
        self._project.settle()
