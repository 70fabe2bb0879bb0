"""`GradientNorm`: how large the gradients are, before they are clipped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from holdfast.errors import InvalidInputError
from holdfast.tracking import MLflowTracker

NAME = "train/grad_norm"


class GradientNorm(Callback):
    """Logs the L2 norm of all gradients of a step, `train/grad_norm`, as one vector: sqrt(sum of g²).

    It is that of the gradients which the optimizer is about to use: after accumulation and after the loss scale of
    mixed precision was taken out, before clipping. A norm that is infinite or NaN is logged as such; mixed precision
    then skips the step. With several optimizers each has its own, `train/grad_norm/0` and so on. Under FSDP, whose
    processes hold a part of each gradient, it is that of the first process's part.

    Steps that log nothing cost a comparison; those that do, a pass over the gradients and one wait for the device.

    Args:
        every_n_steps: How often, in optimizer steps; the trainer's `log_every_n_steps` if not given.
        tracker: Where to log; the trainer's loggers if not given.

    Raises:
        InvalidInputError: `every_n_steps` is not above 0.
    """

    def __init__(self, every_n_steps: int | None = None, *, tracker: MLflowTracker | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise InvalidInputError(f"Every {every_n_steps} steps is no interval.", "give 1 or more, or leave it out")
        self._every_n_steps, self._tracker = every_n_steps, tracker

    def __getstate__(self) -> dict[str, Any]:
        # A tracker does not travel to a process that Lightning spawns; only the first one, which stays, logs.
        return {**self.__dict__, "_tracker": None}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure and log, if it is the step's turn."""
        # The step that Lightning itself logs the metrics of this batch with.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        usual: int = getattr(trainer, "log_every_n_steps", 0)
        every = self._every_n_steps or usual
        if not every or (step + 1) % every:
            return
        # On every rank: the norm of gradients that lie on several devices is a common effort.
        norm = total_norm(_parameters(trainer, pl_module, optimizer)) / _loss_scale(trainer, optimizer)
        if trainer.is_global_zero:
            self._log(trainer, {_name(trainer, optimizer): norm}, step)

    def _log(self, trainer: Trainer, metrics: dict[str, float], step: int) -> None:
        if self._tracker is not None:
            self._tracker.log_metrics(metrics, step)
            return
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)


def total_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """Return the L2 norm of the gradients of these parameters as one vector; 0 where none has a gradient.

    Sparse gradients count by their values.
    """
    gradients = [_dense(parameter.grad) for parameter in parameters if parameter.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    whole = getattr(norm, "full_tensor", None)
    return float(whole() if whole is not None else norm)


def _dense(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _parameters(trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> Iterable[torch.nn.Parameter]:
    if len(trainer.optimizers) > 1:
        return (parameter for group in optimizer.param_groups for parameter in group["params"])
    return module.parameters()


def _name(trainer: Trainer, optimizer: Optimizer) -> str:
    if len(trainer.optimizers) < 2:
        return NAME
    return f"{NAME}/{[id(known) for known in trainer.optimizers].index(id(optimizer))}"


def _loss_scale(trainer: Trainer, optimizer: Optimizer) -> float:
    """Return what the gradients are still multiplied by: some fused optimizers take the scale out themselves."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return float(scaler.get_scale()) if scaler is not None and _optimizer_handles_unscaling(optimizer) else 1.0
