"""Many things at once, on threads that nobody waits for at the end of the interpreter."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from holdfast.errors import ArtifactError

_T = TypeVar("_T")
# How often the waiting thread looks up, so that Ctrl-C gets through everywhere.
_LOOK_UP_S = 0.5
# After Ctrl-C requests under way may end so long, for obstore's threads do not like to come back to an interpreter
# that is ending.
_LEAVE_S = 2.0


def in_parallel(tasks: Iterable[Callable[[], _T]], threads: int, stop: threading.Event) -> list[_T]:
    """Do all tasks, several at once, and return what they returned, in no particular order.

    Args:
        tasks: What to do; taken one by one, so that a generator keeps little in memory.
        threads: How many at once.
        stop: Is set when one fails, and when this thread is interrupted; tasks look at it where they wait.

    Raises:
        Exception: What the first task that failed raised; those under way then have ended.
        KeyboardInterrupt: Ctrl-C; tasks still under way after two seconds are left to themselves.
    """
    crew = _Crew(iter(tasks), stop)
    crew.start(threads)
    try:
        crew.wait()
    except BaseException:
        stop.set()
        crew.wait(_LEAVE_S)
        raise
    if crew.error is not None:
        raise crew.error
    return crew.results


class _Crew(Generic[_T]):
    def __init__(self, tasks: Iterator[Callable[[], _T]], stop: threading.Event) -> None:
        self.results: list[_T] = []
        self.error: BaseException | None = None
        self._tasks = tasks
        self._stop = stop
        self._lock = threading.Lock()
        self._at_work = 0
        self._all_done = threading.Event()

    def start(self, threads: int) -> None:
        """Start the threads, and none beyond the number of tasks where that is known."""
        self._at_work = threads
        for number in range(threads):
            threading.Thread(target=self._work, name=f"holdfast-s3-{number}", daemon=True).start()

    def wait(self, limit_s: float = math.inf) -> None:
        """Wait until all threads have ended, or the time is up."""
        until = time.monotonic() + limit_s
        while not self._all_done.wait(_LOOK_UP_S) and time.monotonic() < until:
            pass

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                self.results.append(task())
        except BaseException as error:  # the thread that waits raises it
            with self._lock:
                self.error = self.error or error
            self._stop.set()
        finally:
            with self._lock:
                self._at_work -= 1
                if not self._at_work:
                    self._all_done.set()

    def _next(self) -> Callable[[], _T] | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._tasks, None)


class Pace:
    """Holds back what is sent, so that no more than a number of bytes a second goes out.

    Args:
        rate: Bytes a second, or None for no bound.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int, stop: threading.Event) -> None:
        """Wait until so many bytes may be sent.

        Raises:
            ArtifactError: `stop` was set meanwhile.
        """
        if self._rate is None:
            return
        with self._lock:
            # Paid before it is sent: the bound holds from the first byte on.
            self._free_at = max(self._free_at, time.monotonic()) + size_bytes / self._rate
            until = self._free_at
        if stop.wait(max(0.0, until - time.monotonic())):
            raise_if(stop)


def raise_if(stop: threading.Event) -> None:
    """Raise `ArtifactError` where others have failed or Ctrl-C was pressed; nobody is shown it."""
    if stop.is_set():
        raise ArtifactError("The transfer was stopped.", retryable=True)
