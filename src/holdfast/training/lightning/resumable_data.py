"""Has a training use loaders that can go on in the middle of an epoch, whoever makes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import DataLoader

from holdfast.logs import get_logger
from holdfast.training.lightning.loaders import Resumption, resumable

_log = get_logger(__name__)


def resumable_loaders(loaders: Any, resumption: Resumption) -> Any:
    """Return one loader, or a list, dictionary or `CombinedLoader` of them, each able to go on where a checkpoint says.

    Args:
        loaders: For training.
        resumption: What is restored.
    """
    if isinstance(loaders, CombinedLoader):
        loaders.flattened = resumable(_checked(loaders.flattened), resumption)
        return loaders
    flat, shape = tree_flatten(loaders)
    return tree_unflatten(resumable(_checked(flat), resumption), shape)


def _checked(loaders: list[Any]) -> list[Any]:
    if any(isinstance(loader, DataLoader) and loader.persistent_workers for loader in loaders):
        _log.warning(
            "persistent_workers carry random numbers from epoch to epoch: what a dataset draws itself is not repeated "
            "exactly by a resumed training"
        )
    return loaders


@contextmanager
def resumable_data(source: LightningDataModule | LightningModule, resumption: Resumption) -> Iterator[None]:
    """Have what a module gives out as `train_dataloader` go on where a checkpoint says, within the block."""
    plain: Callable[[], Any] = source.train_dataloader

    @functools.wraps(plain)
    def train_dataloader() -> Any:
        return resumable_loaders(plain(), resumption)

    source.train_dataloader = train_dataloader  # type: ignore[method-assign]
    try:
        yield
    finally:
        del source.train_dataloader
