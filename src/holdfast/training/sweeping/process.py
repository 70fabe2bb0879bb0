"""A trial's process: begun with its parameters, watched, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast.training.sweeping import bound
from holdfast.training.sweeping.space import Value

_POLL_S = 0.05


def run_process(
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    output: Path,
    is_over: Callable[[], bool],
    grace_s: float,
) -> int:
    """Run a command to its end, or until it is to be ended; the process is gone when this returns or raises.

    It is a session of its own, so that Ctrl-C in a terminal reaches it through the sweep alone. On Linux it also gets
    SIGTERM when this thread or process is gone.

    Args:
        command: The program and its arguments.
        environ: Its environment.
        folder: Its working directory.
        output: The file for what it writes.
        is_over: Asked again and again; true ends it, and the processes of its group, with SIGTERM.
        grace_s: How long it may take then, before it is killed.

    Returns:
        Its exit code; negative for a signal.
    """
    starter = [sys.executable, "-I", "-S", bound.__file__, str(os.getpid())]
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [*starter, *command],
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None and not is_over():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
    finally:
        _end(process, grace_s)
    return process.returncode


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    deadline_s = time.monotonic() + grace_s
    _signal(process, signal.SIGTERM)
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the process while it lives."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def arguments_of(params: Mapping[str, Value]) -> list[str]:
    """Return parameters as a command line: `learning_rate` as `--learning-rate 0.01`, yes and no as `true`, `false`."""
    found: list[str] = []
    for name, value in params.items():
        option, text = f"--{name.replace('_', '-')}", text_of(value)
        # A value that begins like an option, such as -1e-05, is taken for one by argparse when it stands alone.
        found += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return found


def variables_of(params: Mapping[str, Value]) -> dict[str, str]:
    """Return parameters as environment variables: `learning_rate` as `PARAM_LEARNING_RATE`."""
    return {
        "PARAM_" + "".join(letter if letter.isalnum() else "_" for letter in name).upper(): text_of(value)
        for name, value in params.items()
    }


def text_of(value: Value) -> str:
    """Return a value as a command line has it; a float so that it reads back as the same."""
    return str(value).lower() if isinstance(value, bool) else str(value)
