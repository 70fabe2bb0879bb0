"""Trying a model in a fresh process: without this one's modules, working directory, keys or home."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.errors import ServerError

_SCRIPT = Path(__file__).with_name("trial.py")
_LOOK_S = 0.1
_KEPT_BYTES = 65536
# What it takes to find the interpreter's libraries and devices. PYTHONPATH is left out with all else: a model that
# needs what lies there does not load elsewhere. Whether MLflow may unpickle is for the user to forbid here too.
_PASSED_ON = (
    *("PATH", "LANG", "LANGUAGE", "TZ", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "JAVA_HOME", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"),
)
_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONDONTWRITEBYTECODE": "1",  # a model's own code would be compiled into its folder
    "PYTHONUNBUFFERED": "1",
    "PYTHONSAFEPATH": "1",
}


@dataclass(frozen=True)
class Trial:
    """How it went.

    Attributes:
        seconds: How long it took, where all went well; else None.
        step: Where it did not: `start`, `load`, `read` (the example), `predict` or `compare` (with the signature);
            `end` where the process ended without a word, `time` where the time was over.
        error: What was raised, or how the process ended; like `printed`, it may hold secrets.
        printed: The end of what the process printed.
    """

    seconds: float | None = None
    step: str = ""
    error: str = field(default="", repr=False)
    printed: str = field(default="", repr=False)


def try_model(folder: Path, timeout_s: float) -> Trial:
    """Load the model of a local folder, and have it predict its input example if it has one, in a process of its own.

    The process is no jail: what the model does, it does with this user's rights. But it gets no key and no password
    from here, and another home and working directory; it is ended, with all of its process group, when it is done, when
    the time is over, and when this process is gone.

    Args:
        folder: Where its MLmodel file lies.
        timeout_s: How long it may take, in seconds.

    Raises:
        ServerError: No process can be started.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-trial-", ignore_cleanup_errors=True) as scratch:
        child = _Child(folder.resolve(), Path(scratch))
        try:
            in_time = child.wait(time.monotonic() + timeout_s)
        finally:
            child.end()
        return _told(child, in_time, timeout_s)


def trial_environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the whole environment of the process."""
    found = {name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    own = {"HOME": str(scratch), "TMPDIR": str(scratch)}
    if site.ENABLE_USER_SITE:  # packages installed for this user only are found by way of the real home
        own["PYTHONUSERBASE"] = site.getuserbase()
    return found | _ALWAYS | own


@dataclass
class _Tail:
    """The end of what came through a pipe."""

    fd: int
    kept: bytes = field(default=b"", repr=False)

    def read(self) -> bool:
        """Read what is there; False at the end, or where nothing is there."""
        try:
            piece = os.read(self.fd, _KEPT_BYTES)
        except BlockingIOError:
            return False
        self.kept = (self.kept + piece)[-_KEPT_BYTES:]
        return bool(piece)


class _Child:
    """The process, in a session of its own, with the pipes it writes to."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        result, write_fd = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT), str(folder), str(write_fd)],
                env=trial_environment(os.environ, scratch),
                cwd=scratch,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(result)
            raise ServerError(f"No process can be started to try the model in: {error}") from error
        finally:
            os.close(write_fd)
        self._result = _Tail(result)
        self._printed = _Tail(self._process.stdout.fileno() if self._process.stdout else -1)
        for tail in self._tails:
            os.set_blocking(tail.fd, False)

    @property
    def _tails(self) -> tuple[_Tail, _Tail]:
        return self._result, self._printed

    def wait(self, deadline: float) -> bool:
        """Read what it writes until it has ended, or until the deadline; whether it has."""
        with selectors.DefaultSelector() as selector:
            for tail in self._tails:
                selector.register(tail.fd, selectors.EVENT_READ, tail)
            while self._process.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                for key, _ in selector.select(min(left, _LOOK_S)):
                    if not key.data.read():
                        selector.unregister(key.fd)
        return True

    def end(self) -> None:
        """Kill it and what it has started, read what is left in the pipes, and close them."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for tail in self._tails:
            tail.read()
        os.close(self._result.fd)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def code(self) -> int:
        """Its exit code; below 0 for a signal."""
        return self._process.returncode

    @property
    def printed(self) -> str:
        """The end of what it printed."""
        return self._printed.kept.decode(errors="replace")

    @property
    def result(self) -> dict[str, Any]:
        """What it said of the model; empty where it said nothing that can be read."""
        try:
            found = json.loads(self._result.kept)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _told(child: _Child, in_time: bool, timeout_s: float) -> Trial:
    result = child.result
    if not in_time:
        return Trial(step="time", error=f"not done after {timeout_s:g} s", printed=child.printed)
    if isinstance(result.get("seconds"), float):
        return Trial(seconds=result["seconds"])
    if "error" in result:
        return Trial(step=str(result.get("step")), error=str(result["error"]), printed=child.printed)
    ended = f"signal {-child.code}" if child.code < 0 else f"exit code {child.code}"
    return Trial(step="end", error=ended, printed=child.printed)
