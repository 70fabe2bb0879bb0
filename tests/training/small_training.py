"""A training that is as small as it can be and draws from every generator there is; started as a script, too.

`KILL_AT=TERM:17` in the environment has the process send itself that signal in step 17, `TERM:17:1` rank 1 alone;
`KILL_AT=RAISE:17` raises.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torchmetrics
from pydantic import BaseModel, ConfigDict
from torch.utils.data import DataLoader, Dataset

from holdfast.training import Script

SAMPLES = 30


class Options(BaseModel):
    """The model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = 8
    pretrained: bool = False


class Noisy(Dataset[Any]):
    """Samples whose noise is new each time."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return x + 0.1 * torch.randn(4) + 0.1 * random.gauss() + 0.1 * np.random.rand(), x.sum(0, keepdim=True)


class Small(pl.LightningModule):
    """Dropout, sums over an epoch, and a metric object: all that a resumed training can get wrong."""

    def __init__(self, width: int = 8, learning_rate: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Dropout(0.3), torch.nn.Linear(width, 1))
        self.error = torchmetrics.MeanAbsoluteError()

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        x, y = batch
        out = self.layers(x)
        loss = ((out - y) ** 2).mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/largest", loss, on_step=False, on_epoch=True, reduce_fx=torch.max)
        self.error(out.float(), y)
        self.log("train/error", self.error, on_step=False, on_epoch=True)
        self._meet_the_end()
        return loss

    def _meet_the_end(self) -> None:
        how, step, rank = (*os.environ.get("KILL_AT", "").split(":"), "", "")[:3]
        if not how or self.trainer.global_step != int(step) or str(self.trainer.global_rank) not in (rank or "0123"):
            return
        if how == "RAISE":
            raise RuntimeError("the training breaks")
        os.kill(os.getpid(), getattr(signal, f"SIG{how}"))

    def validation_step(self, batch: Any, number: int) -> None:
        x, y = batch
        self.log("val/loss", ((self.layers(x) - y) ** 2).mean())

    def test_step(self, batch: Any, number: int) -> None:
        x, y = batch
        self.log("test/loss", ((self.layers(x) - y) ** 2).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.hparams["learning_rate"])


class Data(pl.LightningDataModule):
    """Loaders of all three kinds."""

    def __init__(self, batch_size: int = 4, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers

    def train_dataloader(self) -> Any:
        return DataLoader(Noisy(), self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> Any:
        return DataLoader(Noisy(), 10)

    def test_dataloader(self) -> Any:
        return DataLoader(Noisy(), 10)


def make_model(options: Options, config: Any) -> Small:
    return Small(options.width, config.learning_rate)


def make_data(options: Options, config: Any) -> Data:
    return Data(config.batch_size, config.num_workers)


script = Script(make_model, make_data, model_config=Options, description="A small training.")

if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(script.main())
