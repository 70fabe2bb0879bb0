"""From every checkpoint that says it is exact, a training goes on to the last bit, whatever its loaders are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers.logger import Logger
from small_training import Data, Noisy, Small
from torch.utils.data import DataLoader, IterableDataset

from holdfast.training.lightning.exact import ExactState, Point, is_exact_here
from holdfast.training.lightning.resumable_data import resumable_data

EPOCHS = 3


class Rows(Logger):
    """Keeps what is logged: (name, step) → its values."""

    name, version = "rows", "1"

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, int | None], list[float]] = {}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.rows.setdefault((name, step), []).append(float(value))


class EveryPoint(Checkpoint):
    """Saves a checkpoint wherever one is exact."""

    def __init__(self, exact: ExactState, folder: Path) -> None:
        self.exact, self.folder = exact, folder

    def _save(self, trainer: pl.Trainer, point: Point, name: str) -> None:
        self.exact.point = point
        trainer.save_checkpoint(self.folder / f"{name}.ckpt", weights_only=False)
        self.exact.point = Point.OTHER

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if is_exact_here(trainer):
            self._save(trainer, Point.BATCH, f"{trainer.current_epoch}-batch-{args[-1]:02}")

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.current_epoch:  # before the first there is nothing to go on with
            self._save(trainer, Point.EPOCH, f"{trainer.current_epoch}-begin")


class Stream(IterableDataset[Any]):
    """A stream without a length, in an order that is drawn."""

    def __iter__(self) -> Iterator[Any]:
        for index in torch.randperm(18).tolist():
            yield Noisy()[index]


class Streaming(Data):
    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), self.batch_size, num_workers=self.num_workers)


class OwnGenerator(Data):
    """A loader that draws from a generator of its own, made once for all epochs."""

    def train_dataloader(self) -> Any:
        own = torch.Generator().manual_seed(5)
        return DataLoader(Noisy(), self.batch_size, shuffle=True, generator=own)


class Sparse(Small):
    """Logs something in every third batch only; Lightning says it again in those between."""

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        if number % 3 == 0:
            self.log("train/sparse", batch[0].sum())
        return super().training_step(batch, number)


class Two(Data):
    def train_dataloader(self) -> Any:
        return [DataLoader(Noisy(), 4, shuffle=True), DataLoader(Noisy(), 6, shuffle=True)]


class SmallOfTwo(Small):
    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        (x, y), (more_x, more_y) = batch
        return super().training_step((torch.cat([x, more_x]), torch.cat([y, more_y])), number)


class Plateau(Small):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


class Cosine(Small):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Hoarder(Data):
    """Gives out batches from a generator of its own making, not from a `DataLoader`."""

    def train_dataloader(self) -> Any:
        return Batches()


class Batches:
    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[Any]:
        for _ in range(6):
            x = torch.randn(4, 4)
            yield x, x.sum(1, keepdim=True)


def train(
    folder: Path, module: type[Small], data: Data, checkpoint: Path | None, **options: Any
) -> tuple[dict[str, torch.Tensor], dict[tuple[str, int | None], list[float]]]:
    folder.mkdir(exist_ok=True)
    pl.seed_everything(3 if checkpoint is None else 999, verbose=False)
    exact, rows, model = ExactState("run"), Rows(), module()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        logger=rows,
        log_every_n_steps=1,
        callbacks=[exact, EveryPoint(exact, folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        **options,
    )
    with resumable_data(data, exact.resumption):
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return model.state_dict(), rows.rows


CASES: dict[str, tuple[type[Small], Data, int, dict[str, Any]]] = {
    "plain": (Small, Data(), 1, {}),
    "accumulate": (Plateau, Data(), 2, {"accumulate_grad_batches": 3}),
    "mid_validation": (Cosine, Data(), 2, {"val_check_interval": 3}),
    "rare_validation": (Small, Data(), 3, {"check_val_every_n_epoch": 2}),
    "stream": (Small, Streaming(), 2, {}),
    "two_loaders": (SmallOfTwo, Two(), 3, {}),
    "own_generator": (Small, OwnGenerator(), 2, {}),
    "sparse": (Sparse, Data(), 1, {"accumulate_grad_batches": 2}),
    "no_loader": (Small, Hoarder(), 3, {}),
    "workers": (Small, Data(num_workers=2), 8, {}),
    "stream_worker": (Small, Streaming(num_workers=1), 8, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_point(case: str, tmp_path: Path) -> None:
    module, data, every, options = CASES[case]
    weights, rows = train(tmp_path / "whole", module, data, None, **options)
    checkpoints = sorted((tmp_path / "whole").glob("*.ckpt"))
    assert any("batch" in path.name for path in checkpoints)
    for path in checkpoints[::every]:
        again, seen = train(tmp_path / "resumed", module, data, path, **options)
        assert all(torch.equal(weights[name], value) for name, value in again.items()), path.name
        wrong = {key: (rows.get(key), values) for key, values in seen.items() if rows.get(key) != values}
        assert not wrong, path.name
        first = min(step or 0 for _, step in seen)
        assert not {key for key in rows if (key[1] or 0) > first and key not in seen}, path.name


def test_weights_differ_otherwise(tmp_path: Path) -> None:
    # What the others compare is not the same anyway.
    weights, _ = train(tmp_path, Small, Data(), None)
    pl.seed_everything(4, verbose=False)
    assert not torch.equal(weights["layers.0.weight"], Small().state_dict()["layers.0.weight"])
    checkpoint = tmp_path / "1-batch-02.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["holdfast"]["ranks"] = []
    torch.save(content, checkpoint)
    again, _ = train(tmp_path / "resumed", Small, Data(), checkpoint)
    assert not torch.equal(weights["layers.0.weight"], again["layers.0.weight"])
