"""Ctrl-C, SIGTERM and SIGUSR1 while a model is trained: the state is saved first, then the training ends.

A signal only leaves a note; the training looks at it after each batch, where a checkpoint is exact. The second signal
does not wait any more. SIGUSR1 is what SLURM is asked to send before it takes the machine away (`--signal=USR1@90`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from holdfast.lifecycle import Killed, Terminated
from holdfast.logs import get_logger

_log = get_logger(__name__)
_WATCHED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
_TRY_AGAIN_LATER = 3
_REQUEUE_LIMIT_S = 30


class Preempted(Terminated):
    """The machine is about to be taken away; the state is saved. The process exits with 3: try again later."""

    def __init__(self) -> None:
        super().__init__()
        self.code = _TRY_AGAIN_LATER


class Interrupted(Killed):
    """A signal ended the training; `as_exit` is what the process should end with.

    It is no `KeyboardInterrupt`, which Lightning turns into an exit of its own.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def as_exit(self) -> BaseException:
        """Return what Python raises for this signal, or would."""
        if self.number == signal.SIGINT:
            return KeyboardInterrupt()
        return Terminated() if self.number == signal.SIGTERM else Preempted()


class Signals:
    """Notes the signals that ask the training to end.

    Attributes:
        seen: The number of the first one; 0 as long as there is none.
        may_wait: Whether the training is where it looks at `seen` after each batch; a signal ends it at once elsewhere.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.may_wait = False
        self._process = os.getpid()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Note signals in this block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _WATCHED}
        self.watch()
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)

    def watch(self) -> None:
        """Set the handlers; again, where Lightning has set its own. One that is ignored stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _WATCHED:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A loader's worker that was forked. The training goes on to the end of its batch, and needs it.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        again, self.seen = self.seen, self.seen or number
        if again or not self.may_wait:
            raise Interrupted(self.seen)


def requeue(environment: Any = os.environ) -> bool:
    """Have SLURM start this job again; False where it is none, or was not to be.

    Args:
        environment: The process's.
    """
    job = environment.get("SLURM_JOB_ID", "")
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else job
    program = shutil.which("scontrol")
    if not re.fullmatch(r"\d+(_\d+)?", name) or program is None:
        return False
    try:
        done = subprocess.run(  # noqa: PLW1510 - the code is looked at
            [program, "requeue", name], capture_output=True, text=True, timeout=_REQUEUE_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.error("SLURM was not told to start the job again", job=name, reason=type(error).__name__)
        return False
    if done.returncode:
        _log.error("SLURM did not take the job back", job=name, reason=done.stderr.strip()[:200])
        return False
    _log.info("SLURM starts the job again", job=name)
    return True
