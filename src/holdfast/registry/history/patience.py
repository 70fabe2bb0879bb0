"""Waiting for something no longer than was said, whatever it hangs on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class _Work(Generic[_T]):
    def __init__(self, call: Callable[[threading.Event], _T]) -> None:
        self.stop = threading.Event()
        self.done = threading.Event()
        self.results: list[_T] = []
        self.error: BaseException | None = None
        self._call = call

    def run(self) -> None:
        try:
            self.results.append(self._call(self.stop))
        except BaseException as error:  # whoever waits raises it
            self.error = error
        finally:
            self.done.set()


def within(limit_s: float, call: Callable[[threading.Event], _T]) -> _T:
    """Make a call on a thread of its own, and wait for it.

    Args:
        limit_s: How long, in seconds. After that the call is left to itself: it may still come to its end.
        call: Is given an event that is set when nobody waits any more.

    Raises:
        TimeoutError: It has not ended by then.
        Exception: What the call raises.
    """
    work = _Work(call)
    threading.Thread(target=work.run, name="holdfast-history", daemon=True).start()
    try:
        if not work.done.wait(limit_s):
            raise TimeoutError(f"no answer within {limit_s:g} s")
    finally:
        work.stop.set()
    if work.error is not None:
        raise work.error
    return work.results[0]
