"""The uploader: uploads the parcels of a journal in the background until there are none and nobody writes any more."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial

from holdfast.artifacts.store import ArtifactStore, folder_sources
from holdfast.artifacts.transfer import Item
from holdfast.core.uris import file_uri, scheme_of
from holdfast.delivery.breaker import Breaker
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.identity import load_resolved
from holdfast.delivery.offline_files import files_waiting, upload_files
from holdfast.delivery.progress import ProgressFile
from holdfast.delivery.upload_target import UploadTarget
from holdfast.delivery.uploads import Fate, Order, Shipment, Store, Uploads, is_below, place_of, root_of
from holdfast.delivery.workers import Workers
from holdfast.errors import HoldfastError
from holdfast.journal.checkpoint import load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import has_writers
from holdfast.journal.locks import FileLock, is_held
from holdfast.journal.parcel import Parcel
from holdfast.journal.spool import Spool

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_SETTLE_S = 1.0
_IDLE_AFTER_S = 10.0
_AT_ONCE = 4
_LOOKED_AT_S = 0.2
_LAST_REQUEST_S = 5.0
_LONGEST_PAUSE_S = 30.0
# A parcel of another access is left alone for so long: its own uploader may be about to start.
_ORPHANED_S = 5.0
_OFFLINE_EVERY_S = 2.0
# A store that is gone for longer is left to the next process that hands a file over, or to `holdfast sync`.
_PATIENCE_S = 7 * 86400.0


class _Known:
    """What the uploader remembers of a parcel."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.is_refused = parcel.is_refused
        self.failures = 0
        self.tried_s = 0.0
        self.due_s = 0.0
        self.orphaned_s: float | None = None
        self.place = ""
        self.future: Future[Shipment] | None = None


