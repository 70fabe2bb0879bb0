"""When to try a server again that did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.core.dice import draw

_FIRST_S = 0.5
_LONGEST_S = 30.0
_FOR_PEOPLE_S = 30.0


class Breaker:
    """A circuit breaker: open after a failure, for twice as long each time, with jitter.

    Args:
        clock: Seconds that only go forward.
        jitter: A number between 0 and 1, another one each time, so that many shippers do not come back at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = draw) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._until_s = 0.0

    @property
    def wait_s(self) -> float:
        """How long to leave the server alone, in seconds; 0 where it may be tried."""
        return max(0.0, self._until_s - self._clock())

    @property
    def failures(self) -> int:
        """How many times in a row it failed."""
        return self._failures

    def failed(self, retry_after_s: float | None = None, needs_people: bool = False) -> None:
        """Note a failure.

        Args:
            retry_after_s: How long the server asked to be left alone.
            needs_people: Whether waiting alone will not mend it.
        """
        longest = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self._failures, 10))
        # Full jitter over the upper half: spread out, and never at once.
        pause = longest * (0.5 + 0.5 * self._jitter())
        self._failures += 1
        self._until_s = self._clock() + max(pause, retry_after_s or 0.0, _FOR_PEOPLE_S if needs_people else 0.0)

    def succeeded(self) -> None:
        """Note that the server answered."""
        self._failures = 0
        self._until_s = 0.0
