"""Not letting a function of the user's own end this process, with whatever exit code, before it was answered."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_exit = os._exit
_lock = threading.Lock()
# How many calls are under way, by process: a forked child ends as it likes, and multiprocessing's do end so.
_calls: dict[int, int] = {}


@contextmanager
def no_sudden_end() -> Iterator[None]:
    """Have `os._exit` raise SystemExit in this process until the block ends.

    Else whoever runs `holdfast models check` and looks at its exit code would take the function's own for the answer.
    What kills this process by a signal leaves no exit code 0; native code, and who took `os._exit` before it was asked
    (`from os import _exit` in a module imported earlier), are not stopped.
    """
    _count(+1)
    try:
        yield
    finally:
        _count(-1)


def _count(step: int) -> None:
    with _lock:
        _calls[os.getpid()] = calls = _calls.get(os.getpid(), 0) + step
        if calls:
            os._exit = _exit_unless_asked
        else:
            os._exit = _exit


def _exit_unless_asked(status: int) -> NoReturn:
    if _calls.get(os.getpid()):
        raise SystemExit(f"os._exit({status}), which is not an answer")
    _exit(status)
