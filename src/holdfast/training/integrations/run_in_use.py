"""The run that an integration logs to: the tracker's open one, or one that is begun and ended for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.tracking import MLflowTracker


class RunInUse:
    """For callbacks, which are told of the beginning and of the end of a training, and not always of the end.

    A run that is begun here and never ended is ended with the process, as every run of a tracker.

    Args:
        tracker: Whose run.
    """

    def __init__(self, tracker: MLflowTracker) -> None:
        self._tracker = tracker
        self._own: str | None = None

    def begin(self, run_name: str | None = None) -> str:
        """Begin a run where none is open; return the id of the one to log to."""
        open_id = self._tracker.run_id
        if open_id is None:
            open_id = self._own = self._tracker.start_run(run_name)
        return open_id

    def end(self, status: str = "FINISHED") -> None:
        """End the run if it was begun here and is still the open one."""
        if self._own is not None and self._tracker.run_id == self._own:
            self._tracker.end_run(status)
        self._own = None


@contextmanager
def run_in_use(tracker: MLflowTracker, run_name: str | None = None) -> Iterator[str]:
    """Give the id of the tracker's open run; where none is open, of one that ends with the block."""
    if tracker.run_id is not None:
        yield tracker.run_id
        return
    with tracker.run(run_name) as run_id:
        yield run_id
