"""W&B, offline: a service process beside the training process writes a file to be sent later."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peers.base import Job, Log, Peer
from benchmarks.peers.record_log import read_records


class Wandb(Peer):
    """`run.log`."""

    label = "W&B, offline"
    distribution = "wandb"
    environment: ClassVar = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    has_helper = True

    def open(self, job: Job) -> None:
        import wandb

        off = wandb.Settings(
            console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_machine_info=True
        )
        self._run: Any = wandb.init(mode="offline", dir=str(job.folder), project="bench", settings=off)

    def logger(self, count: int) -> Log:
        log: Log = self._run.log
        return log

    def close(self) -> None:
        self._run.finish()

    def stored(self, folder: Path) -> Counter[int]:
        from wandb.proto.wandb_internal_pb2 import Record

        found: Counter[int] = Counter()
        for path in (folder / "wandb").rglob("*.wandb"):
            for data in read_records(path):
                items = Record.FromString(data).history.item
                found.update(int(item.value_json) for item in items if [item.key, *item.nested_key][-1] == "_step")
        return found

    def data(self, folder: Path) -> Path:
        return folder / "wandb"
