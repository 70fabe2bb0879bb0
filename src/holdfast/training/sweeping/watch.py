"""Watching a trial's metric while it runs, for an engine's pruner."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.backend.entities import MetricPoint
from holdfast.errors import BackendError
from holdfast.logs import get_logger

_log = get_logger(__name__)


class Watch:
    """Tells an engine each new value of a trial's metric.

    Args:
        report: Takes step and value, and says whether the trial is to be given up; None where nobody wants to know.
    """

    def __init__(self, report: Callable[[int, float], bool] | None = None) -> None:
        self._report = report
        self._last_step = -1
        self.is_pruned = False

    def over(self, history: Callable[[], list[MetricPoint]], every_s: float) -> Callable[[], bool]:
        """Return a question to be asked again and again: is the trial to be given up?

        Args:
            history: Reads the metric's values, one a step.
            every_s: How often that is done at most.
        """
        if self._report is None:
            return lambda: False
        due_s = time.monotonic() + every_s

        def is_over() -> bool:
            nonlocal due_s
            if not self.is_pruned and time.monotonic() >= due_s:
                self._look(history)
                due_s = time.monotonic() + every_s
            return self.is_pruned

        return is_over

    def finish(self, history: Callable[[], list[MetricPoint]]) -> None:
        """Tell the engine what it has not heard of a trial that came to its end: others are compared with it."""
        if self._report is not None and not self.is_pruned:
            self._look(history)
            self.is_pruned = False

    def _look(self, history: Callable[[], list[MetricPoint]]) -> None:
        try:
            points = history()
        except BackendError as error:  # the trial goes on without a server, and so does this
            _log.warning("the metric of a running trial cannot be read; it is not pruned", reason=error.message)
            return
        for point in points:
            if point.step > self._last_step and self._report is not None:
                self._last_step = point.step
                self.is_pruned |= self._report(point.step, point.value)
