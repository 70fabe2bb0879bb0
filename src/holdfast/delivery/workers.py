"""A few threads for the shipper that no process waits for at its end, as those of `concurrent.futures` would be."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Workers(Generic[_T]):
    """Daemon threads, each with what it keeps in thread-local variables; started as they are needed.

    Args:
        count: How many at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._tasks: queue.SimpleQueue[tuple[Future[_T], Callable[[], _T]] | None] = queue.SimpleQueue()

    def submit(self, task: Callable[[], _T]) -> Future[_T]:
        """Have something done; raises `RuntimeError` where the interpreter is ending."""
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name="holdfast-ship", daemon=True)
            thread.start()
            self._threads.append(thread)
        future: Future[_T] = Future()
        self._tasks.put((future, task))
        return future

    def _work(self) -> None:
        while (found := self._tasks.get()) is not None:
            future, task = found
            try:
                future.set_result(task())
            except BaseException as error:  # the shipper's own loop sees it
                future.set_exception(error)

    def close(self, timeout_s: float) -> None:
        """Let the threads end after what they are doing; wait for them up to a limit each."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
