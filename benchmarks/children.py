"""The peers' processes, and whatever those start: begun, asked, killed, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import get_peer

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
# Every process below a child inherits this, and is found by it.
_MARK = "BENCH_PEER"
_OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GIT_PYTHON_REFRESH": "quiet",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_KEPT_OUT = ("MLFLOW_", "HOLDFAST_", "AWS_", "WANDB_", "TRACKIO_", "SWANLAB_", "AIM_", "PYTHON")


class PeerError(Exception):
    """A peer could not be measured; the text says why, in one line."""


class Child:
    """One peer at one task, in a project folder of its own.

    Args:
        peer: Its name.
        uri: The MLflow server.
        folder: The project's folder, where it exists already (to read back).
    """

    def __init__(self, peer: str, uri: str, folder: Path | None = None) -> None:
        self.peer = peer
        self.uri = uri
        self._base = Path(tempfile.mkdtemp(prefix="hf-bench-"))
        self.folder = folder or self._base / "project"
        self.experiment = f"bench-{self._base.name}"
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = secrets.token_hex(8)
        if folder is None:
            self.folder.mkdir()
            (self.folder / "pyproject.toml").touch()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_tree()
        shutil.rmtree(self._base, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes: nothing of this user's accounts, and no reports to anybody."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_OUT)}
        own = {"HOME": str(self._base), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", _MARK: self._mark}
        return inherited | _OFF | own | self._own_environment()

    def _own_environment(self) -> dict[str, str]:
        return dict(get_peer(self.peer).environment)

    def start(self, task: str, **arguments: Any) -> None:
        """Begin a task.

        Raises:
            PeerError: The peers' interpreter is missing.
        """
        python = PEERS_PYTHON if get_peer(self.peer).own_venv else Path(sys.executable)
        if not python.exists():
            raise PeerError("not installed: run benchmarks/install_peers.sh")
        job = {"folder": str(self.folder), "uri": self.uri, "experiment": self.experiment}
        with (self._base / "log").open("ab") as log, (self._base / "answer").open("wb") as answer:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peers", self.peer, task, json.dumps(job | arguments)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=log,
                start_new_session=True,
            )

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the task's result.

        Raises:
            PeerError: It failed, died or took too long; it is killed then.
        """
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_tree()
            raise PeerError(f"not done within {timeout_s:.0f} s") from None
        lines = (self._base / "answer").read_text().splitlines()
        if not lines:
            raise PeerError(f"ended with {self._process.returncode}: {self._last_line()}")
        result: dict[str, Any] = json.loads(lines[-1])
        if "error" in result:
            raise PeerError(result["error"])
        return result

    def run(self, task: str, timeout_s: float = 120.0, **arguments: Any) -> dict[str, Any]:
        """Do a task and return its result; raises as `start` and `answer` do."""
        self.start(task, **arguments)
        return self.answer(timeout_s)

    def has_ended(self) -> bool:
        """Return whether the process, not those it started, is gone."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL the process alone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_tree(self) -> None:
        """SIGKILL the process and everything it started, whoever adopted it since."""
        pids = self.helpers()  # looked for first, or they had time to save what they have
        if self._process is not None:
            self._process.kill()
        deadline = time.monotonic() + 5
        while pids and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
            pids = self.helpers()
        self.kill()

    def helpers(self) -> list[int]:
        """Return the processes that live and come from this child, other than itself."""
        own = self._process.pid if self._process is not None else None
        return [pid for pid in _pids() if pid != own and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        # Holdfast's shipper gets a new environment, but works in the journal's folder.
        mark = f"{_MARK}={self._mark}".encode()
        return mark in read_proc(pid, "environ").split(b"\0") or _works_below(pid, self._base)

    def _last_line(self) -> str:
        lines = (self._base / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def read_proc(pid: int, name: str) -> bytes:
    """Return a file of /proc/PID, or nothing where the process is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _works_below(pid: int, folder: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
    except OSError:
        return False


def rss_mb(pid: int) -> float:
    """Return the most memory the process has held, in MB; 0 where it is gone."""
    for line in read_proc(pid, "status").decode().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
