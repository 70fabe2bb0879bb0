"""How a run ends when nobody ends it: by an exception, Ctrl-C, SIGTERM, or the end of the process.

MLflow ends such runs as FINISHED. Here an uncaught exception makes them FAILED, and Ctrl-C
and SIGTERM make them KILLED. The hooks are in place only while a run is open, and call
whatever was there before them.

SIGTERM is turned into an exception in the main thread, as Python does with Ctrl-C: the
stack unwinds, so that `finally` blocks run and no half-done request is interrupted by
another one from inside a signal handler.

Processes of `multiprocessing` leave without Python's exit handlers and hooks; there its own
finalizers end the runs, and what is being raised as they run tells the status.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.util import Finalize
from types import FrameType, TracebackType
from typing import Any, Protocol

from holdfast.errors import HoldfastError
from holdfast.logs import get_logger

_log = get_logger(__name__)
_SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
# Among multiprocessing's finalizers: before its queues, pools and managers go, and before it waits for children.
_BEFORE_OTHERS = 100


class Terminated(SystemExit):
    """The process got SIGTERM; it exits with 143 unless someone catches this."""

    def __init__(self) -> None:
        super().__init__(_SIGTERM_EXIT_CODE)


class Killed(BaseException):
    """A signal ended what was going on; it is not passed on as what Python makes of that signal yet."""


def status_for(error: type[BaseException] | None, value: BaseException | None = None) -> str:
    """Return the status of a run that ends with this exception, or with none.

    FINISHED for none and for `sys.exit()` without an error code, KILLED for Ctrl-C and SIGTERM,
    FAILED for the rest.
    """
    if error is None:
        return "FINISHED"
    if issubclass(error, KeyboardInterrupt | Terminated | Killed):
        return "KILLED"
    if issubclass(error, SystemExit) and getattr(value, "code", None) in (None, 0):
        return "FINISHED"
    return "FAILED"


class OpenedRun(Protocol):
    """Something hashable that stands for an open run."""

    @property
    def run_id(self) -> str:
        """The run's id."""


class RunGuard:
    """Ends the open runs of this process, whatever way it ends.

    One is shared by all who open runs, each under a key of their own. `add` and `remove` may be called from any
    thread; the handler for SIGTERM can be set from the main thread only, and is left out elsewhere.
    """

    def __init__(self) -> None:
        self._open: dict[OpenedRun, Callable[[str], None]] = {}
        self._afterwards: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._status = "FINISHED"
        self._previous_excepthook: Callable[..., Any] | None = None
        self._previous_sigterm: Any = None
        atexit.register(self.end_all)
        Finalize(None, self._end_with_child, exitpriority=_BEFORE_OTHERS)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_signal)

    def add(self, run: OpenedRun, end: Callable[[str], None]) -> None:
        """Watch over a run: `end(status)` is called at the end of the process unless it is removed before."""
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            self._status = "FINISHED"
            self._open[run] = end
            self._install()

    def finally_do(self, task: Callable[[], None]) -> None:
        """Have something done at the end of the process, after its runs are ended; it must not raise."""
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            self._afterwards.append(task)

    @property
    def status(self) -> str:
        """What a run that ends now ends as, by what has been seen: FINISHED, FAILED or KILLED."""
        return self._status

    def _start_over(self) -> None:
        """Begin anew in a forked child: its parent's runs are not its own."""
        self._process = os.getpid()
        self._lock = threading.RLock()  # the parent's may be held by a thread that was not forked
        self._open = {}
        self._afterwards = []
        Finalize(None, self._end_with_child, exitpriority=_BEFORE_OTHERS)  # a child begins without its parent's

    def _leave_signal(self) -> None:
        """Give SIGTERM back in a forked child, until it begins a run of its own.

        A pool ends its workers with it while they wait for a semaphore, which a handler of Python's may come too late
        to interrupt.
        """
        if self._previous_sigterm is not None and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            with contextlib.suppress(ValueError):  # not forked by the main thread
                signal.signal(signal.SIGTERM, self._previous_sigterm)
        self._previous_sigterm = None

    def remove(self, run: OpenedRun) -> None:
        """Stop watching over a run that was ended."""
        with self._lock:
            self._open.pop(run, None)
            if not self._open:
                self._uninstall()

    def watched(self) -> list[OpenedRun]:
        """Return the open runs of this process, the latest last."""
        return list(self._open) if self._process == os.getpid() else []

    def end_all(self) -> None:
        """End every open run with the status that fits what was seen; called at the end of the process.

        Nothing can be raised at this point: those that could not be ended are named in the log.
        """
        if self._process != os.getpid():
            return
        failed: list[str] = []
        for run, end in reversed(list(self._open.items())):
            try:
                end(self._status)
            except Exception as error:  # one run must not keep the next from ending
                failed.append(
                    f"{run.run_id} ({error.message if isinstance(error, HoldfastError) else type(error).__name__})"
                )
        self._open.clear()
        if failed:
            _log.error("these runs could not be ended and stay RUNNING", runs="; ".join(failed))
        while self._afterwards:
            self._afterwards.pop()()

    def _end_with_child(self) -> None:
        error, value, _ = sys.exc_info()
        if error is not None and self._status == "FINISHED":
            self._status = status_for(error, value)
        self.end_all()

    # -- hooks ------------------------------------------------------------------------

    def _install(self) -> None:
        if self._previous_excepthook is None:
            self._previous_excepthook, sys.excepthook = sys.excepthook, self._on_exception
        if self._previous_sigterm is None and threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGTERM)
            if before is not None and before is not signal.SIG_IGN:
                self._previous_sigterm = before
                signal.signal(signal.SIGTERM, self._on_sigterm)

    def _uninstall(self) -> None:
        if sys.excepthook == self._on_exception and self._previous_excepthook is not None:
            sys.excepthook, self._previous_excepthook = self._previous_excepthook, None
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and self._previous_sigterm is not None and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, self._previous_sigterm)
            self._previous_sigterm = None

    def _on_exception(self, error: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        self._status = status_for(error, value)
        (self._previous_excepthook or sys.__excepthook__)(error, value, trace)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._process != os.getpid() or self._previous_sigterm is None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._status = "KILLED"
        if callable(self._previous_sigterm):
            self._previous_sigterm(number, frame)
            return
        raise Terminated


_guard: RunGuard | None = None


def run_guard() -> RunGuard:
    """Return the guard of this process, made at the first call."""
    global _guard  # noqa: PLW0603 - one a process, like the hooks it sets
    if _guard is None:
        _guard = RunGuard()
    return _guard
