"""What no library can be faster than."""

from __future__ import annotations

import json
import os
import struct
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Job, Log, Metrics, Peer


class OsWrite(Peer):
    """One packed record a call, straight into the kernel."""

    label = "floor: os.write of a packed record"
    own_venv = False

    def open(self, job: Job) -> None:
        self._fd = os.open(job.folder / "floor.bin", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def logger(self, count: int) -> Log:
        record = struct.Struct("<qqI" + "d" * count)
        write, now, fd = os.write, time.time_ns, self._fd

        def log(metrics: Metrics, step: int) -> object:
            return write(fd, record.pack(now(), step, 7, *metrics.values()))

        return log

    def close(self) -> None:
        os.close(self._fd)

    def stored(self, folder: Path) -> Counter[int]:
        record = struct.Struct("<qqId")
        data = (folder / "floor.bin").read_bytes()
        return Counter(step for _, step, _, _ in record.iter_unpack(data[: len(data) // record.size * record.size]))


class BarePosts(Peer):
    """`requests.post` of 1,000 metrics at a time over one kept connection: what the server takes at most."""

    label = "bare loop of requests.post, 1,000 metrics each"
    own_venv = False
    on_server = True

    def open(self, job: Job) -> None:
        import requests

        self._api = f"{job.uri}/api/2.0/mlflow"
        experiment = _post_json(f"{self._api}/experiments/create", {"name": job.experiment})["experiment_id"]
        run = _post_json(f"{self._api}/runs/create", {"experiment_id": experiment, "start_time": _now_ms()})
        self._run_id = run["run"]["info"]["run_id"]
        self._session = requests.Session()
        self._waiting: list[dict[str, Any]] = []

    def logger(self, count: int) -> Log:
        def log(metrics: Metrics, step: int) -> None:
            now_ms = _now_ms()
            self._waiting += [
                {"key": key, "value": value, "timestamp": now_ms, "step": step} for key, value in metrics.items()
            ]
            if len(self._waiting) >= 1000:
                self._send()

        return log

    def close(self) -> None:
        if self._waiting:
            self._send()

    def _send(self) -> None:
        body = {"run_id": self._run_id, "metrics": self._waiting}
        self._session.post(f"{self._api}/runs/log-batch", json=body, timeout=120).raise_for_status()
        self._waiting = []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _post_json(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