class Uploader:
    """Uploads the parcels of a journal that it has the access for, several at once.

    Args:
        errand: The journal, and how its files are stored.
        store: Where they go; made from the errand if not given.
        own: Returns the name of the calling process in the journal; only for an uploader that is one of its threads.
    """

    def __init__(
        self, errand: UploadTarget, store: Store | None = None, own: Callable[[], str | None] = lambda: None
    ) -> None:
        target = errand.target
        self._errand = errand
        self._fingerprint = errand.access.fingerprint
        self._paths = JournalPaths(target.root)
        self._own = own
        self._spool = Spool(self._paths)
        self._store = store or ArtifactStore(errand.access, target.tracking_uri, target.login)
        self._uploads = Uploads(self._paths, self._store, target.options.sync, errand.redact)
        self._progress = ProgressFile(self._paths.uploader_state(self._fingerprint))
        self._known: dict[str, _Known] = {}
        self._order = Order()
        self._breakers: dict[str, Breaker] = {}
        self._offline: dict[str, Future[int]] = {}
        self._offline_due_s = 0.0
        self._stop = threading.Event()
        self._worked_s = time.monotonic()
        self._has_given_up = False

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stop.set()

    def run(self) -> None:
        """Upload until nothing is left and no process that writes here lives; return where another one does.

        A parcel that is handed over while this one leaves is not missed: it looks once more after it has let go of
        the lock.
        """
        while not self._stop.is_set():
            with FileLock(self._paths.uploader_lock(self._fingerprint)) as lock:
                try:
                    # Somebody may hold it for a moment, just to see whether an uploader does.
                    if not lock.acquire(_LOOKED_AT_S):
                        return
                    self._serve()
                except FileNotFoundError:  # the journal was deleted
                    return
            if self._stop.is_set() or self._has_given_up or self._is_over():
                return

    def _serve(self) -> None:
        parcels: Workers[Shipment] = Workers(_AT_ONCE)
        folders: Workers[int] = Workers(1)
        self._spool.clean(self._own())
        try:
            while not self._stop.is_set() and self._paths.root.exists():
                self._step(parcels, folders)
                if self._is_over():
                    break
                is_idle = time.monotonic() - self._worked_s > _IDLE_AFTER_S
                self._stop.wait(_SETTLE_S if is_idle else _POLL_S)
        finally:
            for workers in (parcels, folders):
                workers.close(_LAST_REQUEST_S)
        self._progress.write("ended", at_once=True)

    def _step(self, parcels: Workers[Shipment], folders: Workers[int]) -> None:
        self._collect()
        # In an outage the later of them make the earlier ones vain.
        self._spool.drop_superseded([known.parcel for known in self._not_refused() if known.future is None])
        try:
            for known in self._due():
                known.tried_s = time.monotonic()
                known.place = self._place_of(known)
                known.future = parcels.submit(partial(self._uploads.send, known.parcel))
            self._see_to_offline_files(folders)
        except RuntimeError:  # the interpreter is ending
            self._stop.set()
            return
        self._progress.write(self._state())

    def _state(self) -> str:
        if self._is_busy:
            return "uploading"
        return "waiting" if any(breaker.failures for breaker in self._breakers.values()) else "idle"

    # -- which ones -------------------------------------------------------------------

    def _waiting(self) -> list[_Known]:
        """Return the parcels that are this uploader's to send, the oldest first."""
        return [known for known in self._not_refused() if self._is_mine(known)]

    def _not_refused(self) -> list[_Known]:
        """Return all parcels that are not set aside, the oldest first."""
        found: dict[str, _Known] = {}
        for parcel in self._spool.parcels():
            known = found[parcel.id] = self._known.get(parcel.id) or _Known(parcel)
            if known.is_refused:
                known.is_refused = parcel.is_refused  # until `holdfast journal retry`
        self._known = found
        return [known for known in found.values() if not known.is_refused]

    def _is_mine(self, known: _Known) -> bool:
        entry = known.parcel.entry
        if entry is None or entry.access == self._fingerprint:
            return True
        if not self._may_reach(root_of(self._paths, known.parcel)):
            return False
        # Its keys were changed since, say: it belongs to this project all the same. With the old ones somebody may
        # still be at work, and in vain.
        if known.parcel.trouble is None and is_held(self._paths.uploader_lock(entry.access)):
            known.orphaned_s = None
            return False
        known.orphaned_s = known.orphaned_s or time.monotonic()
        return time.monotonic() - known.orphaned_s >= _ORPHANED_S

    def _may_reach(self, root: str | None) -> bool:
        """Whether this project's access may be used for a root that another one was to be used for."""
        if root is None:
            return False
        return scheme_of(root) != "s3" or is_below(root, self._errand.artifact_root)

    def _due(self) -> Iterator[_Known]:
        now = time.monotonic()
        every = {known.parcel.id: known for known in self._not_refused()}
        # Also in the order of those of others: the latest file of a name is the one that stays.
        first = [every[parcel.id] for parcel in self._order.next(known.parcel for known in every.values())]
        first = [known for known in first if self._is_mine(known)]
        busy = sum(known.future is not None for known in every.values())
        # The one tried longest ago: a parcel that always fails keeps no other one waiting.
        for known in sorted(first, key=lambda known: known.tried_s):
            if busy >= _AT_ONCE:
                return
            if known.future is None and known.due_s <= now and self._may_ask(self._place_of(known)):
                busy += 1
                yield known

    def _place_of(self, known: _Known) -> str:
        return place_of(root_of(self._paths, known.parcel))

    def _may_ask(self, place: str) -> bool:
        """Whether a store may be asked: one that failed gets one request at a time, after a while."""
        breaker = self._breakers.get(place)
        if breaker is None or not breaker.failures:
            return True
        is_asked = any(known.future is not None and known.place == place for known in self._known.values())
        return breaker.wait_s <= 0 and not is_asked

    # -- what became of them ----------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        return bool(self._offline) or any(known.future is not None for known in self._known.values())

    def _collect(self) -> None:
        for known in list(self._known.values()):
            if known.future is None or not known.future.done():
                continue
            future, known.future = known.future, None
            try:
                self._note(known, future.result())
            except (OSError, HoldfastError) as error:
                self._pause(known)
                said = disk_reason(error, self._paths.root) if isinstance(error, OSError) else str(error)
                self._fail(f"parcel {known.parcel.id}: {self._errand.redact(said)}", 0.0)

    def _note(self, known: _Known, shipment: Shipment) -> None:
        breaker = self._breakers.setdefault(known.place, Breaker())
        if shipment.fate in (Fate.SENT, Fate.REFUSED):
            breaker.succeeded()
            self._worked_s = time.monotonic()
            self._progress.add(shipment.sent.sent_bytes)
        if shipment.fate is Fate.REFUSED:
            known.is_refused = True
            _log.warning("set aside: files of parcel %s: %s", known.parcel.id, shipment.reason)
        elif shipment.doubts:
            # The store has answered: other files need not wait for this one.
            known.due_s = time.monotonic() + 2.0**shipment.doubts
            self._fail(shipment.reason, 2.0**shipment.doubts)
        elif shipment.fate is Fate.FAILED:
            self._pause(known)
            breaker.failed(needs_people=shipment.needs_people)
            self._fail(shipment.reason, breaker.wait_s)
        elif shipment.fate in (Fate.WAITING, Fate.BUSY):
            known.due_s = time.monotonic() + (_SETTLE_S if shipment.fate is Fate.WAITING else _POLL_S)

    def _pause(self, known: _Known) -> None:
        known.due_s = time.monotonic() + min(_LONGEST_PAUSE_S, 2.0 ** min(known.failures - 1, 10))
        known.failures += 1

    def _fail(self, reason: str, wait_s: float) -> None:
        if reason != self._progress.now.last_error:
            _log.warning("%s", reason)
        self._progress.fail(reason, wait_s)

    # -- files of runs that were begun offline ----------------------------------------

    def _see_to_offline_files(self, workers: Workers[int]) -> None:
        for run_id, future in list(self._offline.items()):
            if future.done():
                del self._offline[run_id]
                error = future.exception()
                if error is not None:
                    self._fail(f"files of run {run_id}: {self._errand.redact(str(error))}", _LONGEST_PAUSE_S)
                    self._offline_due_s = time.monotonic() + _LONGEST_PAUSE_S
        if self._offline or time.monotonic() < self._offline_due_s:
            return
        self._offline_due_s = time.monotonic() + _OFFLINE_EVERY_S
        for run_id in self._runs_with_files():
            self._offline[run_id] = workers.submit(partial(upload_files, self._paths, run_id, self._upload_folder))

    def _runs_with_files(self) -> Iterator[str]:
        """Yield the runs whose files can be uploaded now."""
        return (run_id for run_id, root in self._offline_runs() if root is not None)

    def _offline_runs(self) -> Iterator[tuple[str, str | None]]:
        """Yield the runs whose files are to be uploaded here, and where to; None as long as that is not known."""
        files = OsFileSystem()
        for run_id in files.list(self._paths.runs):
            run = self._paths.run(run_id)
            if run_id.startswith(".") or not files_waiting(run):
                continue
            resolved = load_resolved(files, run)
            # Complete: no process is left that could log another file.
            if resolved is None or load_checkpoint(files, run.checkpoint).complete_ms is None:
                yield run_id, None
            elif self._may_reach(resolved.artifact_uri):
                yield run_id, resolved.artifact_uri

    def _upload_folder(self, folder: os.PathLike[str], root_uri: str) -> None:
        items = [Item(path, file_uri(root_uri, name)) for path, name in folder_sources(self._paths.root / folder)]
        sent = self._store.upload(items)
        self._progress.add(sent.sent_bytes)

    # -- the end ----------------------------------------------------------------------

    def _has_writers(self) -> bool:
        return has_writers(self._paths, self._own())

    def _is_over(self) -> bool:
        if time.monotonic() - self._worked_s > _PATIENCE_S and not self._has_writers():
            self._has_given_up = True
            return True
        if self._is_busy or self._has_writers():
            return False
        return not self._waiting() and next(self._offline_runs(), None) is None
