"""What is trained: a small convolutional net on made images, with what any module logs."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 3
CLASSES = 10


class Net(pl.LightningModule):
    """Two convolutions and two layers, 269 thousand parameters; logs loss and accuracy."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 64, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
        )

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss, accuracy = self._measure(batch)
        self.log("train/loss", loss)
        self.log("train/accuracy", accuracy)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, accuracy = self._measure(batch)
        self.log("val/loss", loss)
        self.log("val/accuracy", accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 10)]

    def _measure(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = batch
        found = self.layers(images)
        accuracy = (found.argmax(1) == labels).float().mean()
        return nn.functional.cross_entropy(found, labels), accuracy


def make_loaders(batch_size: int, steps: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return loaders of training, `steps` batches of 3 × 32 × 32, and of validation, two batches."""
    return _loader(batch_size, steps, shuffle=True), _loader(batch_size, 2, shuffle=False)


def _loader(batch_size: int, batches: int, shuffle: bool) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(batches)
    images = torch.randn(batch_size * batches, 3, 32, 32, generator=draw)
    labels = images.mean((2, 3)).repeat(1, 4)[:, :CLASSES].argmax(1)
    return DataLoader(TensorDataset(images, labels), batch_size, shuffle=shuffle, num_workers=0)


def plain_callbacks(folder: str, with_logger: bool) -> list[pl.Callback]:
    """Return what a training with plain Lightning has: the best checkpoints, and the learning rate where it logs."""
    best = ModelCheckpoint(folder, monitor="val/loss", save_top_k=3, filename="{epoch}")
    return [best, *([LearningRateMonitor("step")] if with_logger else [])]
