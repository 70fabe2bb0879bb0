"""Uploads what was handed over as files while somebody waits for it: the second half of `holdfast sync`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.delivery.breaker import Breaker
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.uploads import Fate, Order, Shipment, Uploads
from holdfast.journal.parcel import Parcel
from holdfast.journal.spool import Spool

_AT_ONCE = 4
_POLL_S = 0.1
# With the breaker's pauses: some four seconds, a restart of a server behind a proxy.
_TRIES = 4


@dataclass
class FilesDone:
    """What became of the files of one run.

    Attributes:
        files: How many were uploaded.
        removed: How many paths were deleted from the store.
        reason: Why not all of them were that are not set aside, or an empty text.
    """

    files: int = 0
    removed: int = 0
    reason: str = ""


class FileSync:
    """Uploads parcels with one access, whoever handed them over.

    Args:
        spool: The journal's parcels.
        uploads: How they are uploaded.
        is_over: Whether the time is up.
        meter: Is told how it goes.
        told: Is told what went wrong, while it is tried again.
    """

    def __init__(
        self,
        spool: Spool,
        uploads: Uploads,
        is_over: Callable[[], bool] = lambda: False,
        meter: Meter = SILENT,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spool = spool
        self._uploads = uploads
        self._is_over = is_over
        self._meter = meter
        self._told = told
        self._lock = threading.Lock()
        self._done: dict[str, FilesDone] = {}

    def run(self, run_ids: Collection[str]) -> dict[str, FilesDone]:
        """Upload the parcels of some runs; those that somebody else uploads just now are waited for.

        Returns:
            What became of them, by run; nothing is lost in any case.
        """
        self._done = {}
        order = Order()
        self._spool.clean()
        self._spool.drop_superseded()
        tried: set[str] = set()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="holdfast-files") as pool:
            while True:
                left = [parcel for parcel in self._spool.of_runs(run_ids) if not parcel.is_refused]
                # What could not be sent holds up later files of the same name, which it would overwrite one day.
                due = [parcel for parcel in order.next(left) if parcel.id not in tried]
                tried |= {parcel.id for parcel in due}
                if not due:
                    break
                list(pool.map(self._send, due))
        for parcel in left:
            self._of(parcel).reason = self._of(parcel).reason or "an earlier file of the same name is not there yet"
        return self._done

    def _of(self, parcel: Parcel) -> FilesDone:
        with self._lock:
            return self._done.setdefault(parcel.entry.run_id if parcel.entry is not None else "", FilesDone())

    def _send(self, parcel: Parcel) -> None:
        done = self._of(parcel)
        shipment = self._try_to_send(parcel)
        with self._lock:
            done.files += shipment.sent.files
            done.removed += shipment.removed
            if shipment.fate not in (Fate.SENT, Fate.GONE, Fate.REFUSED):
                done.reason = done.reason or shipment.reason

    def _try_to_send(self, parcel: Parcel) -> Shipment:
        breaker = Breaker()
        found = Shipment(Fate.FAILED, "there was not enough time")
        if (trouble := parcel.trouble) is not None:  # a try may take minutes
            self._told(trouble.reason)
        while not self._is_over():
            try:
                found = self._uploads.send(parcel, self._meter)
            except OSError as error:
                return Shipment(Fate.FAILED, disk_reason(error, self._spool.paths.root))
            if found.fate is Fate.FAILED:
                breaker.failed()
                self._told(found.reason)
                if found.needs_people or (breaker.failures >= _TRIES and not found.doubts):
                    return found
            elif found.fate is not Fate.BUSY:
                return found
            self._pause(max(_POLL_S, breaker.wait_s))
        return found

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and not self._is_over():
            time.sleep(_POLL_S)
