"""Lightning's `Trainer`, and what its methods are given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.model_helpers import is_overridden

from holdfast.errors import InvalidInputError
from holdfast.training.config import TrainingConfig
from holdfast.training.lightning.quiet import quiet

# Arguments of Lightning's `Trainer`, each with the key of the configuration that says it.
FROM_CONFIG = {
    "max_epochs": "epochs",
    "max_steps": "max_steps",
    "devices": "devices",
    "num_nodes": "num_nodes",
    "strategy": "strategy",
    "accelerator": "accelerator",
    "precision": "precision",
    "accumulate_grad_batches": "accumulate",
    "gradient_clip_val": "gradient_clip",
    "deterministic": "deterministic",
    "log_every_n_steps": "log_every_n_steps",
    "fast_dev_run": "fast_dev_run",
}


def make_trainer(config: TrainingConfig, options: Mapping[str, Any], **own: Any) -> pl.Trainer:
    """Return a `Trainer` for a configuration.

    Args:
        config: How to train.
        options: Win over the configuration.
        own: Win over both.

    Raises:
        InvalidInputError: Lightning refuses something of it.
    """
    given = {argument: getattr(config, key) for argument, key in FROM_CONFIG.items()}
    # Lightning's words for "no bound", and for "as the others say".
    given |= {"max_steps": config.max_steps or -1, "deterministic": config.deterministic or None}
    given |= {"enable_progress_bar": sys.stdout.isatty(), "enable_model_summary": sys.stdout.isatty()}
    try:
        with quiet():
            trainer = pl.Trainer(**{**given, **options, **own})
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise InvalidInputError(
            f"Lightning's Trainer refuses the configuration: {error}.", "see the key it names"
        ) from error
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise InvalidInputError(
            f"The strategy {config.strategy} copies an open run into other processes.",
            "use ddp, or start with torchrun",
        )
    return trainer


def data_arguments(data: Any) -> dict[str, Any]:
    """Return the arguments of `Trainer.fit` for a DataModule, for loaders, or for None."""
    if data is None:
        return {}
    if isinstance(data, pl.LightningDataModule):
        return {"datamodule": data}
    if not isinstance(data, (list, tuple)) or not 1 <= len(data) <= 3:
        raise InvalidInputError(
            f"The data is a {type(data).__name__}.",
            "give a LightningDataModule, or the loaders of training, validation and test as a tuple",
        )
    return {"train_dataloaders": data[0], "val_dataloaders": data[1] if len(data) > 1 else None}


def test_arguments(module: pl.LightningModule, data: Any) -> dict[str, Any] | None:
    """Return the arguments of `Trainer.test`; None where there is no test."""
    if not is_overridden("test_step", module):
        return None
    if isinstance(data, pl.LightningDataModule):
        return {"datamodule": data} if is_overridden("test_dataloader", data) else None
    if data is None:
        return {} if is_overridden("test_dataloader", module) else None
    return {"dataloaders": data[2]} if len(data) > 2 and data[2] is not None else None
