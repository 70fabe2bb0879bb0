"""Files to and from S3: Holdfast beside MLflow's repository and other clients, in turn, against the same server."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.children import PEERS_PYTHON
from benchmarks.movers import CLIENTS
from benchmarks.session import Session, say
from benchmarks.table import Table, ratio

_HERE = ("holdfast", "mlflow")
_LARGE_BYTES = 1 << 30
_SMALL_FILES, _SMALL_BYTES = 2000, 20 << 10
_HAND_OVERS = 5


@dataclass
class _Figures:
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak_mb: float = 0.0

    def median(self, direction: str) -> float | None:
        taken = self.seconds.get(direction)
        return statistics.median(taken) if taken else None


def measure(session: Session) -> list[Table]:
    """Return a table a workload, and one for handing over and logging again."""
    in_memory = Path("/dev/shm")  # noqa: S108 - a disk that is busy with writing back would be measured instead
    base = in_memory if in_memory.is_dir() and shutil.disk_usage(in_memory).free > 4 * _LARGE_BYTES else None
    with (
        tempfile.TemporaryDirectory(prefix="hf-bench-", dir=base) as name,
        tempfile.TemporaryDirectory(prefix="hf-bench-") as on_disk,
        _server() as endpoint,
    ):
        folder = Path(name)
        (folder / "pyproject.toml").touch()
        (Path(on_disk) / "pyproject.toml").touch()
        large, small = _large(folder), _small(folder)
        return [
            _workload("One file of 1 GiB, seconds", large, endpoint, session.rounds),
            _workload("2,000 files of 20 KiB, seconds", small, endpoint, session.rounds),
            _again(small, endpoint),
            _hand_over(_large(Path(on_disk)), endpoint, Path(on_disk)),
        ]


@contextmanager
def _server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.memory_s3"], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _large(folder: Path) -> Path:
    path = folder / "large" / "model.bin"
    path.parent.mkdir()
    block = os.urandom(64 << 20)
    with path.open("wb") as file:
        for _ in range(_LARGE_BYTES // len(block)):
            file.write(block)
    return path


def _small(folder: Path) -> Path:
    root = folder / "small"
    for i in range(_SMALL_FILES):
        path = root / f"part{i % 20:02d}" / f"file{i:04d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(_SMALL_BYTES))
    return root


def _environment(endpoint: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return kept | {
        "AWS_ACCESS_KEY_ID": "AKIABENCHMARK0000001",
        "AWS_SECRET_ACCESS_KEY": "benchmark-benchmark-benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": endpoint,
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }


def _move(client: str, direction: str, local: Path, prefix: str, endpoint: str) -> dict[str, float]:
    python = sys.executable if client in _HERE else str(PEERS_PYTHON)
    script = Path(__file__).with_name("movers.py")
    done = subprocess.run(
        [python, str(script), client, direction, str(local), prefix],
        env=_environment(endpoint), capture_output=True, text=True, timeout=300, cwd=local.parent, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _workload(title: str, local: Path, endpoint: str, rounds: int) -> Table:
    table = Table(title, ["", "up", "down", "× up", "× down", "peak MB"])
    figures = {client: _Figures() for client in CLIENTS}
    for turn in range(rounds + 1):  # the first warms up
        for client in CLIENTS:
            say(f"{title}: {client}")
            try:
                _both_ways(client, local, endpoint, figures[client], counts=turn > 0)
            except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
                table.note(client, str(error))
    ours = figures["holdfast"]
    for client, found in figures.items():
        up, down = found.median("up"), found.median("down")
        table.add(
            client, up, down, ratio(up, ours.median("up")), ratio(down, ours.median("down")), found.peak_mb or None
        )
    table.note(
        "", "×: how many times as long as Holdfast, which hashes and verifies; the others do not verify downloads."
    )
    table.note("", "Median of the rounds, the clients in turn, against a server in memory (benchmarks/memory_s3.py).")
    return table


def _both_ways(client: str, local: Path, endpoint: str, figures: _Figures, counts: bool) -> None:
    prefix = f"{client}/{time.time_ns()}"
    target = local.parent / "fetched"
    try:
        for direction, where in (("up", local), ("down", target)):
            found = _move(client, direction, where, prefix, endpoint)
            if counts:
                figures.seconds.setdefault(direction, []).append(found["seconds"])
                figures.peak_mb = max(figures.peak_mb, found["peak_mb"])
        _check(local, target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
        # Memory that a machine touches for the first time is slow: the next client gets this one's.
        _ask(endpoint, "/-/objects", "DELETE")


def _check(local: Path, target: Path) -> None:
    """A client that fetched less than there is has no time to show."""
    wanted = [local] if local.is_file() else [path for path in local.rglob("*") if path.is_file()]
    found = [path for path in target.rglob("*") if path.is_file()]
    if sum(p.stat().st_size for p in wanted) != sum(p.stat().st_size for p in found):
        raise RuntimeError(f"{len(found)} of {len(wanted)} files came back whole")


def _counts(endpoint: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(_ask(endpoint, "/-/counts"))
    return found


def _ask(endpoint: str, path: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(f"{endpoint}{path}", method=method)  # noqa: S310 - the server made above
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


def _again(local: Path, endpoint: str) -> Table:
    table = Table("The same 2,000 files uploaded again, unchanged", ["", "bodies", "MB", "seconds"])
    for client in CLIENTS:
        say(f"again: {client}")
        try:
            _move(client, "up", local, f"again/{client}", endpoint)
            before = _counts(endpoint)
            found = _move(client, "up", local, f"again/{client}", endpoint)
            after = _counts(endpoint)
        except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
            table.add(client)
            table.note(client, str(error))
            continue
        sent = (after["bytes"] - before["bytes"]) / 1e6
        table.add(client, after["bodies"] - before["bodies"], sent, found["seconds"])
    return table


_HAND_OVER = """
import json, os, sys, time
from pathlib import Path
from holdfast import MLflowTracker
from holdfast.settings import load_settings

