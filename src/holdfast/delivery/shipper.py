"""The shipper: delivers a journal in the background until nothing is left and nobody writes any more."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from holdfast.core.sending import Sender, Unavailable
from holdfast.delivery.breaker import Breaker
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.progress import ProgressFile
from holdfast.delivery.run import Outcome, RunDelivery
from holdfast.delivery.target import Target
from holdfast.delivery.workers import Workers
from holdfast.errors import HoldfastError
from holdfast.journal.checkpoint import load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import has_writers
from holdfast.journal.locks import FileLock
from holdfast.journal.retention import retire, retire_leases

_log = logging.getLogger(__name__)
_POLL_S = 0.25
_SETTLE_S = 1.0
_IDLE_AFTER_S = 10.0
_CHECK_S = 5.0
_RUNS_AT_ONCE = 4
_RETIRE_EVERY_S = 600.0
_LOOKED_AT_S = 0.2
_LAST_REQUEST_S = 5.0
_FAULTS = 10
_ROOM_BYTES = 64 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FOR_PEOPLE_S = 30.0
# A server that is gone for longer is left to the next process that logs, or to `holdfast sync`.
_PATIENCE_S = 7 * 86400.0


@dataclass
class _Known:
    """What the shipper remembers of a run, so as not to open it again for nothing."""

    delivery: RunDelivery
    seen: tuple[tuple[str, int], ...] = ()
    tried_s: float = 0.0
    is_done: bool = False
    folder_ns: int = 0
    faults: int = 0
    future: Future[Outcome] | None = field(default=None, repr=False)


class Shipper:
    """Delivers the runs of a journal, several at once and each in order.

    Args:
        target: The journal and its store.
        grace_s: How long a short-lived process is left to deliver by itself at its end before the store is opened,
            where opening it is expensive (a database, for which MLflow is imported).
        own: The name of the calling process in the journal; only for a shipper that is one of its threads.
    """

    def __init__(self, target: Target, grace_s: float = 0.0, own: Callable[[], str | None] = lambda: None) -> None:
        self._target = target
        self._paths = JournalPaths(target.root)
        self._own = own
        self._breaker = Breaker()
        self._progress = ProgressFile(self._paths.shipper_state)
        self._runs: dict[str, _Known] = {}
        self._senders = threading.local()
        self._stop = threading.Event()
        self._started_s = time.monotonic()
        self._grace_s = grace_s
        self._worked_s = self._started_s
        self._failing_s: float | None = None
        self._has_given_up = False
        self._retired_s = time.monotonic() - _RETIRE_EVERY_S + 5.0

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stop.set()

    def run(self) -> None:
        """Deliver until nothing is left and no process that writes here lives; return at once where another shipper is.

        A run that is begun while this one leaves is not missed: it looks once more after it has let go of the lock.
        """
        while not self._stop.is_set():
            with FileLock(self._paths.shipper_lock) as lock:
                try:
                    # Somebody may hold it for a moment, just to see whether a shipper does.
                    if not lock.acquire(_LOOKED_AT_S):
                        return
                    self._serve()
                except FileNotFoundError:  # the journal was deleted
                    return
            if self._stop.is_set() or self._has_given_up or not self._has_new_work():
                return

    def _serve(self) -> None:
        workers: Workers[Outcome] = Workers(_RUNS_AT_ONCE)
        try:
            while not self._stop.is_set() and self._paths.root.exists():
                self._step(workers)
                if self._is_over():
                    break
                self._stop.wait(self._pause_s())
        finally:
            workers.close(_LAST_REQUEST_S)
        self._progress.write("ended", at_once=True)

    def _step(self, workers: Workers[Outcome]) -> None:
        self._collect()
        if self._breaker.wait_s > 0:
            self._progress.write("waiting")
            return
        if self._in_grace() or (self._breaker.failures and not self._answers()):
            return
        due = self._due()
        for run_id in due:
            known = self._runs[run_id]
            known.tried_s = time.monotonic()
            try:
                known.future = workers.submit(partial(self._deliver, known))
            except RuntimeError:  # the interpreter is ending
                self._stop.set()
                return
        self._progress.write("delivering" if due or self._is_busy else "idle")
        self._retire()

    def _pause_s(self) -> float:
        if self._breaker.wait_s > 0:
            return min(_SETTLE_S, self._breaker.wait_s)
        return _POLL_S if time.monotonic() - self._worked_s < _IDLE_AFTER_S else _SETTLE_S

    def _in_grace(self) -> bool:
        return time.monotonic() - self._started_s < self._grace_s and self._has_writers()

    # -- the server -------------------------------------------------------------------

    def _sender(self) -> Sender:
        found: Sender | None = getattr(self._senders, "sender", None)
        if found is None:
            found = self._senders.sender = self._target.sender()
        return found

    def _answers(self) -> bool:
        """Ask a server that failed whether it is back, with one small request instead of a burst of large ones."""
        try:
            self._sender().check(_CHECK_S)
        except Unavailable as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: Unavailable) -> None:
        if error.is_local:  # one run waits, after a while like any that does not grow
            self._progress.fail(error.reason, _SETTLE_S)
            return
        self._breaker.failed(error.retry_after_s, error.needs_people)
        self._failing_s = self._failing_s or time.monotonic()
        if error.reason != self._progress.now.last_error:
            _log.warning("the server cannot be reached: %s", error.reason)
        self._progress.fail(error.reason, self._breaker.wait_s)
        self._progress.write("waiting", at_once=True)

    def _deliver(self, known: _Known) -> Outcome:
        return known.delivery.deliver(self._sender(), self._own(), stop=self._should_pause)

    def _should_pause(self) -> bool:
        return self._stop.is_set() or self._breaker.wait_s > 0

    # -- the runs ---------------------------------------------------------------------

    def _due(self) -> list[str]:
        """Return the runs in which there is something to do."""
        now = time.monotonic()
        found = []
        for run_id in self._run_ids():
            known = self._runs.get(run_id)
            if known is None:
                known = self._runs[run_id] = _Known(RunDelivery(self._paths, run_id, own=self._own()))
            if known.future is not None or self._is_as_left(run_id, known):
                continue
            seen = _sizes(self._paths.run(run_id).folder)
            # What does not grow is looked at again after a while: its process may be gone.
            if seen != known.seen or now - known.tried_s >= _SETTLE_S:
                known.seen, known.is_done = seen, False
                found.append(run_id)
        return found

    def _is_as_left(self, run_id: str, known: _Known) -> bool:
        # A run that is done has no writer left: whoever goes on with it begins a file, which the folder shows.
        return known.is_done and _modified_ns(self._paths.run(run_id).folder) == known.folder_ns

    def _run_ids(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._paths.runs) if not entry.name.startswith("."))
        except FileNotFoundError:
            return []

    @property
    def _is_busy(self) -> bool:
        return any(known.future is not None for known in self._runs.values())

    def _collect(self) -> None:
        """Take in what the passes that are finished have done."""
        for run_id, known in list(self._runs.items()):
            if known.future is None or not known.future.done():
                continue
            future, known.future = known.future, None
            try:
                self._note(run_id, known, future.result())
            except Unavailable as error:
                if error.is_local:
                    known.tried_s = time.monotonic() + (_FOR_PEOPLE_S if error.needs_people else 0.0)
                else:
                    known.seen = ()
                self._failed(error)
            except (OSError, HoldfastError) as error:
                self._note_fault(run_id, error)

    def _note(self, run_id: str, known: _Known, outcome: Outcome) -> None:
        known.faults = 0
        if outcome.is_busy:
            known.seen = ()
            return
        if outcome.metrics or outcome.records:
            self._breaker.succeeded()
            self._failing_s = None
            self._worked_s = time.monotonic()
        self._progress.add(outcome.metrics + outcome.records)
        known.is_done = outcome.is_complete or outcome.is_blocked or bool(outcome.elsewhere)
        if known.is_done and _sizes(self._paths.run(run_id).folder) != known.seen:
            known.is_done = False  # it grew in the meantime
        known.folder_ns = _modified_ns(self._paths.run(run_id).folder)
        for item in outcome.aside:
            _log.warning("set aside in run %s: %s", run_id, item.describe())

    def _note_fault(self, run_id: str, error: Exception) -> None:
        if not self._paths.run(run_id).folder.exists():
            self._runs.pop(run_id, None)
            return
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            retire(self._paths, needed_bytes=_ROOM_BYTES)
        said = disk_reason(error, self._paths.root) if isinstance(error, OSError) else str(error)
        reason = f"run {run_id} cannot be delivered: {said}"
        if reason != self._progress.now.last_error:
            _log.error("%s", reason)
        # The others go on; this one is tried again after a while, and left to the next shipper after some times.
        known = self._runs[run_id]
        known.faults += 1
        known.tried_s = time.monotonic() + min(_FOR_PEOPLE_S, 2.0**known.faults)
        known.seen = _sizes(self._paths.run(run_id).folder)
        if known.faults >= _FAULTS:
            known.is_done, known.folder_ns = True, _modified_ns(self._paths.run(run_id).folder)
        self._progress.fail(reason, 0.0)

    # -- the end ----------------------------------------------------------------------

    def _has_writers(self) -> bool:
        return has_writers(self._paths, self._own())

    def _has_new_work(self) -> bool:
        return any(
            run_id not in self._runs or not self._is_as_left(run_id, self._runs[run_id]) for run_id in self._run_ids()
        )

    def _is_over(self) -> bool:
        if self._failing_s is not None and time.monotonic() - self._failing_s > _PATIENCE_S:
            self._has_given_up = True
            return True
        if self._has_writers() or self._is_busy:
            return False
        if self._breaker.failures and all(self._was_delivered(run_id) for run_id in self._run_ids()):
            self._has_given_up = True  # somebody else delivered it: there is no reason to wait for this server
            return True
        return not self._has_new_work()

    def _was_delivered(self, run_id: str) -> bool:
        run = self._paths.run(run_id)
        return load_checkpoint(OsFileSystem(), run.checkpoint).complete_ms is not None

    def _retire(self) -> None:
        if time.monotonic() - self._retired_s < _RETIRE_EVERY_S:
            return
        self._retired_s = time.monotonic()
        retire(self._paths, older_than_s=self._target.options.keep_s)
        retire_leases(self._paths)


def _sizes(folder: Path) -> tuple[tuple[str, int], ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted((e.name, e.stat().st_size) for e in entries if e.name.endswith(".seg")))
    except OSError:
        return ()


def _modified_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
