"""TensorBoard's event files: its own writer, and tensorboardX."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.peers.base import KEY, Job, Log, Metrics, Peer


class TensorBoardX(Peer):
    """`SummaryWriter.add_scalar` of tensorboardX, which needs no torch; one call a metric."""

    label = "tensorboardX"
    distribution = "tensorboardX"

    def open(self, job: Job) -> None:
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(str(job.folder / "events"))

    def logger(self, count: int) -> Log:
        add_scalar = self._writer.add_scalar

        def log(metrics: Metrics, step: int) -> None:
            for key, value in metrics.items():
                add_scalar(key, value, step)

        return log

    def close(self) -> None:
        self._writer.close()

    def stored(self, folder: Path) -> Counter[int]:
        return _steps_in_events(folder / "events")

    def data(self, folder: Path) -> Path:
        return folder / "events"


class TensorBoard(TensorBoardX):
    """TensorBoard's own `EventFileWriter`, under what torch's `SummaryWriter` does for a scalar."""

    label = "TensorBoard, EventFileWriter"
    distribution = "tensorboard"

    def open(self, job: Job) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(job.folder / "events"))

    def logger(self, count: int) -> Log:
        import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        add_event = self._writer.add_event

        def log(metrics: Metrics, step: int) -> None:
            for key, value in metrics.items():
                summary = Summary(value=[Summary.Value(tag=key, simple_value=value)])
                add_event(Event(wall_time=time.time(), step=step, summary=summary))

        return log


def _steps_in_events(folder: Path) -> Counter[int]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found: Counter[int] = Counter()
    for path in folder.glob("events*"):
        for event in LegacyEventFileLoader(str(path)).Load():
            found.update(event.step for value in event.summary.value if value.tag == KEY)
    return found
