"""The callbacks of a training: the best checkpoints, early stopping, and a line an epoch where nobody sees a bar."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from holdfast.logs import get_logger
from holdfast.training.config import TrainingConfig
from holdfast.training.lightning.mirror import safe_part

_log = get_logger(__name__)


def best_checkpoints(config: TrainingConfig) -> ModelCheckpoint:
    """Return what keeps the best checkpoints by the monitored metric; where, is said later."""
    return ModelCheckpoint(
        filename=f"epoch-{{epoch:03d}}-step-{{step:06d}}-{safe_part(config.monitor)}-{{{config.monitor}:.4f}}",
        monitor=config.monitor,
        mode=config.mode,
        save_top_k=config.save_top_k,
        save_last=False,
        auto_insert_metric_name=False,
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
