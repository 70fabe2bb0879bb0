"""Holdfast: its tracker, and plain `mlflow.*` calls that go through its journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.base import Job, Log, Peer
from benchmarks.peers.mlflow_peers import MlflowSync

JOURNAL = ".holdfast/journal"
SHIPPER = "holdfast.delivery"


class HoldfastTracker(Peer):
    """`tracker.log_metrics`."""

    label = "Holdfast tracker"
    distribution = "holdfast"
    own_venv = False
    on_server = True
    has_helper = True

    def open(self, job: Job) -> None:
        from holdfast import MLflowTracker

        self._folder = job.folder
        self._tracker = MLflowTracker(tracking_uri=job.uri, experiment_name=job.experiment)
        self._block = self._tracker.run()
        self._block.__enter__()

    def logger(self, count: int) -> Log:
        return self._tracker.log_metrics

    def close(self) -> None:
        self._block.__exit__(None, None, None)

    def data(self, folder: Path) -> Path:
        return folder / JOURNAL

    def note(self) -> str:
        return "" if (self._folder / JOURNAL).is_dir() else "no journal here: every call waited for the server"


class Override(MlflowSync):
    """Plain `mlflow.log_metric` with HOLDFAST_DELIVERY=journal in the environment, and nothing else changed."""

    label = "mlflow.log_metric through Holdfast"
    calls = 20_000
    is_stock = False
    environment: ClassVar = {"HOLDFAST_DELIVERY": "journal"}
    has_helper = True

    def open(self, job: Job) -> None:
        super().open(job)
        self._folder = job.folder

    def note(self) -> str:
        return "" if (self._folder / JOURNAL).is_dir() else "no journal here: every call waited for the server"

    def data(self, folder: Path) -> Path:
        return folder / JOURNAL


class OverrideWithRegistry(Override):
    """The same with the registry's URI set."""

    label = "the same, MLFLOW_REGISTRY_URI set"

    def open(self, job: Job) -> None:
        os.environ["MLFLOW_REGISTRY_URI"] = job.uri
        super().open(job)
