"""System metrics while a training runs: processor, memory, disk, network and GPUs, under MLflow's own names."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Any

from holdfast.backend.system_metrics import SystemMonitors
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.logs import get_logger

_log = get_logger(__name__)
# What the end of a training waits for a value that is being logged.
_END_S = 10.0


class SystemMetrics:
    """Measures every few seconds in a daemon thread and hands the values on; once more when it is stopped.

    Nothing is raised into the training: what cannot be measured or logged is said once, and tried again the next time.
    A forked child measures nothing until it calls `start` itself.

    Args:
        put: Takes the metrics, `system/cpu_utilization_percentage` and so on, and the step; called in the thread. A
            tracker's `log_metrics` is one where no other thread has a run of that tracker open.
        every_s: Seconds between two measurements.
        step: Says where the training is.
        node: The machine's number in a distributed run; others than 0 log under `system/node1/` and so on.

    Raises:
        InvalidInputError: `every_s` is not above 0.
    """

    def __init__(
        self,
        put: Callable[[dict[str, Any], int], None],
        every_s: float = 10.0,
        *,
        step: Callable[[], int] = lambda: 0,
        node: int = 0,
    ) -> None:
        self._put, self._every_s, self._step = put, check_interval(every_s), step
        self._prefix = f"system/node{node}/" if node else "system/"
        self._said: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._process = 0

    def __enter__(self) -> SystemMetrics:
        self.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("SystemMetrics cannot be pickled: it has a thread. Make one in each process.")

    @property
    def is_running(self) -> bool:
        """Whether this process measures."""
        return self._thread is not None and self._process == os.getpid() and self._thread.is_alive()

    def start(self) -> None:
        """Begin to measure; nothing happens where it has begun, or where the machine cannot be measured."""
        if self.is_running:
            return
        try:
            monitors = SystemMonitors()
        except Exception as error:
            say_unmeasured(_reason(error))
            return
        if monitors.without_gpu:
            say_no_gpu(monitors.without_gpu)
        # Those of before may be a parent's, in whatever state the fork has found them.
        self._stopped, self._process = threading.Event(), os.getpid()
        self._thread = threading.Thread(
            target=self._measure, args=(monitors, self._stopped), name="holdfast-system-metrics", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Measure a last time and end the thread; what it has logged is logged when this returns."""
        thread, self._thread = self._thread, None
        if thread is None or self._process != os.getpid():
            return
        self._stopped.set()
        thread.join(_END_S)
        if thread.is_alive():
            _log.warning("system metrics are still being logged at the end of the training", waited_s=_END_S)

    def _measure(self, monitors: SystemMonitors, stopped: threading.Event) -> None:
        with contextlib.suppress(Exception):
            monitors.read()  # the load is that since this thread's measurement before; the first one says 0
        while not stopped.wait(self._every_s):
            self._measure_once(monitors)
        self._measure_once(monitors)

    def _measure_once(self, monitors: SystemMonitors) -> None:
        try:
            self._put({self._prefix + name: value for name, value in monitors.read().items()}, self._step())
        except Exception as error:  # the training goes on, whatever it is
            reason = _reason(error)
            if reason not in self._said:
                self._said.add(reason)
                _log.warning("system metrics could not be logged", reason=reason)


def check_interval(every_s: float) -> float:
    """Return the seconds between two measurements.

    Raises:
        InvalidInputError: They are not above 0.
    """
    if not every_s > 0:
        raise InvalidInputError(f"Every {every_s} s is no interval.", "give seconds above 0, such as every_s=10")
    return every_s


@cache
def say_no_gpu(reason: str) -> None:
    """Say once a process why no GPU is measured."""
    _log.info("no GPU is measured", reason=reason)


@cache
def say_unmeasured(reason: str) -> None:
    """Say once a process why there are no system metrics."""
    _log.warning("there are no system metrics", reason=reason)


def _reason(error: Exception) -> str:
    if isinstance(error, HoldfastError):
        return f"{error.message} {error.hint}".strip()
    return f"{type(error).__name__}: {error}"
