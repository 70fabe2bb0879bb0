"""Delivers a whole journal while somebody waits for it: `holdfast sync`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.core.sending import Point, Refused, Sender, Unavailable
from holdfast.delivery.aside import load_asides
from holdfast.delivery.breaker import Breaker
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.file_sync import FileSync
from holdfast.delivery.identity import load_about, server_id_of
from holdfast.delivery.offline_files import Upload, upload_files
from holdfast.delivery.run import Outcome, RunDelivery
from holdfast.delivery.target import Target
from holdfast.delivery.uploads import Store, Uploads
from holdfast.errors import HoldfastError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.spool import Spool

_RUNS_AT_ONCE = 4
_TICK_S = 0.1
_BUSY_S = 1.0
_CHECK_S = 5.0
# With the breaker's pauses: some four seconds, a restart of a server behind a proxy.
_TRIES = 4
_LONGEST_PAUSE_S = 60.0


class Result(StrEnum):
    """What became of a run."""

    DELIVERED = "delivered"
    OPEN = "open"
    ELSEWHERE = "elsewhere"
    BLOCKED = "blocked"
    PENDING = "pending"


@dataclass
class RunSync:
    """What became of a run.

    Attributes:
        run_id: The name of its folder.
        result: `delivered`; `open`: as `delivered`, and a process here can write more; `elsewhere`: as `delivered`,
            and a process of another machine left it open; `blocked`: the server refuses the run; `pending`.
        server_id: Its id on the server.
        reason: Why it is blocked or pending.
        aside: How many things are set aside, those of before included.
        files: How many files were uploaded.
        removed: How many were deleted from the artifact store.
    """

    run_id: str
    result: Result
    server_id: str | None = None
    reason: str = ""
    aside: int = 0
    files: int = 0
    removed: int = 0


@dataclass
class Summary:
    """What a sync has done.

    Attributes:
        runs: The runs, in the order they were begun.
        metrics: How many values were stored.
        records: How many params, tags and other things were.
        reason: Why the server could not be reached in the end, or an empty text.
        trouble: What went wrong last, while it is still tried again; an empty text where nothing did.
    """

    runs: list[RunSync] = field(default_factory=list)
    metrics: int = 0
    records: int = 0
    reason: str = ""
    trouble: str = ""

    def of(self, result: Result) -> list[RunSync]:
        """Return the runs with one result."""
        return [run for run in self.runs if run.result is result]

    @property
    def aside(self) -> int:
        """How many things are set aside."""
        return sum(run.aside for run in self.runs)

    @property
    def exit_code(self) -> int:
        """0: all is there; 3: trying again may help; 1: people have to look at what is refused."""
        if self.of(Result.PENDING):
            return 3
        return 1 if self.aside or self.of(Result.BLOCKED) else 0


class Sync:
    """Delivers the runs of a journal, several at once and each in order.

    Args:
        target: The journal and its store.
        upload: Stores the files of a folder at an artifact URI.
        end_elsewhere: Whether runs that processes of other machines left open are ended as FAILED.
        timeout_s: How long this may take, in seconds; None for as long as the server answers.
        is_foreign: Whether the journal was written for another store, which may have some of its runs.
        store: Where the files go that were handed over; none of them are uploaded if not given.
        meter: Is told how that goes.
    """

    def __init__(
        self,
        target: Target,
        upload: Upload,
        end_elsewhere: bool = False,
        timeout_s: float | None = None,
        is_foreign: bool = False,
        store: Store | None = None,
        meter: Meter = SILENT,
    ) -> None:
        self.summary = Summary()
        self._target = target
        self._paths = JournalPaths(target.root)
        self._upload = upload
        self._end_elsewhere = end_elsewhere
        self._is_foreign = is_foreign
        self._store = store
        self._meter = meter
        self._deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._senders: list[Sender] = []

    def run(self, run_ids: Sequence[str], tick: Callable[[Summary], None] = lambda _: None) -> Summary:
        """Deliver runs; what is not done when the time is up, or the server is gone, is said.

        Args:
            run_ids: Their folders' names.
            tick: Called some times a second.

        Returns:
            What was done; nothing of the journal is lost in any case.
        """
        # A parent is begun before its children, which need its id.
        ordered = sorted(run_ids, key=self._begun_ms)
        pool = ThreadPoolExecutor(_RUNS_AT_ONCE, thread_name_prefix="holdfast-sync")
        try:
            futures = [pool.submit(self._run, run_id) for run_id in ordered]
            self._wait(futures, tick)
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._close()
        self._upload_parcels()
        self.summary.runs.sort(key=lambda run: ordered.index(run.run_id))
        return self.summary

    def _wait(self, futures: Sequence[Future[None]], tick: Callable[[Summary], None]) -> None:
        left: Sequence[Future[None]] = futures
        while left:
            left = tuple(wait(left, _TICK_S).not_done)
            tick(self.summary)
        for future in futures:
            future.result()

    def _upload_parcels(self) -> None:
        """Upload what was handed over for these runs; a server that is gone need not keep S3 from getting its files."""
        if self._store is None:
            return
        # A run of another store that this one does not have keeps its files: they might go through that server.
        kept = [run for run in self.summary.of(Result.BLOCKED) if self._is_foreign]
        runs = {run.run_id: run for run in self.summary.runs if run not in kept}
        uploads = Uploads(self._paths, self._store, self._target.options.sync, self._target.redact)
        work = FileSync(Spool(self._paths), uploads, lambda: self._left_s <= 0, self._meter, self._note_trouble)
        for run_id, done in work.run(runs).items():
            run = runs[run_id]
            run.files += done.files
            run.removed += done.removed
            if done.reason and run.result is not Result.PENDING:
                run.result, run.reason = Result.PENDING, done.reason
        for parcel in Spool(self._paths).of_runs(runs):
            if parcel.is_refused and parcel.entry is not None:
                runs[parcel.entry.run_id].aside += 1

    def _note_trouble(self, reason: str) -> None:
        self.summary.trouble = reason

    def _begun_ms(self, run_id: str) -> int:
        return load_about(OsFileSystem(), self._paths.run(run_id)).start_time_ms

    # -- the server -------------------------------------------------------------------

    def _sender(self) -> Sender:
        found: Sender | None = getattr(self._local, "sender", None)
        if found is None:
            found = self._local.sender = cast(Sender, _Counting(self._target.sender(), self._count))
            with self._lock:
                self._senders.append(found)
        return found

    def _close(self) -> None:
        for sender in self._senders:
            with contextlib.suppress(Exception):
                sender.close()

    def _count(self, metrics: int, records: int) -> None:
        with self._lock:
            self.summary.metrics += metrics
            self.summary.records += records

    @property
    def _left_s(self) -> float:
        return max(0.0, self._deadline_s - time.monotonic())

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._left_s <= 0

    def _give_up(self, error: Unavailable) -> None:
        """Let the other runs go too where the server is gone, or refuses the login, and not just one run in trouble."""
        try:
            self._sender().check(_CHECK_S)
            self._sender().get_experiment("0")
        except Unavailable:
            with self._lock:
                self.summary.reason = self.summary.reason or error.reason
            self._stop.set()
        except Refused:
            return

    # -- one run ----------------------------------------------------------------------

    def _run(self, run_id: str) -> None:
        try:
            result = self._deliver(run_id)
        except (OSError, HoldfastError) as error:
            if not self._paths.run(run_id).folder.exists():  # it was all delivered, and its time had come
                return
            said = disk_reason(error, self._target.root) if isinstance(error, OSError) else str(error)
            result = RunSync(run_id, Result.PENDING, reason=self._target.redact(said))
        result.server_id = server_id_of(self._paths, run_id)
        result.aside = len(load_asides(OsFileSystem(), self._paths.run(run_id).aside))
        with self._lock:
            self.summary.runs.append(result)

    def _deliver(self, run_id: str) -> RunSync:
        delivery = RunDelivery(self._paths, run_id, end_elsewhere=self._end_elsewhere)
        breaker, stored = Breaker(), self._stored
        while not self._is_over():
            try:
                if self._is_foreign and (reason := self._why_not_there(run_id)):
                    return RunSync(run_id, Result.BLOCKED, reason=reason)
                outcome = delivery.deliver(self._sender(), stop=self._is_over, wait_s=min(_BUSY_S, self._left_s))
            except Unavailable as error:
                if self._stored != stored:
                    breaker, stored = Breaker(), self._stored
                breaker.failed(error.retry_after_s)
                self._note_trouble(error.reason)
                if error.needs_people or breaker.failures >= _TRIES or breaker.wait_s > _LONGEST_PAUSE_S:
                    self._give_up(error)
                    return RunSync(run_id, Result.PENDING, reason=error.reason)
                self._stop.wait(min(breaker.wait_s, self._left_s))
                continue
            if not outcome.is_busy:
                return self._result(run_id, outcome)
        return RunSync(run_id, Result.PENDING, reason=self.summary.reason or "there was not enough time")

    @property
    def _stored(self) -> int:
        return self.summary.metrics + self.summary.records

    def _why_not_there(self, run_id: str) -> str:
        """Return why a run of another store is not sent: noted as refused, it would be in the way of its own store."""
        known = server_id_of(self._paths, run_id)
        if known is None or self._sender().get_run(known) is not None:
            return ""
        return f"it is on the store that the journal was written for, and not on {self._target.destination}"

    def _result(self, run_id: str, outcome: Outcome) -> RunSync:
        if outcome.is_blocked:
            items = load_asides(OsFileSystem(), self._paths.run(run_id).aside)
            reasons = [item.reason for item in items if item.what == "run"]
            return RunSync(run_id, Result.BLOCKED, reason=next(iter(reasons), "the server refuses the run"))
        if not outcome.has_read_all:
            return RunSync(run_id, Result.PENDING, reason=self.summary.reason or "there was not enough time")
        if outcome.elsewhere:
            return RunSync(run_id, Result.ELSEWHERE)
        if not outcome.is_complete:
            return RunSync(run_id, Result.OPEN)
        return RunSync(run_id, Result.DELIVERED, files=upload_files(self._paths, run_id, self._upload))


class _Counting:
    """A sender that counts what is stored; `RunDelivery` cannot say that of a pass that ends in `Unavailable`."""

    def __init__(self, sender: Sender, count: Callable[[int, int], None]) -> None:
        self._sender = sender
        self._count = count

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        self._sender.log_batch(run_id, metrics, params, tags)
        self._count(len(metrics), len(params) + len(tags))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sender, name)
        return self._counted(method) if name in _STORING else method

    def _counted(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            method(*arguments)
            self._count(0, 1)

        return call


_STORING = ("update_run", "log_inputs", "log_outputs", "log_model", "delete_tag")
