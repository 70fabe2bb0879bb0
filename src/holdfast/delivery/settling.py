"""Waiting until what this process has logged is on the server, and delivering it here where no shipper does."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from holdfast.core.sending import Sender, Unavailable
from holdfast.core.uris import is_database
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.run import Outcome, RunDelivery
from holdfast.delivery.target import Target
from holdfast.errors import HoldfastError
from holdfast.journal.household import ProcessJournal
from holdfast.journal.parcel import Entry, Left, Parcel

# How long the server may take to show that it is there, before work begins on local ids.
REACH_S = 2.0
# A server that was found missing is not asked again for so long, nor waited for.
_OFFLINE_S = 30.0
_POLL_S = 0.02
_PATIENT_S = 30.0
# What `unlimited` is: longer than locks may be waited for would be an error.
_LONGEST_S = 1e8


class Settling:
    """Delivers in the calling thread, up to a limit. Threads may share it.

    Args:
        target: The journal and its store.
        journal: What this process writes to it.
    """

    def __init__(self, target: Target, journal: ProcessJournal) -> None:
        self.target = target
        self.journal = journal
        self._lock = threading.Lock()
        self._local = threading.local()
        self._locks: dict[str, threading.Lock] = {}
        self._deliveries: dict[str, RunDelivery] = {}
        self._offline_until_s = 0.0
        self._impatient_until_s = 0.0

    # -- the server -------------------------------------------------------------------

    def sender(self) -> Sender:
        """Return this thread's way to the server, that gives up after `REACH_S`."""
        found: Sender | None = getattr(self._local, "sender", None)
        if found is None:
            found = self._local.sender = self.target.sender(timeout_s=REACH_S)
        return found

    @property
    def is_offline(self) -> bool:
        """Whether the server was found missing a moment ago."""
        return time.monotonic() < self._offline_until_s

    def go_offline(self) -> None:
        """Note that the server is missing, so that the next calls do not wait for it again."""
        self._offline_until_s = time.monotonic() + _OFFLINE_S

    # -- waiting ----------------------------------------------------------------------

    def settle(
        self,
        run_ids: Sequence[str] | None = None,
        limit_s: float | None = None,
        tick: Callable[[], None] = lambda: None,
        with_files: bool = True,
    ) -> dict[str, str]:
        """Wait until what this process has logged is on the server; what the shipper has not done is done here.

        Files are not uploaded here, for that is long work: this waits for the uploader.

        Args:
            run_ids: Which runs; all that this process has logged to if not given.
            limit_s: How long at most; the target's `read_wait_s` if not given.
            tick: Called now and then.
            with_files: Whether the files are waited for that were handed over for these runs, by whomever.

        Returns:
            Run → why not all of it is there; empty where it is.
        """
        limit = self.target.read_wait_s if limit_s is None else limit_s
        if limit_s is None and time.monotonic() < self._impatient_until_s:
            limit = 0.0  # a wait was in vain a moment ago
        wanted = [run_id for run_id in self.journal.written() if run_ids is None or run_id in run_ids]
        with_files_of = (self.journal.spool.handed if run_ids is None else set(run_ids)) if with_files else set()
        if limit_s is None and self.is_offline:
            return self._files_left(with_files_of) | dict.fromkeys(wanted, "the server cannot be reached")
        wait = _Wait(time.monotonic() + min(limit, _LONGEST_S), tick)
        left = {run_id: reason for run_id in wanted if (reason := self._settle(run_id, wait))}
        if wanted and not left:
            self._is_back()
        left = self._settle_files(with_files_of, wait) | left
        if left and limit_s is None:
            self._impatient_until_s = time.monotonic() + _OFFLINE_S
        return left

    def settle_run(self, run_id: str, limit_s: float | None = None) -> str:
        """Wait until all that this journal holds of a run is on the server, whoever logged it; its files left out.

        Args:
            run_id: The name of its folder.
            limit_s: How long at most; the target's `read_wait_s` if not given.

        Returns:
            Why not all of it is there; empty where it is.
        """
        limit = self.target.read_wait_s if limit_s is None else limit_s
        reason = self._settle(run_id, _Wait(time.monotonic() + min(limit, _LONGEST_S), lambda: None))
        if not reason:
            self._is_back()
        return reason

    def _is_back(self) -> None:
        """Have the next reads ask the server, whatever was found a moment ago."""
        self._offline_until_s = self._impatient_until_s = 0.0

    def _settle(self, run_id: str, wait: _Wait) -> str:
        pause_s = _POLL_S
        while True:
            reason = self._try(run_id, wait)
            if not reason or wait.left_s <= pause_s:
                return reason
            wait.tick()
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)

    # -- files ------------------------------------------------------------------------

    def parcels_of(self, run_ids: Iterable[str]) -> list[Parcel]:
        """Return what is still to be uploaded of some runs, and what was set aside."""
        return self.journal.spool.of_runs(run_ids)

    def _settle_files(self, run_ids: set[str], wait: _Wait) -> dict[str, str]:
        pause_s = _POLL_S
        while True:
            parcels = self.parcels_of(run_ids) if run_ids else []
            is_in_vain = self.target.shipper == "none" or all(parcel.is_refused for parcel in parcels)
            if is_in_vain or wait.left_s <= pause_s:
                return self._files_left(run_ids)
            wait.tick()
            time.sleep(pause_s)
            pause_s = min(0.25, pause_s * 2)

    def _files_left(self, run_ids: set[str]) -> dict[str, str]:
        """Return why files of runs are not there; a deletion that was set aside keeps none of them away."""
        found: dict[str, str] = {}
        for parcel in self.parcels_of(run_ids) if run_ids else []:
            is_only_kept = parcel.is_refused and not parcel.left.files
            if parcel.entry is not None and not is_only_kept:
                found.setdefault(parcel.entry.run_id, self._why_not_there(parcel, parcel.entry))
        return found

    def _why_not_there(self, parcel: Parcel, entry: Entry) -> str:
        trouble = parcel.trouble
        what, done = _task(parcel.left)
        if trouble is not None and trouble.is_refused:
            return f"{what} cannot be {done} (holdfast journal status {entry.run_id}): {trouble.reason}"
        if self.target.shipper == "none":
            return f"{what} not {done}: no uploader is at work here (HOLDFAST_SHIPPER=none); run `holdfast sync`"
        return f"{what} not {done} yet" + (f": {trouble.reason}" if trouble is not None else "")

    # -- records ----------------------------------------------------------------------

    def _try(self, run_id: str, wait: _Wait) -> str:
        """Deliver what is there of a run; return why that was not possible, or an empty text."""
        if not self._lock_of(run_id).acquire(timeout=wait.left_s):
            return "another thread is delivering it"
        try:
            with self._waiting_sender(wait.left_s) as sender:
                outcome = self._delivery(run_id).deliver(
                    sender, self.journal.known_process, stop=wait.is_over, wait_s=wait.left_s
                )
        except Unavailable as error:
            if wait.left_s <= 0 and not error.needs_people:
                self.go_offline()
            return error.reason
        except OSError as error:
            return disk_reason(error, self.target.root)
        except HoldfastError as error:
            return str(error)
        finally:
            self._lock_of(run_id).release()
        return self._why_not_all(run_id, outcome)

    @contextlib.contextmanager
    def _waiting_sender(self, left_s: float) -> Iterator[Sender]:
        """Give a way to the server that does not wait for longer than the caller does."""
        if is_database(self.target.tracking_uri):
            yield self.sender()
            return
        sender = self.target.sender(timeout_s=max(REACH_S, min(left_s, _PATIENT_S)))
        try:
            yield sender
        finally:
            sender.close()

    def _why_not_all(self, run_id: str, outcome: Outcome) -> str:
        if outcome.is_busy:
            return "it is being delivered"
        if outcome.is_blocked:
            return f"the server refuses the run (holdfast journal status {run_id})"
        return "" if outcome.has_read_all else "there was not enough time"

    def _lock_of(self, run_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(run_id, threading.Lock())

    def _delivery(self, run_id: str) -> RunDelivery:
        with self._lock:
            found = self._deliveries.get(run_id)
            if found is None:
                found = self._deliveries[run_id] = RunDelivery(self.journal.paths, run_id)
            return found


def _task(left: Left) -> tuple[str, str]:
    """Return what is to be done, and the word for its being done."""
    files, removes = left
    if removes and not files:
        return f"the deletion of {removes[0] if len(removes) == 1 else f'{len(removes)} files'}", "done"
    return f"the file {files[0].path}" if len(files) == 1 else f"{len(files)} files", "uploaded"


class _Wait:
    """How long somebody waits, and who is told meanwhile."""

    def __init__(self, deadline_s: float, tick: Callable[[], None]) -> None:
        self._deadline_s = deadline_s
        self._started_s = time.monotonic()
        self.tick = tick

    @property
    def left_s(self) -> float:
        """How long is left, in seconds."""
        return max(0.0, self._deadline_s - time.monotonic())

    def is_over(self) -> bool:
        """Whether the time is up; asked between requests, of which one is made in any case."""
        self.tick()
        return self._deadline_s > self._started_s and self.left_s <= 0
