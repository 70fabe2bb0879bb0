"""A bounded pool of threads that keeps heavy work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from holdfast.errors import HoldfastError

T = TypeVar("T")


class BusyError(HoldfastError):
    """More work is waiting than the server takes."""


class Workers:
    """Runs functions in `threads` threads; beyond `waiting` more in the queue, callers are turned away at once."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._under_way = 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what the function returns, run in one of the threads.

        Raises:
            BusyError: The queue is full.
        """
        if self._under_way >= self._most:
            raise BusyError("The server has too much to do.", "try again in a moment", retryable=True)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *arguments))
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Take nothing more, and forget what waits; what runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