path, wait = Path(sys.argv[1]), sys.argv[2] == "wait"
tracker = MLflowTracker(settings=load_settings(artifact_uri="s3://bench/handed", experiment_name="hand-over"))
with tracker.run():
    started = time.perf_counter()
    tracker.log_artifact(path, wait=wait)
    taken = time.perf_counter() - started
    began = time.perf_counter()
    with path.open("r+b") as file:  # as a trainer that writes its next checkpoint over the last one
        file.write(os.urandom(16))
    overwritten = time.perf_counter() - began
    tracker.flush(timeout_s=120)
print(json.dumps({"taken": taken, "overwritten": overwritten}))
"""


def _hand_over(large: Path, endpoint: str, folder: Path) -> Table:
    table = Table(
        "A checkpoint of 1 GiB and the training loop, ms", ["", "log_artifact", "worst", "opened again at once"]
    )
    environment = _environment(endpoint) | {"HOLDFAST_DELIVERY": "journal", "HOLDFAST_EXIT_WAIT": "60"}
    for label, how in (("handed over (the default)", "background"), ("wait=True", "wait")):
        say(label)
        taken = [_hand(large, how, folder, environment) for _ in range(_HAND_OVERS)]
        times = [found["taken"] * 1000 for found in taken]
        again = statistics.median(found["overwritten"] * 1000 for found in taken)
        table.add(label, statistics.median(times), max(times), again)
    table.note("", "Opened again at once: how long a write to the same file, right after, waits for its snapshot.")
    return table


def _hand(large: Path, how: str, folder: Path, environment: dict[str, str]) -> dict[str, float]:
    command: Sequence[str] = [sys.executable, "-c", _HAND_OVER, str(large), how]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, cwd=folder, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
