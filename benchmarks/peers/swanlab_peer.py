"""SwanLab, offline: a thread in the process writes a file to be sent later."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.peers.base import KEY, Job, Log, Peer
from benchmarks.peers.record_log import read_records


class SwanLab(Peer):
    """`swanlab.log`."""

    label = "SwanLab, offline"
    distribution = "swanlab"

    def open(self, job: Job) -> None:
        import swanlab

        self._swanlab: Any = swanlab
        swanlab.init(mode="offline", log_dir=str(job.folder / "swanlog"), project="bench")

    def logger(self, count: int) -> Log:
        log: Log = self._swanlab.log
        return log

    def close(self) -> None:
        self._swanlab.finish()

    def stored(self, folder: Path) -> Counter[int]:
        from swanlab.proto.swanlab.record.v1.record_pb2 import Record

        found: Counter[int] = Counter()
        for path in (folder / "swanlog").rglob("*.swanlab"):
            records = (Record.FromString(data) for data in read_records(path))
            found.update(one.scalar.step for one in records if one.HasField("scalar") and one.scalar.key == KEY)
        return found

    def data(self, folder: Path) -> Path:
        return folder / "swanlog"
