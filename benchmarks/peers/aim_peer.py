"""Aim: RocksDB in the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.base import Job, Log, Peer


class Aim(Peer):
    """`run.track`, with a dictionary for many."""

    label = "Aim"
    distribution = "aim"
    unreadable = "a run that did not end is not shown by Aim's own reader"

    def open(self, job: Job) -> None:
        import aim

        (job.folder / "aim").mkdir()
        self._run: Any = aim.Run(
            repo=str(job.folder / "aim"),
            experiment=job.experiment,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )

    def logger(self, count: int) -> Log:
        track = self._run.track
        return lambda metrics, step: track(metrics, step=step)

    def close(self) -> None:
        self._run.close()

    def data(self, folder: Path) -> Path:
        return folder / "aim"
