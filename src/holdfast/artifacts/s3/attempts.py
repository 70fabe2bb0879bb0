"""How often one call is made, and after which pauses."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from holdfast.artifacts.s3.errors import may_be_stale
from holdfast.artifacts.s3.faults import Fault
from holdfast.core.dice import draw

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 8.0
# Other threads' progress keeps a call alive that fails again and again, up to so many deadlines.
_LONGEST_IN_DEADLINES = 5
# A server that nobody listens at, and that has never answered, is more likely an address with a slip in it.
_NOBODY_THERE = ("ConnectionRefused", "UnknownHost")
_NOBODY_THERE_S = 15.0


class Attempts:
    """The attempts at one call.

    Args:
        connection: Whose.
        bucket: Where.
        stop: Ends the waiting.
    """

    def __init__(self, connection: S3Connection, bucket: str, stop: threading.Event | None) -> None:
        self._connection = connection
        self._dialect = connection.dialect(bucket)
        self._stop = stop or threading.Event()
        self._began_at = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S
        self._renewed = False
        self._version = 0
        self._had_checksum = False

    def begin(self, checked: bool) -> None:
        """Note what the next attempt is made with."""
        self._version = self._dialect.version
        self._had_checksum = checked and self._dialect.sends_checksums

    def has_another(self, fault: Fault) -> bool:
        """Whether the call is to be made again, after the pause that it takes."""
        # What has to be learnt from this refusal another thread may have learnt meanwhile.
        if self._dialect.refused(fault, self._had_checksum) or self._dialect.version != self._version:
            return not self._stop.is_set()
        if may_be_stale(fault.code) and self._connection.may_renew and not self._renewed:
            self._renewed = True
            self._connection.renew()
            return not self._stop.is_set()
        # Full jitter, so that many clients do not come back at the same moment.
        pause_s = draw(0, self._pause_s)
        if not fault.is_transient or time.monotonic() + pause_s > self._ends_at(fault):
            return False
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return not self._stop.wait(pause_s)

    def _ends_at(self, fault: Fault) -> float:
        deadline_s = self._connection.access.deadline_s
        if fault.code in _NOBODY_THERE and not self._connection.has_answered:
            deadline_s = min(deadline_s, _NOBODY_THERE_S)
        latest = self._began_at + _LONGEST_IN_DEADLINES * deadline_s
        return min(latest, max(self._began_at, self._connection.progress_at) + deadline_s)
