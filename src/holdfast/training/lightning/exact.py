"""Puts into a checkpoint what Lightning leaves out, so that a resumed run continues to the last bit.

A checkpoint is exact at two points only: right after an optimizer step that no validation follows, and between two
epochs. There, this callback adds the random state of each rank, where each loader is, what the epoch has summed up, the
metrics that its step was about to log, and the latest value of each metric that callbacks watch. A checkpoint of
another moment (the best ones are saved in the middle of a validation) is for its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from holdfast.training.lightning import partial_epoch, random_state
from holdfast.training.lightning.loaders import Resumption, generators_of

KEY = "holdfast"
_FORMAT = 1


class Point(StrEnum):
    """Where in the training a checkpoint was saved."""

    BATCH = "batch"
    EPOCH = "epoch"
    OTHER = "other"


class ExactState(Callback):
    """Keeps and restores the state that makes a resumed training exact.

    Args:
        run_id: The MLflow run, noted in each checkpoint.

    Attributes:
        point: Where the training is, said by whoever saves a checkpoint; see `Point`.
        loaded: What the checkpoint that was resumed from has; None where nothing was.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        self.point = Point.OTHER
        self.loaded: dict[str, Any] | None = None
        self.resumption = Resumption()
        self._sums: partial_epoch.Sums | None = None
        self._repeated: dict[str, float] = {}

    # -- saving -----------------------------------------------------------------------

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state; called on every rank, as saving is."""
        kept: dict[str, Any] = {"format": _FORMAT, "point": str(self.point), "run_id": self.run_id}
        if self.point is not Point.OTHER:
            kept["ranks"] = _gather(trainer, self._state_of_rank(trainer, pl_module))
            kept["watched"] = {key: value.detach().cpu() for key, value in trainer.callback_metrics.items()}
        if self.point is Point.BATCH:
            kept["pending"], kept["repeated"] = _pending(trainer), _logged_now(trainer)
        if self.point is Point.EPOCH:
            _end_last_epoch(checkpoint["loops"]["fit_loop"])
        checkpoint[KEY] = kept

    def _state_of_rank(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        state: dict[str, Any] = {"random": random_state.capture()}
        loaders = _loaders_of(trainer)
        if self.point is Point.EPOCH:
            state["loaders"] = [
                {"begun": None, "generators": [one.get_state() for one in generators_of(loader)]} for loader in loaders
            ]
        if self.point is Point.BATCH:
            fetcher = trainer.fit_loop._data_fetcher
            ahead = len(getattr(fetcher, "batches", []))
            state["loaders"] = [
                loader.holdfast_position.to_plain(ahead) if hasattr(loader, "holdfast_position") else None
                for loader in loaders
            ]
            state["sums"] = partial_epoch.collect(trainer, module)
        return state

    # -- restoring --------------------------------------------------------------------

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the state out of a checkpoint; it is put back as the training comes to it."""
        kept = checkpoint.get(KEY)
        self.loaded = kept
        ranks = (kept or {}).get("ranks")
        if not ranks or len(ranks) != trainer.world_size:
            return
        mine = ranks[trainer.global_rank]
        self.resumption.random = mine["random"]
        self.resumption.positions = list(mine.get("loaders", []))
        self._sums = mine.get("sums")
        self._repeated = dict((kept or {}).get("repeated") or {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give callbacks the metrics back that they watch."""
        if self.loaded is not None and "watched" in self.loaded:
            trainer._logger_connector._callback_metrics.update(
                {key: value.to(pl_module.device) for key, value in self.loaded["watched"].items()}
            )
        pending = (self.loaded or {}).get("pending")
        if pending:
            for logger in trainer.loggers:
                logger.log_metrics(metrics=pending["metrics"], step=pending["step"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random state of an epoch's beginning."""
        self.resumption.restore()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Give metric objects their state back before the first batch."""
        if self._sums is not None and self._sums["metrics"]:
            partial_epoch.restore_metrics(pl_module, self._sums)
            self._sums["metrics"] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add what the epoch had summed up before it was interrupted."""
        if self._sums is not None:
            partial_epoch.add_logged(trainer, self._sums)
            if not self._sums["logged"]:
                self._sums = None
        if self._repeated:
            self._repeat(trainer)

    def _repeat(self, trainer: Trainer) -> None:
        """Log again what Lightning would: a metric of some batches only, in those of an epoch that do not log it."""
        now = _logged_now(trainer)
        self._repeated = {key: value for key, value in self._repeated.items() if key not in now}
        loop, module = trainer.fit_loop, trainer.lightning_module
        if not self._repeated or (loop._should_accumulate() and module.automatic_optimization):
            return
        if trainer._logger_connector.should_update_logs:
            for logger in trainer.loggers:
                logger.log_metrics(metrics=self._repeated, step=loop.epoch_loop._batches_that_stepped)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what the rest of the epoch did not log again."""
        self._sums, self._repeated = None, {}


def is_exact_here(trainer: Trainer) -> bool:
    """Whether the end of the present training batch is a point at which a checkpoint is exact.

    That is: the optimizer has stepped, the epoch goes on, and no validation comes next.
    """
    loop = trainer.fit_loop.epoch_loop
    if loop._should_accumulate() or loop._num_ready_batches_reached():
        return False
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and not loop._should_check_val_fx(fetcher)


def _logged_now(trainer: Trainer) -> dict[str, float]:
    """Return the metrics that were logged in this batch, or before in this epoch, but for the step."""
    metrics = trainer._logger_connector.metrics["log"]
    return {key: float(value) for key, value in metrics.items() if key not in ("step", "epoch")}


def _pending(trainer: Trainer) -> dict[str, Any] | None:
    """Return the metrics that the present step is about to log, with their step."""
    connector = trainer._logger_connector
    if not connector.should_update_logs:
        return None
    metrics = {key: float(value) for key, value in connector.metrics["log"].items()}
    step = metrics.pop("step", None)
    if not metrics:
        return None
    if step is None:
        metrics.setdefault("epoch", trainer.current_epoch)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
    return {"metrics": metrics, "step": int(step)}


def _end_last_epoch(fit_loop: Mapping[str, Any]) -> None:
    """Make the state of an epoch that has just begun that of the one before, at its very end."""
    for counts in (fit_loop["epoch_progress"]["total"], fit_loop["epoch_progress"]["current"]):
        counts["ready"] = counts["started"] = counts["processed"] = counts["completed"]


def _gather(trainer: Trainer, mine: dict[str, Any]) -> list[dict[str, Any]]:
    if trainer.world_size == 1:
        return [mine]
    every: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(every, mine)
    return every


def _loaders_of(trainer: Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else list(combined.flattened)
