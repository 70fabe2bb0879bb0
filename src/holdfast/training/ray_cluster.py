"""The cluster of Ray that work goes to: the one that this process uses already, one that runs, or one of its own."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextlib.contextmanager
def ray_cluster(**arguments: Any) -> Iterator[None]:
    """Use the cluster that this process is connected to, else what `ray.init` finds or starts, and leave that again.

    Signals are handled as if Ray were not there: SIGTERM raises what it would without it.

    Args:
        arguments: Of `ray.init`: `address`, `num_cpus`, ….

    Raises:
        SystemExit: SIGTERM came; the same one that its handler raised, such as `Terminated` where a run was open.
    """
    import ray

    with signals_kept():  # Ray Train sets a handler for SIGINT, and leaves it there
        if ray.is_initialized():
            yield
            return
        with signals_kept():
            ray.init(include_dashboard=False, **arguments)  # sets one for SIGTERM
        try:
            with _termination_kept():
                yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Have signals handled as before once this is left, whatever handlers were set in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _termination_kept() -> Iterator[None]:
    """Raise the exit that SIGTERM's handler raised: what comes out of Ray's waiting is another one, with code 1."""
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    raised: list[SystemExit] = []

    def remember(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except SystemExit as error:
            raised.append(error)
            raise

    with signals_kept():
        signal.signal(signal.SIGTERM, remember)
        try:
            yield
        except SystemExit:
            if raised:
                raise raised[0] from None
            raise
