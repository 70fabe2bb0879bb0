"""Delivers one run: reads its segments, sends them in order, notes how far it came."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from holdfast.core.sending import Refused, RunRef, Sender, Unavailable
from holdfast.delivery.aside import Aside, add_asides, aside, load_asides
from holdfast.delivery.batches import Broken, Request, Single, requests_of
from holdfast.delivery.identity import PARENT_TAG, load_about, load_resolved, resolve, resolve_other
from holdfast.delivery.poison import Suspicion, Suspicious
from holdfast.delivery.sending import send_batch, send_single
from holdfast.delivery.streams import Facts, RunStreams
from holdfast.journal.checkpoint import is_behind, load_checkpoint, save_checkpoint
from holdfast.journal.filesystem import FileSystem, OsFileSystem
from holdfast.journal.layout import JournalPaths, RunPaths
from holdfast.journal.lease import Life
from holdfast.journal.locks import FileLock
from holdfast.journal.reserve import use_reserve

ENDED_BY_TAG = "holdfast.endedBy"
END_REASON_TAG = "holdfast.endReason"
_OPEN = ("", "RUNNING", "SCHEDULED")
_SAVE_EVERY_S = 0.25
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Outcome:
    """What a pass over a run has done.

    Attributes:
        metrics: How many values were stored.
        records: How many params, tags and other things were.
        aside: What was set aside in this pass.
        is_busy: Whether somebody else is delivering the run right now.
        is_blocked: Whether the run itself is refused; see `holdfast journal retry`.
        has_read_all: Whether everything that was there when it was read is stored, or set aside.
        is_complete: Whether nothing is left and no process can write more.
        elsewhere: Processes of other machines that have the run open, as far as the journal says.
    """

    metrics: int = 0
    records: int = 0
    aside: list[Aside] = field(default_factory=list)
    is_busy: bool = False
    is_blocked: bool = False
    has_read_all: bool = False
    is_complete: bool = False
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ground:
    """What a delivery of a run stands on."""

    files: FileSystem
    paths: JournalPaths
    run_id: str
    run: RunPaths
    streams: RunStreams
    suspicion: Suspicion


class RunDelivery:
    """Delivers one run of a journal. One thread at a time may use it.

    Args:
        paths: The journal.
        run_id: The run, by the name of its folder.
        files: The file system.
        own: The name of the calling process in the journal, if it writes there.
        end_elsewhere: Whether processes of other machines that left a run open count as gone.
    """

    def __init__(
        self,
        paths: JournalPaths,
        run_id: str,
        files: FileSystem | None = None,
        own: str | None = None,
        end_elsewhere: bool = False,
    ) -> None:
        files = files or OsFileSystem()
        run = paths.run(run_id)
        streams = RunStreams(paths, run, files, own, end_elsewhere)
        self._ground = _Ground(files, paths, run_id, run, streams, Suspicion())

    def deliver(
        self, sender: Sender, own: str | None = None, stop: Callable[[], bool] = lambda: False, wait_s: float = 0.0
    ) -> Outcome:
        """Send what is there, and end the run where the process that should have done so is gone.

        Args:
            sender: The server.
            own: The name of the calling process in the journal, once it has one.
            stop: Asked between requests; true ends the pass early.
            wait_s: How long somebody else may hold the run.

        Raises:
            Unavailable: The server cannot be reached; what was sent until then is noted.
            JournalError: The journal was written by a later release.
            OSError: The journal cannot be read or written, or is gone.
        """
        self._ground.streams.own = own or self._ground.streams.own
        with FileLock(self._ground.run.lock) as lock:
            if not lock.acquire(wait_s):
                return Outcome(is_busy=True)
            return self._deliver(sender, stop)

    def _deliver(self, sender: Sender, stop: Callable[[], bool]) -> Outcome:
        ground = self._ground
        if any(item.what == "run" for item in load_asides(ground.files, ground.run.aside)):
            return Outcome(is_blocked=True)
        one_pass = _Pass(ground, sender)
        try:
            one_pass.run(stop)
        except Unavailable as error:
            if error.is_crash:
                ground.suspicion.crashed()
            raise
        except Refused as refusal:
            one_pass.keep([aside("run", {"run_id": ground.run_id}, refusal.reason)])
            one_pass.outcome.is_blocked = True
        finally:
            one_pass.save()
        return one_pass.outcome


class _Pass:
    """One pass over a run, under its lock."""

    def __init__(self, ground: _Ground, sender: Sender) -> None:
        self.outcome = Outcome()
        self._ground = ground
        self._sender = sender
        self._saved = self._checkpoint = load_checkpoint(ground.files, ground.run.checkpoint)
        self._facts = Facts(self._checkpoint)
        self._saved_s = time.monotonic()
        self._target: str | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Send what is there."""
        streams = self._ground.streams
        # Before reading: a process that is gone now has written all it ever will.
        lives = streams.lives()
        for request in requests_of(self._facts.watch(streams.items(self._checkpoint))):
            if stop():
                return
            self._send(request)
        self._advance(streams.read_to())
        self.outcome.has_read_all = True
        self._finish(lives)

    @property
    def _run_id(self) -> str:
        """The run's id on the server; created there when first needed."""
        if self._target is None:
            ground = self._ground
            self._target = resolve(ground.files, ground.paths, ground.run_id, self._sender)
        return self._target

    def _send(self, request: Request) -> None:
        if isinstance(request, Broken):
            self._report(request)
        elif isinstance(request, Single):
            entry = request.entry
            refused = send_single(self._sender, self._run_id, entry.kind, entry.content, self._judge)
            self.keep(refused)
            self.outcome.records += 1 - len(refused)
        elif not request.is_empty:
            self._map_parent(request.tags)
            refused = send_batch(self._sender, self._run_id, request, self._judge)
            self.keep(refused)
            bad = sum(item.what == "metric" for item in refused)
            self.outcome.metrics += len(request.metrics) - bad
            self.outcome.records += len(request.params) + len(request.tags) - (len(refused) - bad)
        self._ground.suspicion.passed()
        self._advance(request.offsets)

    def _judge(self, error: Unavailable) -> Refused | Unavailable:
        is_suspect = self._ground.suspicion.is_strong
        return Suspicious(self._sender, self._run_id).judge(error) if is_suspect else error

    def _map_parent(self, tags: dict[str, str]) -> None:
        if PARENT_TAG in tags:
            tags[PARENT_TAG] = resolve_other(self._ground.files, self._ground.paths, tags[PARENT_TAG], self._sender)

    def _report(self, request: Broken) -> None:
        damage = request.damage
        if damage.is_tail:  # was being written when its process was killed; nobody was told that it was logged
            return
        where = {"segment": request.segment, "start": damage.start, "end": damage.end, "missing": damage.missing}
        self.keep([aside("damage", where, damage.reason)])

    def keep(self, items: list[Aside]) -> None:
        """Set things aside; durable before the checkpoint goes beyond them."""
        if items:
            add_asides(self._ground.files, self._ground.run.aside, items)
            self.outcome.aside.extend(items)

    def _advance(self, offsets: Mapping[str, int]) -> None:
        self._checkpoint = self._checkpoint.advanced(offsets)
        if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the checkpoint if it is another one."""
        facts = self._facts
        self._checkpoint = replace(
            self._checkpoint,
            owners=tuple(facts.owners),
            left=tuple(facts.left),
            status=facts.status,
            last_ms=facts.last_ms,
        )
        if self._checkpoint != self._saved:
            try:
                save_checkpoint(self._ground.files, self._ground.run.checkpoint, self._checkpoint)
            except OSError as error:
                if error.errno not in _NO_ROOM or not use_reserve(self._ground.paths):
                    raise
                save_checkpoint(self._ground.files, self._ground.run.checkpoint, self._checkpoint)
            self._saved = self._checkpoint
        self._saved_s = time.monotonic()

    # -- the end of a run -------------------------------------------------------------

    def _finish(self, lives: Mapping[str, Life]) -> None:
        about = load_about(self._ground.files, self._ground.run)
        if about.is_local:
            _ = self._run_id  # a run in which nothing was logged is a run all the same
        if any(life is Life.ALIVE for life in lives.values()) or is_behind(
            self._ground.files, self._ground.run.folder, self._checkpoint
        ):
            self._checkpoint = replace(self._checkpoint, complete_ms=None)
            return
        if not self._end_if_deserted(lives):
            return
        if about.is_local and about.key is not None:
            self._delete_ghosts(about.key, about.start_time_ms)
        if self._checkpoint.complete_ms is None:
            self._checkpoint = replace(self._checkpoint, complete_ms=time.time_ns() // 1_000_000)
        self.outcome.is_complete = True

    def _end_if_deserted(self, lives: Mapping[str, Life]) -> bool:
        """End a run that nobody is left to end; False where that cannot be known from this machine."""
        facts = self._facts
        deserters = [process for process in facts.owners if process not in facts.left]
        if facts.status not in _OPEN or not deserters:
            return True
        away = tuple(process for process in deserters if lives.get(process) is Life.ELSEWHERE)
        if away:
            self.outcome.elsewhere = away
            return False
        self._end(deserters)
        return True

    def _end(self, processes: list[str]) -> None:
        found = self._sender.get_run(self._run_id)
        if found is None or found.deleted or found.status not in _OPEN:
            return  # somebody else has ended it
        pids = ", ".join(process.split("-")[0] for process in processes)
        tags = [(ENDED_BY_TAG, "holdfast shipper"), (END_REASON_TAG, f"process {pids} ended without ending the run")]
        self._sender.log_batch(self._run_id, [], [], tags)
        self._sender.update_run(self._run_id, "FAILED", self._facts.last_ms or None, None)
        self._facts.status = "FAILED"

    def _delete_ghosts(self, key: str, start_time_ms: int) -> None:
        """Delete what a request made that was thought lost and came through late: a run in which nothing is."""
        resolved = load_resolved(self._ground.files, self._ground.run)
        if resolved is None:
            return
        for ref in self._sender.find_runs(resolved.experiment_id, key):
            if ref.run_id != resolved.run_id and _is_ghost(ref, start_time_ms):
                self._sender.delete_run(ref.run_id)


def _is_ghost(ref: RunRef, start_time_ms: int) -> bool:
    return not ref.deleted and ref.status == "RUNNING" and not ref.metrics and ref.start_time_ms == start_time_ms
