"""The way of a metric from the training loop to the journal, without asking again whose run it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from holdfast.tracking.open_run import OpenRun

_Put: TypeAlias = Callable[[Any, int], None]


class FastPath(threading.local):
    """For each thread, the run it logged to last, as long as that is the thread's active run.

    The list of active runs is MLflow's own, so that a run that begins or ends in any way is seen here.
    """

    def __init__(self) -> None:
        self._known: tuple[list[Any], Any, _Put] | None = None

    def take(self, run: OpenRun) -> None:
        """Remember a run that this thread logs to, where it is the thread's active one."""
        active = run.stack[-1] if run.stack else None
        if run.writer is not None and run.is_of_this_thread and active is not None and active.info.run_id == run.run_id:
            self._known = (run.stack, active, run.writer.metrics)

    def put(self) -> _Put | None:
        """Return what takes metrics and a step, or None where the run has to be looked for."""
        known = self._known
        if known is None or not known[0] or known[0][-1] is not known[1]:
            return None
        return known[2]
