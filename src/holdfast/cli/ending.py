"""An orderly end of what a command does elsewhere: it may clean up, and says what it could not take away."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Of a service manager or a container, and of a terminal that was closed; Windows lacks the second.
_NAMES = ("SIGTERM", "SIGHUP")


@contextmanager
def orderly_end() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit` with 128 and their number, as Python does with Ctrl-C in its own way.

    Signals that are ignored (`nohup`), or that somebody else waits for, stay as they are. The notes of what ends the
    block are said on standard error.
    """
    before = _listen() if threading.current_thread() is threading.main_thread() else []
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        _say_notes(end)
        raise
    finally:
        for number in before:
            signal.signal(number, signal.SIG_DFL)


def _listen() -> list[int]:
    there = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
    ours = [number for number in there if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _exit)
    return ours


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _say_notes(end: BaseException) -> None:
    from holdfast.cli.output import get_output

    for note in getattr(end, "__notes__", ()):
        get_output().warn(note)
