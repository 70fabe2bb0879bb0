"""Several processes that play: each is given a unit of work at a time, and remembers the policies it has loaded.

The processes are started before there is work, so that their imports fall into the time in which checkpoints are
downloaded. What a unit gives depends on the unit alone, never on who does it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol

from holdfast.errors import HoldfastError

Done = Callable[[int], None]
_LEAVE_S = 2.0


class WorkerError(HoldfastError):
    """A process that plays ended, or failed in a way that nobody foresaw."""


class Unit(Protocol):
    """A piece of work; picklable."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of policies that it reads."""

    @property
    def cost(self) -> float:
        """How long it takes, beside the others."""

    def work(self) -> Any:
        """Do it; the result is picklable and depends on the unit alone."""


class Crew(Protocol):
    """Who does units of work."""

    def work(self, units: Sequence[Any], tell: Done) -> list[Any]:
        """Do all units; return their results in the order of the units.

        Args:
            units: What is to be done.
            tell: Called with a unit's number when it is done.

        Raises:
            HoldfastError: A unit failed, or a process that does them ended.
        """


def by_length(units: Sequence[Unit]) -> list[int]:
    """Return the units' numbers, the longest first, so that no long one is begun when the others are done."""
    return sorted(range(len(units)), key=lambda number: -units[number].cost)


def available_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Alone:
    """This process itself, for little work."""

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be ended."""

    def work(self, units: Sequence[Unit], tell: Done) -> list[Any]:
        """Do all units, one after the other."""
        results = []
        with one_thread():
            for number, unit in enumerate(units):
                results.append(unit.work())
                tell(number)
        return results


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have NumPy compute with one thread: processes do not crowd each other, and sums are the same on every machine."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    busy_with: int | None = None


class Processes:
    """Worker processes of this machine; a context manager, which ends them at once when it is left.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Processes:
        try:
            with _interrupts_held():
                self._workers = [_start(number) for number in range(self._count)]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def work(self, units: Sequence[Unit], tell: Done) -> list[Any]:
        """Do all units, the longest first.

        Raises:
            WorkerError: A process ended by itself, or was killed; says with which exit code.
            HoldfastError: What a unit raised.
        """
        results: list[Any] = [None] * len(units)
        waiting = by_length(units)[::-1]
        for worker in self._workers:
            _hand_next(worker, units, waiting)
        while busy := [worker for worker in self._workers if worker.busy_with is not None]:
            ready = wait([worker.pipe for worker in busy])
            for worker in (one for one in busy if one.pipe in ready):
                number, result = _take(worker)
                results[number] = result
                # It goes on before anybody is told.
                _hand_next(worker, units, waiting)
                tell(number)
        return results

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_LEAVE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let processes that are started in the block never hear a terminal's Ctrl-C; this one hears it after the block."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Its tracker of resources would be started with the first process, and let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), name=f"basketworld-worker-{number}", daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return _Worker(process, ours)


def _hand_next(worker: _Worker, units: Sequence[Unit], waiting: list[int]) -> None:
    worker.busy_with = waiting.pop() if waiting else None
    if worker.busy_with is not None:
        try:
            worker.pipe.send(units[worker.busy_with])
        except OSError:
            raise _ended(worker) from None


def _take(worker: _Worker) -> tuple[int, Any]:
    """Return the number and the result of what a worker has done.

    Raises:
        WorkerError: It ended.
        HoldfastError: The unit's own error.
    """
    try:
        result, error = worker.pipe.recv()
    except (EOFError, OSError):
        raise _ended(worker) from None
    if error is not None:
        raise error
    return worker.busy_with or 0, result


def _ended(worker: _Worker) -> WorkerError:
    worker.process.join(_LEAVE_S)
    code = worker.process.exitcode
    killed = code is not None and code < 0
    how = f"was killed by {signal.Signals(-code).name}" if killed and code else f"ended with exit code {code}"
    return WorkerError(
        f"The worker process {worker.process.name} {how} in the middle of its work.",
        "was there too little memory? try again with fewer of them: --workers 1",
        retryable=True,
    )


# -- in a worker ----------------------------------------------------------------------


def _serve(pipe: Connection) -> None:
    """Do what comes through the pipe until the parent closes it, in whatever way it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    with one_thread(), contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_done(pipe.recv()))


def prepare() -> None:
    """Load what play takes, while the parent still downloads."""
    import_module(f"{__package__}.units")


def _done(unit: Unit) -> tuple[Any, HoldfastError | None]:
    try:
        return unit.work(), None
    except HoldfastError as error:
        return None, error
    except Exception as error:
        return None, WorkerError(f"A worker process failed: {type(error).__name__}: {error}.")
