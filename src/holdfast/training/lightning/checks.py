"""What is looked at before and after a training, so that nothing that did not happen is called finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import Strategy
from torch.utils.data import DataLoader

from holdfast.errors import DataError, InvalidInputError
from holdfast.training.folders import why_unwritable
from holdfast.training.lightning.trainer import FROM_CONFIG

_OWN = {
    "callbacks": "give TrainingPipeline(callbacks=...)",
    "logger": "the pipeline logs to the tracker",
    "default_root_dir": "give output_dir",
    "num_sanity_val_steps": "validation is tried out before a new training, and not before a resumed one",
}
# Of a launcher that has started the processes, which it says with an environment of its own.
_LAUNCHED = {"devices", "num_nodes", "strategy"}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse arguments of the `Trainer` that the configuration says, since the run's params would say otherwise.

    A strategy that is an object is taken, as no configuration can hold it; so is what a launcher says of the processes
    that it has started, together with its `ClusterEnvironment` among the `plugins`.

    Raises:
        InvalidInputError: Names each of them, and what to set instead.
    """
    allowed = {"strategy"} if isinstance(options.get("strategy"), Strategy) else set[str]()
    if is_launched(options):
        allowed |= _LAUNCHED
    keys = [name for name in FROM_CONFIG if name in options and name not in allowed]
    own = [name for name in _OWN if name in options]
    if keys or own:
        hints = [f"set {FROM_CONFIG[name]} in the training configuration instead of {name}" for name in keys]
        hints += [f"leave {name} out: {_OWN[name]}" for name in own]
        raise InvalidInputError(
            f"trainer_options hold {', '.join(keys + own)}, which the pipeline sets.", "; ".join(hints)
        )


def is_launched(options: Mapping[str, Any]) -> bool:
    """Whether a launcher has started the processes, such as that of Ray."""
    plugins = options.get("plugins") or ()
    among = plugins if isinstance(plugins, (list, tuple)) else (plugins,)
    return any(isinstance(one, ClusterEnvironment) for one in among)


def check_dataset(dataset: Any) -> None:
    """Refuse loaders, or a DataModule, where samples by index are wanted.

    Raises:
        InvalidInputError: It is one.
    """
    parts = dataset if isinstance(dataset, (list, tuple)) else (dataset,)
    if any(isinstance(one, (DataLoader, pl.LightningDataModule)) for one in parts):
        kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in parts))
        raise InvalidInputError(
            f"setup_data_loaders makes loaders of a dataset, and was given {kinds}.",
            "give train(model, data=...) the loaders as they are, or setup_data_loaders the dataset",
        )


def require_batches(trainer: pl.Trainer) -> None:
    """Refuse a training that has ended without a batch to train on.

    Args:
        trainer: After `fit`.

    Raises:
        DataError: There was none.
    """
    # Without a length there is no number of batches; then an epoch has ended that none was in.
    is_empty = trainer.current_epoch > 0 and not trainer.fit_loop.epoch_loop.batch_progress.total.ready
    if trainer.num_training_batches == 0 or is_empty:
        raise DataError(
            "The training data has no batch, so nothing was trained.",
            "with drop_last=True there have to be batch_size samples for each process: lower batch_size, or give more",
        )


def check_output_folder(folder: Path) -> None:
    """Make the folder of all runs' files where it is missing.

    Raises:
        InvalidInputError: It cannot be made, or nothing written there.
    """
    if why := why_unwritable(folder):
        raise InvalidInputError(
            f"Files cannot be written to the output folder {folder}: {why}.",
            f"name another one, or make it writable: ls -ld '{folder}'",
        )
