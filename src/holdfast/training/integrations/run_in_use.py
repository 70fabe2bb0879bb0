"""The run that an integration logs to: the tracker's open one, or one that is begun and ended for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from holdfast.backend.reach import check_listening
from holdfast.core.uris import mask_uri
from holdfast.delivery.delivery import delivery_in_use
from holdfast.lifecycle import run_guard
from holdfast.logs import get_logger
from holdfast.tracking import MLflowTracker

_log = get_logger(__name__)


@dataclass(frozen=True)
class _Begun:
    """A run that was begun for a training, and not ended yet."""

    run_id: str
    thread: threading.Thread = field(default_factory=threading.current_thread)

    @property
    def is_left(self) -> bool:
        """Whether its training cannot go on: another one begins in its thread, or the thread is gone."""
        return self.thread is threading.current_thread() or not self.thread.is_alive()


_begun: WeakKeyDictionary[MLflowTracker, list[_Begun]] = WeakKeyDictionary()


class RunInUse:
    """For callbacks, which are told of the beginning and of the end of a training, and not of an exception.

    A run that is begun here and never ended is ended as FAILED: when the next training of its thread begins, which gets
    a run of its own, or with the process. A training that goes on inside another one needs a run around both.

    Args:
        tracker: Whose run.
    """

    def __init__(self, tracker: MLflowTracker) -> None:
        self._tracker = tracker
        self._own: _Begun | None = None

    def begin(self, run_name: str | None = None) -> str:
        """Begin a run where none is open; return the id of the one to log to."""
        _end_what_is_left(self._tracker)
        self._own = None
        open_id = self._tracker.run_id
        if open_id is None:
            open_id = self._tracker.start_run(run_name)
            self._own = _note(self._tracker, open_id)
        return open_id

    def end(self, status: str = "FINISHED") -> None:
        """End the run if it was begun here and is still the open one."""
        if self._own is not None:
            _end(self._tracker, self._own, status)
        self._own = None


def _note(tracker: MLflowTracker, run_id: str) -> _Begun:
    begun = _Begun(run_id)
    _begun.setdefault(tracker, []).append(begun)
    # Before the tracker's own watch over the run, which cannot tell that the training did not come to its end.
    run_guard().add(begun, lambda status: _end_with_process(tracker, begun, status))
    return begun


def _end(tracker: MLflowTracker, begun: _Begun, status: str) -> None:
    known = _begun.get(tracker, [])
    if begun not in known:  # taken for one that was left
        return
    known.remove(begun)
    run_guard().remove(begun)
    if tracker.run_id == begun.run_id:
        tracker.end_run(status)


def _end_what_is_left(tracker: MLflowTracker) -> None:
    for begun in [one for one in _begun.get(tracker, []) if one.is_left]:
        if tracker.run_id == begun.run_id:
            _log.warning("a training did not come to its end; its run is ended as FAILED", run=begun.run_id)
        _end(tracker, begun, "FAILED")


def _end_with_process(tracker: MLflowTracker, begun: _Begun, status: str) -> None:
    uri = tracker.settings.tracking_uri
    if delivery_in_use(uri) is None:  # else MLflow would try for minutes
        check_listening(uri, f"the run {begun.run_id} stays RUNNING at {mask_uri(uri)}")
    if tracker.run_id == begun.run_id:
        tracker.end_run("FAILED" if status == "FINISHED" else status)


@contextmanager
def run_in_use(tracker: MLflowTracker, run_name: str | None = None) -> Iterator[str]:
    """Give the id of the tracker's open run; where none is open, of one that ends with the block."""
    _end_what_is_left(tracker)
    if tracker.run_id is not None:
        yield tracker.run_id
        return
    with tracker.run(run_name) as run_id:
        yield run_id
