"""Trackio: a queue in the process, SQLite behind it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peers.base import Job, Log, Peer


class Trackio(Peer):
    """`trackio.log`."""

    label = "Trackio"
    distribution = "trackio"
    environment: ClassVar = {"TRACKIO_DIR": "trackio"}

    def open(self, job: Job) -> None:
        import trackio

        self._trackio: Any = trackio
        trackio.init("bench", embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def logger(self, count: int) -> Log:
        log: Log = self._trackio.log
        return log

    def close(self) -> None:
        self._trackio.finish()

    def stored(self, folder: Path) -> Counter[int]:
        found: Counter[int] = Counter()
        for path in (folder / "trackio").rglob("*.db"):
            with sqlite3.connect(path) as database:
                found.update(step for (step,) in database.execute("SELECT step FROM metrics"))
        return found

    def data(self, folder: Path) -> Path:
        return folder / "trackio"
