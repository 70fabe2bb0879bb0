"""The callbacks of a training: the best checkpoints, early stopping, and a line an epoch where nobody sees a bar."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from holdfast.logs import get_logger
from holdfast.training.config import TrainingConfig
from holdfast.training.lightning.mirror import safe_part

_log = get_logger(__name__)
_LONGEST_PART = 80


class BestCheckpoints(ModelCheckpoint):
    """A `ModelCheckpoint` whose files are named so that no metric's name is taken for a pattern or a folder."""

    def format_checkpoint_name(
        self,
        metrics: dict[str, torch.Tensor],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Return the path of a checkpoint: epoch, step, and the monitored metric with its value."""
        name = str(self.monitor)
        parts = (
            f"epoch-{int(metrics.get('epoch', 0)):03d}",
            f"step-{int(metrics.get('step', 0)):06d}",
            safe_part(name)[:_LONGEST_PART],
            f"{float(metrics.get(name, math.nan)):.4f}",
            *(() if ver is None else (f"v{ver}",)),
        )
        return str(Path(self.dirpath or "") / f"{'-'.join(parts)}{self.FILE_EXTENSION}")


def best_checkpoints(config: TrainingConfig) -> ModelCheckpoint:
    """Return what keeps the best checkpoints by the monitored metric; where, is said later."""
    return BestCheckpoints(
        monitor=config.monitor,
        mode=config.mode,
        save_top_k=config.save_top_k,
        save_last=False,
        enable_version_counter=False,
    )


def early_stopping(config: TrainingConfig) -> EarlyStopping | None:
    """Return what ends a training that gets no better; None where the patience is 0."""
    if not config.early_stopping_patience:
        return None
    return EarlyStopping(
        monitor=config.monitor, mode=config.mode, patience=config.early_stopping_patience, check_finite=True
    )


def learning_rate() -> LearningRateMonitor:
    """Return what logs the learning rate of each optimizer."""
    return LearningRateMonitor(logging_interval="step")


def move(state: dict[str, Any], folder: Path) -> None:
    """Have the state of a `ModelCheckpoint` speak of a folder, wherever it was saved.

    Args:
        state: As in a checkpoint; changed.
        folder: Where its files are now.
    """

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    state["dirpath"] = str(folder)
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])


class MovedCheckpoints(Callback):
    """Has the state of the best checkpoints speak of where they are now, when it is restored.

    Args:
        best: The callback that keeps them.
    """

    def __init__(self, best: ModelCheckpoint) -> None:
        self._best = best

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Move the state, before Lightning gives it to its callback."""
        state = checkpoint.get("callbacks", {}).get(self._best.state_key)
        if state is not None and self._best.dirpath is not None:
            move(state, Path(self._best.dirpath))


class EpochLines(Callback):
    """Writes a line to the log after each validation, where there is no progress bar."""

    def __init__(self, metrics: Iterable[str]) -> None:
        self._metrics = tuple(metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how far the training is."""
        if not trainer.is_global_zero:
            return
        shown = {key: float(trainer.callback_metrics[key]) for key in self._metrics if key in trainer.callback_metrics}
        _log.info(
            "epoch",
            epoch=trainer.current_epoch + 1,
            of=trainer.max_epochs,
            step=trainer.global_step,
            **{key.replace("/", "_"): f"{value:.4g}" for key, value in shown.items()},
        )
