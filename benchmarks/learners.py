"""The processes that train: begun, given their turns, stopped in between, killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.children import PEERS_PYTHON, Child, PeerError, read_proc

_TICKS = os.sysconf("SC_CLK_TCK")


class Learner(Child):
    """One process of `benchmarks.loops`, which says what it does in lines of JSON.

    Args:
        name: What it is, in its errors.
        uri: Where it logs.
        folder: Its project's folder, where that exists already.
        own_venv: Whether it runs in `.venv-bench`.
    """

    def __init__(self, name: str, uri: str, folder: Path | None = None, own_venv: bool = False) -> None:
        super().__init__(name, uri, folder)
        self._own_venv = own_venv
        self._others: list[int] = []
        self.begun = 0.0

    def _own_environment(self) -> dict[str, str]:
        return {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}

    def start(self, task: str, **arguments: Any) -> None:
        """Begin a task of `benchmarks.loops`.

        Raises:
            PeerError: The trackers' interpreter is missing.
        """
        python = PEERS_PYTHON if self._own_venv else Path(sys.executable)
        if not python.exists():
            raise PeerError("not installed: run benchmarks/install_peers.sh")
        self.begun = time.monotonic()
        with (self._base / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.loops", task, json.dumps(arguments)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def say(self, word: str) -> None:
        """Give it a line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def hear(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Return the next thing that it says.

        Raises:
            PeerError: It died or said nothing for so long; it is killed then.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            reason = self._last_line() if ready else f"it said nothing for {timeout_s:.0f} s"
            self.kill_tree()
            raise PeerError(reason)
        said: dict[str, Any] = json.loads(line)
        return said

    def wait_for_exit(self, timeout_s: float = 120.0) -> None:
        """Wait until its process, not those it started, is gone.

        Raises:
            PeerError: It takes too long; it is killed then.
        """
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_tree()
            raise PeerError(f"not ended within {timeout_s:.0f} s") from None

    # -- standing still -----------------------------------------------------------------

    def halt(self) -> None:
        """Stop it and whatever it started, in the middle of what they do."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._others = self.helpers()
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it and whatever it started go on."""
        assert self._process is not None
        self._signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    def helpers_cpu_s(self) -> float:
        """Return the CPU time that the processes it started have had, those that live, in seconds."""
        return sum(_cpu_s(pid) for pid in self._others)

    def _signal(self, number: int) -> None:
        for pid in self._others:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _cpu_s(pid: int) -> float:
    fields = read_proc(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0
