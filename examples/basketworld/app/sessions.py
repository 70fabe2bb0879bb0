"""The open sessions: a limited number, each behind an id that cannot be guessed, gone when idle for long."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.errors import HoldfastError, NotFoundError

from .session import Table


class TooManySessionsError(HoldfastError):
    """All places are taken, and all of them are in use."""


_LEFT_S = 60.0
"""After so long without a connection a session may go for another one's sake."""


@dataclass
class Session:
    """A table behind its id.

    Attributes:
        id: 128 random bits; whoever knows it plays.
        table: The games.
        run: The id of the run that its policies are of, if any.
        turn: Held while the table is used: one order after the other.
        used_s: When it was last used, by a clock that only goes forward.
        viewers: Connections that are open now; a session with one does not expire.
        generation: Grows with each new connection: an older one sees that it was replaced.
    """

    id: str
    table: Table
    run: str | None
    used_s: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    viewers: int = 0
    generation: int = 0


class Sessions:
    """All open sessions. Used from the event loop only.

    Args:
        most: How many there may be.
        idle_s: Seconds without use or connection after which one expires.
        clock: Tells seconds; tests hand their own.
    """

    def __init__(self, most: int = 64, idle_s: float = 1800.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._idle_s = idle_s
        self._clock = clock
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        self._expire()
        return len(self._open)

    def check_room(self) -> None:
        """Make room for a session: where all places are taken, one that nobody watches any more goes.

        Raises:
            TooManySessionsError: All are watched, or were a moment ago, as by a page that is being loaded again.
        """
        self._expire()
        if len(self._open) >= self._most:
            self._give_up_one()
        if len(self._open) >= self._most:
            raise TooManySessionsError(
                f"All {self._most} sessions are in use.", "close a tab of the page, or try again later", retryable=True
            )

    def add(self, table: Table, run: str | None) -> Session:
        """Open a session.

        Raises:
            TooManySessionsError: All places are taken.
        """
        self.check_room()
        session = Session(secrets.token_urlsafe(16), table, run, self._clock())
        self._open[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Return a session, which counts as used now.

        Raises:
            NotFoundError: There is none of that id, or it has expired.
        """
        self._expire()
        found = self._open.get(session_id)
        if found is None:
            raise NotFoundError("There is no such session.", "it may have expired: choose two teams to open another")
        found.used_s = self._clock()
        return found

    def close(self, session_id: str) -> None:
        """Forget a session.

        Raises:
            NotFoundError: There is none of that id.
        """
        del self._open[self.get(session_id).id]

    def _give_up_one(self) -> None:
        left_s = self._clock() - _LEFT_S
        left = [one for one in self._open.values() if one.used_s <= left_s and not one.viewers]
        if left:
            del self._open[min(left, key=lambda one: one.used_s).id]

    def _expire(self) -> None:
        oldest_s = self._clock() - self._idle_s
        for one in [one for one in self._open.values() if one.used_s < oldest_s and not one.viewers]:
            del self._open[one.id]
