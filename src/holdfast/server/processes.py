"""A command and all its descendants, started, watched and ended as one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from holdfast.errors import ServerError

_LIFELINE = Path(__file__).with_name("lifeline.py")
_PROC = Path("/proc")
_ORPHANS_S = 5.0


class ProcessGroup:
    """A command in a session and process group of its own, which ends when this process does.

    Ctrl-C at the terminal does not reach the group; `stop` does. A copy of this process made by
    `os.fork` (multiprocessing's `fork`) holds the group's lifeline as well: then the group ends
    with the last of them.

    Args:
        command: Program and arguments. Anyone on the machine can read them: no secrets here.
        env: The whole environment of the command; nothing is inherited.
        log_path: Where its output is appended, made with mode 0600; None keeps it in a file without a name.
        user: uid and gid to run the command as; needs root.
        stop_signal: What asks the command to end.
        grace_s: How long the command has for its end when this process disappears.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log_path: Path | None = None,
        *,
        user: tuple[int, int] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_s: float = 10.0,
    ) -> None:
        self._command = tuple(command)
        self._env = dict(env)
        self._log_path = log_path
        self._user = user
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline_fd = -1
        self._log: IO[bytes] | None = None
        self._log_start = 0

    def __repr__(self) -> str:
        return f"ProcessGroup({self._command[0]!r}, pid={self.pid}, exit_code={self.poll()})"

    @property
    def pid(self) -> int | None:
        """Process id of the group's leader and id of the group, or None before `start`."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the command; it runs, or has failed, when this returns: see `poll`.

        Raises:
            ServerError: It runs already, or no process can be started.
        """
        if self.poll() is None and self._process is not None:
            raise ServerError(f"{self._command[0]} is running already (pid {self.pid}).", "call stop() first")
        read_fd, write_fd = os.pipe()
        try:
            self._process = self._spawn(read_fd)
        except OSError as error:
            os.close(write_fd)
            raise ServerError(f"No process can be started: {error}") from error
        finally:
            os.close(read_fd)
        self._lifeline_fd = write_fd

    def _spawn(self, read_fd: int) -> subprocess.Popen[bytes]:
        uid, gid = self._user or (-1, -1)
        settings = [str(read_fd), str(int(self._stop_signal)), str(self._grace_s), str(uid), str(gid)]
        log = self._open_log()
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LIFELINE), *settings, "--", *self._command],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(read_fd,),
            start_new_session=True,
        )

    def _open_log(self) -> IO[bytes]:
        if self._log is None:
            self._log = _open_privately(self._log_path)
            weakref.finalize(self, self._log.close)
        self._log_start = os.fstat(self._log.fileno()).st_size
        return self._log

    def poll(self) -> int | None:
        """Return the command's exit code (128 + N for signal N), or None while it runs or before `start`."""
        return self._process.poll() if self._process else None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the command's end; return its exit code, or None when the time is over first."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 10.0) -> None:
        """End the group: the stop signal, `grace_s` seconds of patience, then SIGKILL.

        No process of the group is left when this returns. An interruption (a second Ctrl-C) kills
        at once and is passed on. A group that has ended, or never started, is left as it is.
        """
        try:
            if self._send(self._stop_signal):
                self.wait(grace_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the whole group, wait until it is gone, and let go of the lifeline."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._wait_for_orphans(self._process.pid)
        if self._lifeline_fd >= 0:
            os.close(self._lifeline_fd)
            self._lifeline_fd = -1

    def _wait_for_orphans(self, group_id: int) -> None:
        # They are killed, but give back their memory and ports a moment later.
        deadline = time.monotonic() + _ORPHANS_S
        while has_members(group_id) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _send(self, number: signal.Signals) -> bool:
        # Without a lifeline the group is known to be gone, and its number may be somebody else's.
        if self._process is None or self._lifeline_fd < 0:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
            os.killpg(self._process.pid, number)
            return True
        return False

    def output(self, limit_bytes: int = 65536) -> str:
        """Return the end of what this start of the command has written; it may hold secrets."""
        if self._log is None:
            return ""
        # Not through the file object: its position is the child's too.
        end = os.fstat(self._log.fileno()).st_size
        start = max(self._log_start, end - limit_bytes)
        return os.pread(self._log.fileno(), end - start, start).decode(errors="replace")


def _open_privately(path: Path | None) -> IO[bytes]:
    if path is None:  # a file without a name leaves nothing behind, however this process ends
        return tempfile.TemporaryFile()
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab+")


def has_members(group_id: int) -> bool:
    """Whether a living process belongs to the group. A zombie, which waits for a slow init, is none."""
    if not (_PROC / "self" / "stat").exists():  # macOS, where zombies answer with EPERM
        try:
            os.killpg(group_id, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
    return any(_is_living_member(path, group_id) for path in _PROC.glob("[0-9]*/stat"))


def _is_living_member(path: Path, group_id: int) -> bool:
    try:
        # pid (name) state ppid pgrp ...; the name may hold spaces and brackets.
        state, _, group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
        # A process whose other threads are still ending shows as a zombie already, but holds its ports.
        return int(group) == group_id and (state not in ("Z", "X") or len(os.listdir(path.parent / "task")) > 1)
    except (OSError, ValueError):
        return False
