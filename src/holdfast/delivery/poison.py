"""Tells a request that no server will ever survive from a server that is in trouble.

MLflow answers some requests by a crash, HTTP 500, every time. Taken for a passing trouble, such a record would keep
what comes after it from the server for ever; taken for refused too soon, an outage of the server's database would
set everything aside.
"""

from __future__ import annotations

import time

from holdfast.core.sending import Refused, Sender, Unavailable

# A record counts as what crashes the server after so many tries over so long, and only while others pass.
_TRIES = 5
_OVER_S = 120.0
_PROBE_TAG = "holdfast.probe"


class Suspicion:
    """What is known of crashes at one place of a run.

    Args:
        tries: How many crashes in a row make it suspect.
        over_s: Over how many seconds at least.
    """

    def __init__(self, tries: int = _TRIES, over_s: float = _OVER_S) -> None:
        self._tries = tries
        self._over_s = over_s
        self._count = 0
        self._since_s = 0.0

    def crashed(self) -> None:
        """Note that the server crashed at what comes next in the run."""
        self._since_s = self._since_s if self._count else time.monotonic()
        self._count += 1

    def passed(self) -> None:
        """Note that it was stored."""
        self._count = 0

    @property
    def is_strong(self) -> bool:
        """Whether the record is to be taken for the cause, if the server is well otherwise."""
        return self._count >= self._tries and time.monotonic() - self._since_s >= self._over_s


class Suspicious:
    """A sender that takes a crash for a refusal where the server stores something else in the same run right after.

    Args:
        sender: The sender.
        run_id: The run on the server.
    """

    def __init__(self, sender: Sender, run_id: str) -> None:
        self._sender = sender
        self._run_id = run_id

    def judge(self, error: Unavailable) -> Refused | Unavailable:
        """Return what the error is to be taken for."""
        if not error.is_crash:
            return error
        try:
            self._sender.log_batch(self._run_id, [], [], [(_PROBE_TAG, str(time.time_ns()))])
            self._sender.delete_tag(self._run_id, _PROBE_TAG)
        except (Unavailable, Refused):
            return error
        return Refused(f"the server crashes at it every time: {error.reason}")
