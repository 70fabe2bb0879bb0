"""`SystemMetricsCallback`: system metrics for as long as Lightning's trainer fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from holdfast.errors import InvalidInputError, RunStateError
from holdfast.lifecycle import status_for
from holdfast.tracking import MLflowTracker
from holdfast.training.integrations.run_in_use import RunInUse
from holdfast.training.lightning.logger import HoldfastLogger
from holdfast.training.lightning.other_rank import RankLog
from holdfast.training.watching.measuring import SystemMetrics, check_interval


class SystemMetricsCallback(Callback):
    """Logs processor, memory, disk, network and GPUs (`system/…`) with the trainer's global step, in a thread.

    In a distributed run the first process of each machine logs; machines other than the first under `system/node1/`
    and so on. The values go to the run that is open when fitting begins; none come after its end.

    Args:
        every_s: Seconds between two measurements; a last one is made at the end.
        tracker: Whose run; that of the trainer's `HoldfastLogger` if not given. With a tracker that has no run open,
            one is begun for the fitting.

    Raises:
        InvalidInputError: `every_s` is not above 0; when fitting begins: there is neither a tracker nor such a logger.
    """

    def __init__(self, every_s: float = 10.0, *, tracker: MLflowTracker | None = None) -> None:
        self._every_s, self._tracker = check_interval(every_s), tracker
        self._metrics: SystemMetrics | None = None
        self._run: RunInUse | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A process that Lightning spawns gets the callback by pickle; the run and the thread stay where they are.
        return {**self.__dict__, "_metrics": None, "_run": None, "_tracker": None}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure."""
        if trainer.local_rank != 0:
            return
        self._metrics = SystemMetrics(
            self._taker(trainer), self._every_s, step=lambda: int(trainer.global_step), node=trainer.node_rank
        )
        self._metrics.start()

    def _taker(self, trainer: Trainer) -> Callable[[dict[str, Any], int], None]:
        """Return what takes metrics and a step: the logger, which knows what a resumed run has already, or the run."""
        logger = next((found for found in trainer.loggers if isinstance(found, HoldfastLogger)), None)
        if logger is not None and (self._tracker in (None, logger.tracker) or not trainer.is_global_zero):
            logger.append({}, 0)  # says at once where the run is not known
            return logger.append
        if self._tracker is None:
            raise InvalidInputError(
                "System metrics have no run to go to.",
                "give SystemMetricsCallback(tracker=…), or the trainer a HoldfastLogger",
            )
        return RankLog(self._tracker, self._run_of(trainer, self._tracker)).metrics

    def _run_of(self, trainer: Trainer, tracker: MLflowTracker) -> str:
        """Return the tracker's run; one is begun where none is open."""
        run_id = tracker.run_id
        if run_id is None and not trainer.is_global_zero:
            raise RunStateError(
                "The machines other than the first do not know the run.", "give the trainer a HoldfastLogger"
            )
        if run_id is None:
            self._run = RunInUse(tracker)
            run_id = self._run.begin()
        return run_id

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure a last time."""
        self._end("FINISHED")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Measure a last time, before the run ends FAILED or KILLED."""
        self._end(status_for(type(exception), exception))

    def _end(self, status: str) -> None:
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.stop()
        run, self._run = self._run, None
        if run is not None:
            run.end(status)
