"""What is logged to a run without owning it: by the processes that are not rank 0, by threads, and after its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from holdfast.errors import DeliveryError, RunStateError
from holdfast.logs import get_logger
from holdfast.project import open_project
from holdfast.tracking import MLflowTracker
from holdfast.tracking.values import to_params, to_points

_log = get_logger(__name__)


class RankLog:
    """Appends to a run that somebody else begins and ends; threads may share it.

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

    def metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log metrics of a step; they are in the journal when this returns."""
        points = to_points(metrics, step, time.time_ns() // 1_000_000)
        if self._writer is None:
            self._project.runs.log(self._run_id, points)
        else:
            self._writer.points([(point.name, point.value, point.timestamp_ms, point.step) for point in points])

    def params(self, params: Mapping[str, Any]) -> None:
        """Log params; secrets are masked.

        Raises:
            InvalidInputError: As for `MLflowTracker.log_params`.
        """
        self._project.runs.log(self._run_id, params=self._project.redact.mapping(to_params(params)))

    def settle(self) -> None:
        """Wait for HOLDFAST_READ_WAIT until all of it is on the server; what is not by then is delivered later."""
        try:
            self._project.settle()
        except DeliveryError as error:
            _log.warning("not all that this rank logged is on the server yet", run=self._run_id, reason=error.message)
